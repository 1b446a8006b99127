"""What would run: `--plan` prints it from what `run_missing` runs."""

from __future__ import annotations

from repro_shared.study.keys import recipe_key, seed_of
from repro_shared.study.session import Session, filled, schedule


def plan(session: Session, seeds: tuple[int, ...], controls: bool) -> str:
    """What `run_missing` would run, what it costs and what must be present."""
    study = filled(session.out, session.study)
    known = {(r.arm, r.seed, r.recipe) for r in session.records.read()}
    lines = [
        f"{study.name} at scale {study.scale}, seeds {' '.join(map(str, seeds))}, "
        f"into {session.out}"
    ]
    runs, steps = 0, 0
    todo = list(schedule(study, seeds, controls))
    for arm in dict.fromkeys(arm for arm, _ in todo):
        own = [seed for other, seed in todo if other == arm]
        missing = [
            seed for seed in own
            if (arm.id, seed_of(arm, seed), recipe_key(session.paper, arm)) not in known
        ]  # fmt: skip
        runs, steps = runs + len(missing), steps + arm.steps * len(missing)
        lacks = [name for s in study.sources(arm) for name in s.missing(session.folder)]
        length = f", {arm.steps} steps" if arm.steps else ""
        state = f"{len(missing)} of {len(own)} runs to make" if missing else "finished"
        state = f"lacks {', '.join(lacks)}" if lacks and missing else state
        lines.append(f"  {arm.name}{length}: {state}")
    for source in dict.fromkeys(study.source(arm) for arm, _ in todo):
        lacks = source.missing(session.folder)
        lines.append(f"  data: {source.name}: {'needs ' + ', '.join(lacks) if lacks else 'ready'}")
    lines.append(f"  together {runs} runs to make, {steps} training steps")
    return "\n".join(lines)
