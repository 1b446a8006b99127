"""Run what a study lacks, and keep one record a run."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.records import Origin, RunRecord
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.files import atomic_write_json
from repro_shared.runtime.output import keep_log
from repro_shared.runtime.progress import say
from repro_shared.study.identity import name_of
from repro_shared.study.keys import seed_of
from repro_shared.study.paper import Arm, Context, Outcome, Start
from repro_shared.study.session import (
    LEFT,
    Session,
    read_facts,
    schedule,
    set_facts_aside,
    write_facts,
)


def run_missing(
    session: Session,
    seeds: tuple[int, ...],
    controls: bool = False,
    again: bool = False,
) -> int:
    """Prepare the study, then make every run that has no record of its key; returns how many.

    A run that diverges is recorded as failed and the others go on. One whose data are missing, or
    that ends in a UserError, does not keep the others from being made either.

    Args:
        session: which study, where.
        seeds: which seeds.
        controls: also the arms that are controls.
        again: prepare anew.

    Raises:
        UserError: nothing could be run; or, after all others, the runs that could not be made.
    """
    study = session.study
    todo = list(schedule(study, seeds, controls))
    lacks = {
        source: source.missing(session.folder)
        for source in dict.fromkeys(study.source(arm) for arm, _ in todo)
    }
    ready = [(arm, seed) for arm, seed in todo if not any(lacks[s] for s in study.sources(arm))]
    if todo and not ready:
        names = ", ".join(sorted({name for found in lacks.values() for name in found}))
        raise UserError(f"{study.name} needs {names}")
    if len(ready) < len(todo):
        say(f"{len(ready)} of {len(todo)} runs have all that they need; see --plan")
    problems = list[str]()
    with session.records.locked() as records:
        keep_log(session.out)
        session.read()
        before = len(session.known)
        facts = _prepared(session, again)
        study = session.study
        for number, (planned, seed) in enumerate(ready, start=1):
            arm = study.arm(planned.id)
            own = seed_of(arm, seed)
            if session.made(arm, seed) is not None:
                continue
            say(f"{study.name} seed {own}, run {number} of {len(ready)}: {arm.name}")
            if study.prepare is not None and study.prepare.concerns(arm):
                facts = _noted(session, facts, closed=False)
            try:
                _record(session, arm, seed)
            except UserError as error:
                problems.append(f"{arm.name}, seed {own}: {error}")
                session.failures[f"{arm.id} {own}"] = str(error)
                if len(ready) > 1:
                    say(problems[-1])
        made = len(session.known) - before
        if made:
            records.rewrite()
        if facts is not None and study.prepare is not None and not facts.get("closed", True):
            facts = study.prepare.close(study, session, facts)
            _noted(session, facts, closed=True)
    if problems:
        count = "" if len(ready) == 1 else f"{len(problems)} runs could not be made, the first: "
        raise UserError(f"{count}{problems[0]}")
    return made


def _noted(session: Session, facts: dict[str, Any] | None, closed: bool) -> dict[str, Any] | None:
    """The facts, with a note on disk whether what follows the runs is still owed."""
    if facts is not None and facts.get("closed") is not closed:
        facts = {**facts, "closed": closed}
        write_facts(session.out, session.study, facts)
    return facts


def _prepared(session: Session, again: bool) -> dict[str, Any] | None:
    """Measure what the study still lacks, and fill it in; earlier facts are kept aside."""
    study = session.study
    if study.prepare is None:
        return None
    before = None if again else read_facts(session.out, study)
    facts = study.prepare.measure(study, session, before)
    if again:
        set_facts_aside(session.out, study)
    if facts != before:
        write_facts(session.out, study, facts)
    session.study = study.prepare.fill(study, facts)
    return facts


def _record(session: Session, arm: Arm, seed: int) -> None:
    """Make one run and add its record."""
    paper, study, own = session.paper, session.study, seed_of(arm, seed)
    key, started = session.key(arm, seed), datetime.now(UTC)
    source = study.source(arm)
    if source not in session.origins:
        found = provenance(paper.distributions, paper.source / "__init__.py")
        fingerprint = session.open(source).fingerprint
        session.origins[source] = Origin(
            method_version=paper.method_version,
            data_name=name_of(source, fingerprint),
            data_fingerprint=fingerprint,
            provenance=found,
        )
    try:
        outcome = _run(session, arm, seed, key)
    except DivergedError as error:
        say(f"{study.name}: {arm.name} seed {own} failed: {error}")
        outcome = Outcome({}, notes=str(error))
    config = resolved_config(arm.config)
    record = RunRecord(
        study=study.name,
        origin=session.origins[source],
        arm=arm.id,
        seed=own,
        key=key,
        config=recipe_hash(arm.config)[:12],
        status="complete" if outcome.metrics else "failed",
        metrics=outcome.metrics,
        seconds=outcome.seconds,
        samples=outcome.samples,
        macs=outcome.macs,
        peak_memory_mb=outcome.peak_memory_mb,
        started=started,
        finished=datetime.now(UTC),
        notes=outcome.notes,
    )
    session.records.append(record, config, outcome.curve)
    session.known[arm.id, own, key] = record


def _run(session: Session, arm: Arm, seed: int, key: str) -> Outcome:
    """Call the stage, with what it starts from made before, and note what it left for others."""
    folder = session.work(arm, seed)
    context = context_of(session, arm, seed, folder)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = arm.run(arm.config, context)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / LEFT).unlink(missing_ok=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    left = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    if left:
        atomic_write_json(folder / LEFT, {"key": key, "files": left})
    else:
        shutil.rmtree(folder)
    return outcome


def context_of(session: Session, arm: Arm, seed: int, folder: Path) -> Context:
    """Where and with what a stage runs in `folder`; what it starts from is made if it is not."""
    return Context(
        data=session.open(session.study.source(arm)),
        seed=seed_of(arm, seed),
        device=session.device,
        folder=folder,
        key=session.key(arm, seed),
        label=f"{arm.name}, seed {seed_of(arm, seed)}",
        starts=tuple(_start(session, start, seed) for start in arm.starts_from),
        workers=session.workers,
    )


def _start(session: Session, arm: Arm, seed: int) -> Start:
    """What a run starts from: made with its record, or again without one if its files are gone."""
    key, own = session.key(arm, seed), seed_of(arm, seed)
    problem = session.failures.get(f"{arm.id} {own}", "")
    if not problem and session.made(arm, seed) is None:
        say(f"{session.study.name} seed {own}: {arm.name}")
        _record(session, arm, seed)
    if not problem and (record := session.made(arm, seed)) and record.status == "failed":
        problem = record.notes  # it would fail again
    if not problem and not session.files(arm, seed):
        say(f"{session.study.name} seed {own}: {arm.name}, made again: its files are gone")
        _run(session, arm, seed, key)
        problem = "" if session.files(arm, seed) else "it left no files"
    if problem:
        raise UserError(f"{arm.name}, seed {own}, could not be made: {problem}")
    return Start(arm, session.work(arm, seed))
