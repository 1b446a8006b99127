"""What would run: `--plan` prints it from what `run_missing` runs."""

from __future__ import annotations

from repro_shared.runtime.errors import UserError
from repro_shared.study.identity import identified, is_itself, sentence_of
from repro_shared.study.keys import seed_of
from repro_shared.study.paper import Arm
from repro_shared.study.protocols import DataSource
from repro_shared.study.session import Session, read_facts, schedule


def plan(session: Session, seeds: tuple[int, ...], controls: bool, again: bool = False) -> str:
    """What `run_missing` would run, what it costs and what must be present.

    Data below `--data` are opened, so that what is wrong with them is said, and so that runs on
    other data count as not made.
    """
    study = session.study
    lines = [
        f"{study.name} at scale {study.scale}, seeds {' '.join(map(str, seeds))}, "
        f"into {session.out}"
    ]
    if study.prepare is not None:
        facts = None if again else read_facts(session.out, study)
        session.study = study = study.prepare.fill(study, facts)
        if facts is None:
            lines.append("  step costs are measured first; until then lengths are a guess")
    session.read()
    todo = list(schedule(study, seeds, controls))
    lacks = {s: _lacks(session, s) for s in dict.fromkeys(study.source(arm) for arm, _ in todo)}
    runs, steps, epochs = 0, 0, 0.0
    restored = dict[tuple[str, int], str]()
    for arm in dict.fromkeys(arm for arm, _ in todo):
        own = [seed for other, seed in todo if other == arm]
        wanting = [name for s in study.sources(arm) for name in lacks.get(s, ())]
        missing = [s for s in own if wanting or session.made(arm, s) is None]
        for seed in missing:
            restored |= _restored(session, arm, seed) if not wanting else {}
        runs, steps = runs + len(missing), steps + arm.steps * len(missing)
        epochs += arm.epochs * len(missing)
        state = f"{len(missing)} of {len(own)} runs to make" if missing else "finished"
        state = f"lacks {', '.join(wanting)}" if wanting else state
        lines.append(f"  {arm.name}{', ' if arm.length else ''}{arm.length}: {state}")
    lines += [f"  {name}, seed {seed}: made again, its files are gone"
              for (_, seed), name in restored.items()]  # fmt: skip
    for source, wanting in lacks.items():
        state = f"needs {', '.join(wanting)}" if wanting else "ready"
        found = identified(source, session.opened[source]) if source in session.opened else ""
        if not is_itself(source, found):
            state = sentence_of(source, found)
        lines.append(f"  data: {source.name}: {state}")
    cost = f"{steps} training steps" + (f" and {epochs:g} epochs" if epochs else "")
    lines.append(f"  together {runs} runs to make, {cost}")
    return "\n".join(lines)


def _lacks(session: Session, source: DataSource) -> list[str]:
    """What keeps a source from being opened; only those below `--data` are tried."""
    found = source.missing(session.folder)
    if not found and source.missing(None):
        try:
            session.open(source)
        except UserError as error:
            return [str(error)]
    return found


def _restored(session: Session, arm: Arm, seed: int) -> dict[tuple[str, int], str]:
    """Finished runs that this one starts from, and whose files are gone."""
    found = dict[tuple[str, int], str]()
    for start in arm.starts_from:
        if session.made(start, seed) is not None and not session.files(start, seed):
            found[start.id, seed_of(start, seed)] = start.name
            found |= _restored(session, start, seed)
    return found
