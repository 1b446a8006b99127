"""Equal wall-clock time: what a step of each objective costs, and what that gives every arm.

Only ratios of step costs count. With c the median step time of an objective, a budget of n
reference iterations is B = n x c_logit, and objective m gets I_m = floor(B / c_m) iterations, each
with a complete schedule of its own. An objective that is added later is timed beside the reference,
and leaves the iterations of the others as they are.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic

from repro_shared.evidence.claims import Claim
from repro_shared.evidence.records import first_problem
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import Results
from repro_shared.study.run import context_of
from repro_shared.study.session import Session
from repro_shared.timing.calibrate import Calibration, calibrate, drift, plan_iterations
from seg_kd.method.objectives import LOGIT, Objective
from seg_kd.study.arms import objectives, students, untrained
from seg_kd.study.configs import Student
from seg_kd.study.stages import job_of, teacher_of
from seg_kd.train import start
from seg_kd.use import adapter

REFERENCE = LOGIT.name
DRIFT_LIMIT = 0.10
SETTLED_LIMIT = 0.05
OFF_LIMIT = 0.05
CALIBRATIONS = 5
ENDLESS = 10**6  # a schedule so long that no timed step lies beyond its end


class Facts(pydantic.BaseModel):
    """What is found, as `prepared.json` keeps it."""

    ratios: dict[str, Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]]  # to the logit's
    calibrations: list[Calibration]  # that gave the ratios
    last: Calibration | None = None  # after the runs
    earlier: list[Calibration] = []  # after runs before those: what was refused stays refused

    @pydantic.model_validator(mode="after")
    def _belong_together(self) -> Self:
        for each in (*self.calibrations, *self.earlier, *([self.last] if self.last else [])):
            Calibration.from_dict(each.to_dict())
            if REFERENCE not in each.seconds:
                raise ValueError(f"a calibration without {REFERENCE}")
        timed = {name for each in self.calibrations for name in each.seconds}
        odd = sorted(timed ^ self.ratios.keys())
        if odd:
            raise ValueError(f"{', '.join(odd)}: a ratio without a calibration, or without a ratio")
        return self


def check_facts(form: type[pydantic.BaseModel], facts: dict[str, Any]) -> None:
    """ValueError, with a short reason, for facts that are not of this form."""
    try:
        form.model_validate_json(json.dumps(facts), strict=True)
    except pydantic.ValidationError as error:
        raise ValueError(first_problem(error)) from error


@dataclass(frozen=True)
class EqualTime:
    """The preparation of a study whose students get equal time; its facts are `Facts`.

    Attributes:
        rounds: timed rounds of a calibration.
        settled: whether two calibrations in a row must agree. Smoke runs are too short to time
            anything; they show that the path works.
    """

    rounds: int
    settled: bool = True

    def check(self, facts: dict[str, Any]) -> None:
        """ValueError, with a short reason, for facts that are not this preparation's."""
        check_facts(Facts, facts)

    def measure(
        self, study: Study, session: Session, facts: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Time the objectives that have no ratio yet, beside the reference."""
        facts = facts or {"ratios": {}, "calibrations": [], "last": None}
        new = [o for o in objectives(study) if o.name not in facts["ratios"]]
        if not new:
            return facts
        wanted = dict.fromkeys([*(o for o in objectives(study) if o.name == REFERENCE), *new])
        in_order = [o for o in objectives(study) if o in wanted]

        def once() -> Calibration:
            return self._calibrate(study, session, in_order)

        found = settled(once) if self.settled else once()
        # Four digits: facts are written, read and compared, and timing is not that exact anyway.
        ratios = {o.name: round(found.ratio(o.name, REFERENCE), 4) for o in in_order}
        return {
            **facts,
            "ratios": {**ratios, **facts["ratios"]},
            "calibrations": [*facts["calibrations"], compact(found)],
        }

    def fill(self, study: Study, facts: dict[str, Any] | None) -> Study:
        """Every student with its iterations; without facts as if all steps cost the same."""
        ratios = facts["ratios"] if facts else {o.name: 1.0 for o in objectives(study)}

        def filled(arm: Arm) -> Arm:
            config = arm.config
            if not isinstance(config, Student):
                return arm
            iterations = config.budget
            if config.match == "time" and config.objective.name in ratios:
                costs = {name: ratios[name] for name in (REFERENCE, config.objective.name)}
                iterations = plan_iterations(costs, REFERENCE, config.budget)[config.objective.name]
            return replace(arm, config=replace(config, iterations=iterations))

        return replace(study, arms=tuple(map(filled, study.arms)))

    def concerns(self, arm: Arm) -> bool:
        """Whether its time counts: that of a student."""
        return isinstance(arm.config, Student)

    def close(self, study: Study, session: Session, facts: dict[str, Any]) -> dict[str, Any]:
        """A second calibration, after the runs, as sure as the first.

        Raises:
            UserError: the machine is not quiet enough; it is still owed then.
        """

        def once() -> Calibration:
            return self._calibrate(study, session, objectives(study))

        last = compact(settled(once) if self.settled else once())
        return {**facts, "last": last, "earlier": closings(facts)}

    def refuse(self, results: Results) -> None:
        """UserError where the calibrations before and after the runs disagree."""
        moved = drifted(results.facts) if self.settled else {}
        if moved:
            listed = ", ".join(f"{name} by {change:+.0%}" for name, change in moved.items())
            raise UserError(
                f"step costs moved since they were measured ({listed}): this is no comparison at "
                "equal time; run again with --recalibrate on a quiet machine"
            )

    def _calibrate(self, study: Study, session: Session, timed: list[Objective]) -> Calibration:
        """Interleaved cost of whole training steps, one live trainer an objective."""
        say(f"{study.name}: calibrating the objectives' step costs")
        adapter.set_device(session.device)
        steps: dict[str, Callable[[], None]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for objective in timed:
                arm = next(a for a in students(study) if a.config.objective == objective)
                steps[objective.name] = timed_step(session, arm, Path(folder) / objective.name)
            return calibrate(steps, warmup=5, rounds=self.rounds)


def timed_step(session: Session, arm: Arm, folder: Path) -> Callable[[], None]:
    """A whole training step of a student, with a live trainer of its own in `folder`."""
    ctx = context_of(session, arm, 0, folder)
    job = job_of(replace(arm.config, iterations=ENDLESS), ctx, teacher_of(ctx), online=True)
    return start(replace(job, checkpoint_interval=0)).step


def compact(calibration: Calibration) -> dict[str, Any]:
    """A calibration with seven digits of every step's time."""
    form = calibration.to_dict()
    for part in ("seconds", "cpu_seconds"):
        form[part] = {k: [float(f"{s:.7g}") for s in steps] for k, steps in form[part].items()}
    return form


def settled(measure: Callable[[], Calibration]) -> Calibration:
    """Two calibrations in a row whose ratios differ by at most 5 %, pooled.

    One calibration may fall on a disturbed machine, and would spoil every run made after it.

    Args:
        measure: makes one calibration; called two to five times.

    Raises:
        UserError: five calibrations, and no two in a row agree.
    """
    before = measure()
    for _ in range(CALIBRATIONS - 1):
        after = measure()
        moved = drift(before, after, REFERENCE)
        if max(map(abs, moved.values())) <= SETTLED_LIMIT:
            return pooled(before, after)
        before = after
    worst = max(moved, key=lambda name: abs(moved[name]))
    raise UserError(
        f"no two of {CALIBRATIONS} calibrations in a row agree within {SETTLED_LIMIT:.0%} "
        f"({worst} moved by {moved[worst]:+.0%} at the last): the machine is not quiet enough "
        "for a comparison at equal time; stop other work and try again"
    )


def pooled(one: Calibration, other: Calibration) -> Calibration:
    """The timed steps of both."""
    return replace(
        one,
        seconds={name: steps + other.seconds[name] for name, steps in one.seconds.items()},
        cpu_seconds={
            name: steps + other.cpu_seconds[name] for name, steps in one.cpu_seconds.items()
        },
        rounds=one.rounds + other.rounds,
    )


def drifted(facts: dict[str, Any]) -> dict[str, float]:
    """Ratios that moved by more than 10 % between the calibrations before and after the runs.

    An objective that was added later is not in the last calibration of the runs before it. Every
    calibration after runs counts: a set that was refused is not accepted by a later, quiet one.
    """
    moved = dict[str, float]()
    for before, after in itertools.product(facts.get("calibrations", []), closings(facts)):
        first, last = Calibration.from_dict(before), Calibration.from_dict(after)
        for name in (each for each in first.seconds if each in last.seconds):
            change = last.ratio(name, REFERENCE) / first.ratio(name, REFERENCE) - 1
            if abs(change) > max(DRIFT_LIMIT, abs(moved.get(name, 0))):
                moved[name] = change
    return moved


def closings(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """All calibrations that were made after runs, the last one at the end."""
    return [*facts.get("earlier", []), *([facts["last"]] if facts.get("last") else [])]


def time_off(results: Results, arm: Arm) -> float | None:
    """Realised over planned time, both relative to the reference's, minus 1."""
    reference, realised = _reference(results, arm), realised_time(results, arm)
    ratio = results.facts.get("ratios", {}).get(arm.config.objective.name)
    if reference is None or realised is None or ratio is None:
        return None
    iterations = results.runs(arm)[0].metrics["iterations"]
    return realised / (iterations * ratio / reference.config.budget) - 1


def realised_time(results: Results, arm: Arm) -> float | None:
    """Median over seeds of an arm's seconds over those of the reference."""
    reference = _reference(results, arm)
    if reference is None:
        return None
    seconds = {run.seed: run.seconds for run in results.runs(reference)}
    ratios = [r.seconds / seconds[r.seed] for r in results.runs(arm) if r.seed in seconds]
    return statistics.median(ratios) if ratios else None


def _reference(results: Results, arm: Arm) -> Arm | None:
    """The reference's arm of the same budget, or of the largest that is not above it."""
    found = [
        other
        for other in students(results.study)
        if other.config.objective.name == REFERENCE
        and other.config.budget <= arm.config.budget
        and not untrained(other)
    ]
    return max(found, key=lambda other: other.config.budget, default=None)


def unequal_time(results: Results, claim: Claim) -> str:
    """Why a verdict at equal time is suspended, or "": moved costs, unequal times (rule: ours)."""
    moved = drifted(results.facts)
    if moved:
        return "step costs moved by more than 10 % during the runs"
    arm, rival = (results.study.arm(name) for name in (claim.arm, claim.rival))
    own, other = time_off(results, arm), time_off(results, rival)
    if own is None or other is None:
        unequal = _off_against(results, arm, rival)
    else:
        unequal = (1 + own) / (1 + other) - 1
    if abs(unequal) <= OFF_LIMIT:
        return ""
    return (
        f"{claim.arm} had {abs(100 * unequal):.1f} % {'more' if unequal > 0 else 'less'} time than "
        f"planned, compared with {claim.rival}; at most {100 * OFF_LIMIT:g} % is allowed"
    )


def _off_against(results: Results, arm: Arm, rival: Arm) -> float:
    """Realised over planned time of two arms, minus 1, without the reference; 0 where not run."""
    costs, runs = results.facts.get("ratios", {}), (results.runs(arm), results.runs(rival))
    seconds = {run.seed: run.seconds for run in runs[1]}
    realised = [run.seconds / seconds[run.seed] for run in runs[0] if run.seed in seconds]
    names = [each.config.objective.name for each in (arm, rival)]
    if not realised or not costs.keys() >= {*names}:
        return 0.0
    planned = [
        each[0].metrics["iterations"] * costs[name] for each, name in zip(runs, names, strict=True)
    ]
    return statistics.median(realised) / (planned[0] / planned[1]) - 1
