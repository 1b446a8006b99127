"""One run in a folder of its own: what `train` on a user's data does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from repro_shared.evidence.hashing import recipe_hash
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir
from repro_shared.runtime.progress import say
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session

RUN = "run.json"  # which run the folder holds


def run_alone(session: Session, seed: int) -> tuple[RunRecord, Path]:
    """Make, resume or show the run of the study's last arm, the only one of this folder.

    Returns:
        Its record, and the folder that its stage wrote to.

    Raises:
        UserError: the folder holds another run, finished or interrupted; or as `run_missing`.
    """
    path = ensure_output_dir(session.out) / RUN
    # Before a preparation decides the length: what the user asked for.
    asked = session.key(session.study.arms[-1], seed)
    if dataclasses.is_dataclass(session.study.prepare):
        asked += f"-{recipe_hash(session.study.prepare)[:8]}"
    try:
        kept = dict(json.loads(path.read_text())) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        problem = f"is damaged: remove {session.out}, or give another --out"
        raise UserError(f"{path} {problem}") from error
    if kept and kept.get("run") != asked:
        raise UserError(f"{session.out} holds another run: remove it, or give another --out")
    if not kept:
        atomic_write_json(path, {"run": asked})
    try:
        made = run_missing(session, (seed,))
    except UserError:
        # What was refused before it began does not occupy the folder.
        if not kept and not session.records.read() and not _begun(session):
            path.unlink()
        raise
    if not made:
        say(f"{session.out} holds this run already, finished")
    arm = session.study.arms[-1]
    key = session.key(arm, seed)
    record = next(r for r in session.records.read() if r.arm == arm.id and r.key == key)
    if record.status == "failed":
        raise UserError(record.notes)
    return record, session.work(arm, seed)


def _begun(session: Session) -> bool:
    """Whether a checkpoint or what another run starts from was written."""
    work = session.out / "work"
    return any(path.is_file() for path in work.rglob("*"))
