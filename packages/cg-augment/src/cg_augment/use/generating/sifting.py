"""Looking at a complete set: what is accepted, what is set apart and why, and its account."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cg_augment.use.datasets.generated import METADATA
from cg_augment.use.generating.items import Item
from cg_augment.use.generating.likeness import Small, all_small, distance, images_below, nearest
from cg_augment.use.generating.store import APART, IMAGES, MADE, REPORT, Record, where
from repro_shared.runtime.files import atomic_write_json, atomic_write_text

REASONS = ("not finite", "constant", "teacher unsure", "memorised", "duplicate")
_AT_ONCE = 256  # pictures compared with all before them


@dataclass(frozen=True)
class Rules:
    """What is set apart beside damaged images.

    Attributes:
        least_teacher: the teacher's confidence that an image needs.
        alike: distance in grey levels (`likeness`) up to which two images are the same.
        train_folder: images that must not be copied; None to look for no copies.
    """

    least_teacher: float = 0.0
    alike: float = 4.0
    train_folder: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What is done with an image.

    Attributes:
        reason: one of `REASONS`, "" if it is accepted.
        said: the same in words.
        train_image: nearest training image; None where nobody looked.
        train_distance: to it, in grey levels.
    """

    reason: str = ""
    said: str = ""
    train_image: str | None = None
    train_distance: float | None = None


def sift(
    items: Sequence[Item], records: Mapping[str, Record], out: Path, rules: Rules
) -> dict[str, Verdict]:
    """A verdict for each image, the same whoever made it and however often it is asked.

    Raises:
        UserError: a picture or a training image that cannot be read.
    """
    there = where(out)
    seen = [item.key for item in items if item.key in there]
    rows = dict(zip(seen, all_small([there[key] for key in seen], "images compared"), strict=True))
    close = _to_training(rows, rules)
    verdicts = dict[str, Verdict]()
    for item in items:
        record, own = records[item.key], close.get(item.key, Verdict())
        reason, said = "", ""
        if record.damage:
            reason = record.damage
            found = record.note.removeprefix("not finite: ") or "the final image"
            said = "of one colour" if reason == "constant" else found
        elif (record.teacher or 0.0) < rules.least_teacher:
            reason, said = (
                "teacher unsure",
                f"teacher {record.teacher}, below {rules.least_teacher}",
            )
        elif own.train_distance is not None and own.train_distance <= rules.alike:
            reason = "memorised"
            said = f"like {own.train_image}, {own.train_distance:.2f} grey levels apart"
        verdicts[item.key] = Verdict(reason, said, own.train_image, own.train_distance)
    for key, (other, apart) in _repeats(rows, verdicts, rules.alike).items():
        own = verdicts[key]
        said = f"like {other}, {apart:.2f} grey levels apart"
        verdicts[key] = Verdict("duplicate", said, own.train_image, own.train_distance)
    return verdicts


def _to_training(rows: Mapping[str, Small], rules: Rules) -> dict[str, Verdict]:
    if rules.train_folder is None or not rows:
        return {}
    files = images_below(rules.train_folder)
    places, apart = nearest(np.stack([*rows.values()]), all_small(files, "training images"))
    names = [files[place].relative_to(rules.train_folder).as_posix() for place in places]
    return {
        key: Verdict("", "", name, round(float(far), 3))
        for key, name, far in zip(rows, names, apart, strict=True)
    }


def _repeats(
    rows: Mapping[str, Small], verdicts: Mapping[str, Verdict], alike: float
) -> dict[str, tuple[str, float]]:
    """Images like an earlier one that is kept: which, and how far apart."""
    keys = [key for key in rows if not verdicts[key].reason]
    found, kept = dict[str, tuple[str, float]](), list[str]()
    for start in range(0, len(keys), _AT_ONCE):
        block = keys[start : start + _AT_ONCE]
        mine, before = np.stack([rows[key] for key in block]), len(kept)
        if before:
            places, apart = nearest(mine, np.stack([rows[key] for key in kept]))
        for row, key in enumerate(block):
            if before and apart[row] <= alike:
                found[key] = kept[places[row]], float(apart[row])
                continue
            here = kept[before:]
            near = [(distance(rows[key], rows[other]), other) for other in here]
            if near and min(near)[0] <= alike:
                found[key] = min(near)[1], min(near)[0]
                continue
            kept.append(key)
    return found


def put_in_place(
    items: Sequence[Item], records: Mapping[str, Record], verdicts: Mapping[str, Verdict], out: Path
) -> None:
    """Move every picture to where it belongs, then write both metadata files.

    While pictures move there is no metadata of images, so that no trainer reads half a set.
    """
    (out / IMAGES / METADATA).unlink(missing_ok=True)
    there = where(out)
    lines: dict[str, list[str]] = {IMAGES: [], APART: []}
    for item in items:
        verdict = verdicts[item.key]
        below = f"{verdict.reason.replace(' ', '-')}/" if verdict.reason else ""
        side = APART if verdict.reason else IMAGES
        name = f"{below}{item.key}.png"
        if item.key in there and there[item.key] != (target := out / side / name):
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process was faster
                there[item.key].replace(target)
        form = metadata(item, records[item.key], verdict, name if item.key in there else None)
        lines[side].append(json.dumps(form, ensure_ascii=False, allow_nan=False))
    for folder in sorted((out / MADE).glob("**/"), reverse=True):
        with suppress(OSError):  # not empty: another process is at work
            folder.rmdir()
    for side in (APART, IMAGES):
        (out / side).mkdir(parents=True, exist_ok=True)
        atomic_write_text(out / side / METADATA, "".join(f"{line}\n" for line in lines[side]))


def metadata(item: Item, record: Record, verdict: Verdict, name: str | None) -> dict[str, Any]:
    """A line of `metadata.jsonl`; `file_name` is below its folder, None if there is no picture."""
    own = asdict(record)
    plain = {key: own[key] for key in own if key not in ("key", "note", "damage", "file")}
    return {
        "file_name": name,
        "class": item.name,
        "number": item.number,
        "accepted": True if not verdict.reason else f"{verdict.reason}: {verdict.said}",
        **plain,
        "evaluations": record.forward + record.backward,
        "stopped": record.note,
        "train_image": verdict.train_image,
        "train_distance": verdict.train_distance,
    }


def account(
    items: Sequence[Item],
    records: Mapping[str, Record],
    verdicts: Mapping[str, Verdict],
    rules: Rules,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The report of a set: what decided it, and how many were accepted or set apart and why."""
    classes = dict[str, Counter[str]]()
    for item in items:
        mine = classes.setdefault(item.name, Counter())
        mine[verdicts[item.key].reason or "accepted"] += 1
    whole = sum(classes.values(), Counter[str]())
    every = [records[item.key] for item in items]
    count = len(every)
    return {
        "version": 1,
        "images": count,
        "accepted": whole["accepted"],
        "set_apart": {reason: whole[reason] for reason in REASONS},
        "set_apart_share": round(1 - whole["accepted"] / count, 6),
        "rules": {**asdict(rules), "train_folder": rules.train_folder is not None},
        "measure": "root mean square difference in grey levels at 32 x 32 pixels, or mirrored",
        "counts": {
            name: {reason: mine[reason] for reason in ("accepted", *REASONS)}
            for name, mine in classes.items()
        },
        "mean_per_image": {
            what: round(sum(getattr(each, what) for each in every) / count, 4)
            for what in ("forward", "backward", "decodes", "guided")
        },
        **about,
    }


def write_report(out: Path, form: Mapping[str, Any]) -> None:
    """Whoever finds the set complete writes it: the bytes are the same."""
    atomic_write_json(out / REPORT, form)
