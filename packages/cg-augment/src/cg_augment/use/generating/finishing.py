"""The end of a set: whoever finds it complete looks at all images together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cg_augment.use.generating.items import Item
from cg_augment.use.generating.sifting import Rules, account, put_in_place, sift, write_report
from cg_augment.use.generating.store import (
    APART,
    IMAGES,
    LOGS,
    Record,
    alone,
    missing,
    read_records,
    where,
)

LEAST_RISE = 0.01  # of the mean objective; less is told
NAMED = 5  # images set apart that are printed; metadata.jsonl has all


def finish(out: Path, items: Sequence[Item], rules: Rules, about: Mapping[str, Any]) -> int:
    """Put every image into its place and tell what became of them.

    Returns:
        The exit code: 1 where an image is damaged or a class has none, else 0.
    """
    records = read_records(out)
    if left := missing(items, records, where(out)):
        print(f"{len(items) - len(left)} of {len(items)} images of {out}; other processes make the "
              "rest, and the last one looks at them together")  # fmt: skip
        return 0
    with alone(out / LOGS / "finish.lock"):
        verdicts = sift(items, records, out, rules)
        put_in_place(items, records, verdicts, out)
        versions = {name: version(name) for name in ("torch", "diffusers")}
        form = account(items, records, verdicts, rules, {**about, "versions": versions})
        write_report(out, form)
    print(f"{out / IMAGES}: {form['accepted']} of {form['images']} images accepted; "
          f"the others with their reasons in {out / APART}")  # fmt: skip
    apart = [item for item in items if verdicts[item.key].reason]
    for item in apart[:NAMED]:
        verdict = verdicts[item.key]
        print(f"set apart: {item.key}, {verdict.reason} ({verdict.said}), seed "
              f"{records[item.key].seed}")  # fmt: skip
    if len(apart) > NAMED:
        print(f"and {len(apart) - NAMED} more, in metadata.jsonl there")
    if said := still(records.values()):
        print(said)
    empty = [name for name, mine in form["counts"].items() if not mine["accepted"]]
    for name in empty:
        print(f"no image of {name} was accepted: raise --each, or change what is asked")
    damaged = form["set_apart"]["not finite"] + form["set_apart"]["constant"]
    return 1 if damaged or empty else 0


def still(records: Iterable[Record]) -> str:
    """What to say of guided images whose objective did not rise; "" where it did."""
    gains = [
        own.objective - own.objective_before
        for own in records
        if own.guided and own.backward and None not in (own.objective, own.objective_before)
        and own.objective is not None and own.objective_before is not None
    ]  # fmt: skip
    if not gains or (mean := sum(gains) / len(gains)) > LEAST_RISE:
        return ""
    return (
        f"guidance moved nothing: the objective changed by {mean:+.3g} in the mean of {len(gains)} "
        "images; try a larger --scale or --share 1 (stepwise), more --rounds or a larger "
        "--learning-rate (chain)"
    )
