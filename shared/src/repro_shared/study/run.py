"""Run what a study lacks, and keep one record a run."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.records import Origin, RunRecord
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.files import atomic_write_json
from repro_shared.runtime.progress import say
from repro_shared.study.keys import recipe_key, seed_of
from repro_shared.study.paper import Arm, Context, Outcome, Start
from repro_shared.study.session import (
    Session,
    read_facts,
    schedule,
    set_facts_aside,
    write_facts,
)

_KEY = "key"  # in the folder of a run that has ended


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
        session.known = {(r.arm, r.seed, r.key) for r in records.read()}
        before = len(session.known)
        facts = _prepared(session, again)
        study = session.study
        recipes = {(arm, seed, key.partition("-")[0]) for arm, seed, key in session.known}
        for number, (planned, seed) in enumerate(ready, start=1):
            arm = study.arm(planned.id)
            own = seed_of(arm, seed)
            # The data are read for a key only where there is something to compare it with.
            made_before = (arm.id, own, recipe_key(session.paper, arm)) in recipes
            if made_before and (arm.id, own, session.key(arm, seed)) in session.known:
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
    if again:
        set_facts_aside(session.out, study)
    before = read_facts(session.out, study)
    facts = study.prepare.measure(study, session, before)
    if facts != before:
        write_facts(session.out, study, facts)
    session.study = study.prepare.fill(study, facts)
    return facts


def _record(session: Session, arm: Arm, seed: int) -> None:
    """Make one run and add its record."""
    paper, study, own = session.paper, session.study, seed_of(arm, seed)
    key, started = session.key(arm, seed), datetime.now(UTC)
    source = study.source(arm)
    if source.name not in session.origins:
        found = provenance(paper.distributions, paper.source / "__init__.py")
        session.origins[source.name] = Origin(
            method_version=paper.method_version,
            data_name=source.name,
            data_fingerprint=session.open(source).fingerprint,
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
        origin=session.origins[source.name],
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
    session.known.add((arm.id, own, key))


def _run(session: Session, arm: Arm, seed: int, key: str) -> Outcome:
    """Call the stage, with what it starts from made before; a finished run is marked by its key."""
    folder = session.work(arm, seed)
    context = context_of(session, arm, seed, folder)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = arm.run(arm.config, context)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if any(folder.iterdir()):
        atomic_write_json(folder / _KEY, key)
    else:
        folder.rmdir()
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
    folder, key, own = session.work(arm, seed), session.key(arm, seed), seed_of(arm, seed)
    before = session.failures.get(f"{arm.id} {own}")
    if before is None and _key_of(folder) != key:
        say(f"{session.study.name} seed {own}: {arm.name}")
        if (arm.id, own, key) in session.known:
            with suppress(DivergedError):
                _run(session, arm, seed, key)
        else:
            _record(session, arm, seed)
        before = None if _key_of(folder) == key else "it failed"
    if before is not None:
        raise UserError(f"{arm.name}, seed {own}, could not be made: {before}")
    return Start(arm, folder)


def _key_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / _KEY).read_text()))
    except (OSError, ValueError):
        return ""
