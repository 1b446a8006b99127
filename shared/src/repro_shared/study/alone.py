"""A folder of its own for what a user asked: one run, as `train` makes it, or one comparison."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir
from repro_shared.runtime.progress import say
from repro_shared.study.paper import Arm
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session

RUN = "run.json"  # what the folder holds
_SHOWN = 24  # characters of a setting


def run_alone(session: Session, seed: int) -> tuple[RunRecord, Path]:
    """Make, resume or show the run of the study's last arm, the only one of this folder.

    Returns:
        Its record, and the folder that its stage wrote to.

    Raises:
        UserError: the folder holds another run, finished or interrupted; or as `run_missing`.
    """
    # Before a preparation decides the length: what the user asked for.
    arm, prepare = session.study.arms[-1], session.study.prepare
    asked, settings = session.key(arm, seed), settings_of(session, arm)
    if dataclasses.is_dataclass(prepare):
        asked += f"-{recipe_hash(prepare)[:8]}"
        settings = flat(resolved_config(prepare)) | settings
    with occupied(session.out, asked, {**settings, "seed": seed}, partial(_begun, session)):
        made = run_missing(session, (seed,))
    arm = session.study.arms[-1]
    key = session.key(arm, seed)
    record = next(r for r in session.records.read() if r.arm == arm.id and r.key == key)
    failed = record.status == "failed"
    if not made:
        say(f"{session.out} holds this run already, {'failed' if failed else 'finished'}")
    if failed:
        raise UserError(record.notes)
    return record, session.work(arm, seed)


@contextmanager
def occupied(
    out: Path, asked: str, settings: Mapping[str, Any], begun: Callable[[], bool]
) -> Iterator[None]:
    """Keep a folder for one purpose; what is refused before it has begun does not occupy it.

    Args:
        out: the folder, made if it is not there.
        asked: all that decides what it holds, as one text.
        settings: the same as named plain values, for the error.
        begun: whether something was made that is worth keeping.

    Raises:
        UserError: it holds something else, with the first setting that differs.
    """
    path = ensure_output_dir(out) / RUN
    try:
        kept = dict(json.loads(path.read_text())) if path.is_file() else {}
        before = dict(kept.get("settings", {}))
    except (ValueError, TypeError) as error:
        problem = f"is damaged: remove {out}, or give another --out"
        raise UserError(f"{path} {problem}") from error
    if kept and kept.get("run") != asked:
        differs = _difference(before, json.loads(json.dumps(settings)))
        raise UserError(f"{out} holds another run{differs}: remove it, or give another --out")
    if not kept:
        atomic_write_json(path, {"run": asked, "settings": settings})
    try:
        yield
    except UserError:
        if not (kept or begun()):
            path.unlink()
        raise


def settings_of(session: Session, arm: Arm) -> dict[str, Any]:
    """What decides a run but its seed, by name; opens the data."""
    found: dict[str, Any] = {"data": session.open(session.study.source(arm)).fingerprint}
    for start in arm.starts_from:
        found |= {f"{start.name}: {name}": v for name, v in settings_of(session, start).items()}
    return found | flat(resolved_config(arm.config))


def flat(form: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as one level, their names in words."""
    found: dict[str, Any] = {}
    for name, value in form.items():
        words = f"{above}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            found |= flat(value, f"{words} ")
        elif name != "type":  # of a dataclass
            found[words] = value
    return found


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first of the settings that differ, in brackets; "" where none is known."""
    differ = [n for n in {**before, **now} if before and before.get(n) != now.get(n)]
    if not differ:
        return ""
    there, here = (_shown(each.get(differ[0])) for each in (before, now))
    others = f", and {len(differ) - 1} more settings differ" if differ[1:] else ""
    return f" ({differ[0]} is {there} there and {here} here{others})"


def _shown(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _begun(session: Session) -> bool:
    """Whether there is a record, a checkpoint, or what another run starts from."""
    work = session.out / "work"
    return bool(session.records.read()) or any(path.is_file() for path in work.rglob("*"))
