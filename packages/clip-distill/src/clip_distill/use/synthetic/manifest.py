"""What a set is: settings that must not change while it grows, and its account at the end."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_distill.use.synthetic.attempts import DAMAGED, Attempts, Item, accepted
from clip_distill.use.synthetic.generate import IMAGES
from clip_distill.use.synthetic.prompt_list import CLASSES, MANIFEST
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    atomic_write_json,
    atomic_write_text,
    publish,
    temporary_file,
)
from repro_shared.runtime.progress import say

SETTINGS, SHARDS = "settings.json", "shards"


def settle(out: Path, planned: dict[str, Any], names: dict[str, str]) -> None:
    """Write settings and class names of a new set, or check those of one that is gone on with.

    Raises:
        UserError: the folder holds a set of other settings, of which the first is named.
    """
    plain = json.loads(json.dumps(planned))
    path = out / SETTINGS
    if not path.is_file():
        if (out / IMAGES).exists():
            raise UserError(f"{out} holds {IMAGES} without {SETTINGS}: give another --out")
        atomic_write_text(out / CLASSES, "".join(f"{f}\t{name}\n" for f, name in names.items()))
        atomic_write_json(path, plain)
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(there, dict)
    except (OSError, ValueError, AssertionError):
        raise UserError(f"{path}: damaged; remove {out}") from None
    for name, value in plain.items():
        inner = value if isinstance(value, dict) else {"": value}
        before = there.get(name)
        kept = before if isinstance(before, dict) else {"": before}
        for key in dict.fromkeys([*inner, *kept]):  # a filter that is gone is a difference, too
            if key in kept and key in inner and kept[key] == inner[key]:
                continue
            what = f"{name} {key}".strip()
            said = f"{what} is {kept.get(key)} there and {inner.get(key)} here"
            if name != "versions":
                raise UserError(f"{out} holds another set ({said[:160]}): give another --out")
            say(f"{out} was begun with other libraries ({said}): images may differ a little")


def account(
    items: Sequence[Item], attempts: Attempts, planned: dict[str, Any], cap: int, seed: int
) -> dict[str, Any]:
    """The manifest of a set: how many were tried, rejected and given up, in all and by class."""
    classes = dict[str, dict[str, Any]]()
    failed = list[dict[str, Any]]()
    for item in items:
        tried = attempts.get(item.key, [])
        mine = classes.setdefault(item.prompt.folder, {
            "name": item.prompt.name, "images": 0, "given_up": 0, "tried": 0, "verdicts": Counter(),
            "taken_for": Counter(),
        })  # fmt: skip
        mine["tried"] += len(tried)
        mine["verdicts"].update(each.verdict for each in tried)
        mine["taken_for"].update(each.taken_for for each in tried if each.verdict == "rejected")
        if accepted(tried) is not None:
            mine["images"] += 1
        else:
            mine["given_up"] += 1
            failed.append({"image": item.key, "last": tried[-1].verdict if tried else "",
                           "seed": item.seed(seed, max(len(tried) - 1, 0))})  # fmt: skip
    for mine in classes.values():
        verdicts = mine.pop("verdicts")
        mine["rejection_rate"] = _share(verdicts["rejected"], mine["tried"])
        mine["damaged"] = sum(verdicts[each] for each in DAMAGED)
        mine["taken_for"] = dict(mine["taken_for"].most_common(3))
    verdicts = Counter(each.verdict for item in items for each in attempts.get(item.key, []))
    painted = sum(verdicts.values())
    return {
        **planned,
        "attempts_cap": cap,
        "images": verdicts["accepted"],
        "wanted": len(items),
        "tried": painted,
        "verdicts": {name: verdicts[name] for name in ("accepted", "rejected", *DAMAGED)},
        "rejection_rate": _share(verdicts["rejected"], painted),
        "given_up": failed,
        "classes": classes,
    }


def write_account(out: Path, form: dict[str, Any]) -> None:
    """The manifest, whoever writes it: the bytes are the same."""
    atomic_write_json(out / MANIFEST, form)


def pack(out: Path, items: Sequence[Item], attempts: Attempts, each: int) -> int:
    """Put the images into WebDataset shards, `each` images in one; returns how many shards.

    A sample is a `.png`, its caption as `.txt`, and as `.cls` the line of its class in
    `classes.txt`. Times and owners are left out, so that the bytes are the same every time.
    """
    order = {
        name: place for place, name in enumerate(dict.fromkeys(i.prompt.folder for i in items))
    }
    there = [item for item in items if accepted(attempts.get(item.key, [])) is not None]
    folder = out / SHARDS
    folder.mkdir(exist_ok=True)
    starts = range(0, len(there), each)
    for number, start in enumerate(starts):
        with temporary_file(folder, f"{number:06d}.tar") as (temporary, handle):
            with tarfile.open(fileobj=handle, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for place, item in enumerate(there[start : start + each], start=start):
                    path = out / IMAGES / f"{item.key}.png"
                    _add(tar, f"{place:08d}.png", path.read_bytes())
                    _add(tar, f"{place:08d}.txt", f"{item.prompt.prompt}\n".encode())
                    _add(tar, f"{place:08d}.cls", str(order[item.prompt.folder]).encode())
            publish(handle, temporary, folder / f"{number:06d}.tar")
    for stale in folder.glob("*.tar"):
        if stale.stem.isdecimal() and int(stale.stem) >= len(starts):
            stale.unlink()
    return len(starts)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
