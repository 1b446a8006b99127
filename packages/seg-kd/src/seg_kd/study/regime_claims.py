"""What is claimed of the regime, written before its final runs, and when a verdict is withheld.

S1, that elaborate objectives cost more in a step, has no seeds: it is judged from the rounds of the
calibrations (`regime_tables.cost_table`). The others are paired by seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from repro_shared.evidence.claims import Claim, judge
from repro_shared.evidence.records import RunRecord
from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import Results
from seg_kd.method.objectives import FEATURE, PLAIN
from seg_kd.study.calibration import drifted
from seg_kd.study.configs import Match, Student, Teacher
from seg_kd.study.settled import CANONICAL, CANONICAL_NAMES, placeholders
from seg_kd.study.stages import poor, scored_again

SEEDS = (0, 1, 2, 3, 4)
RECOVERY = 0.8  # mIoU below the teacher: the distance of the abstract's two cells on Cityscapes
CONTROL, NEGATIVE = "labels-are-few", "outputs-for-another-image"
REPORTED = "abstract/pspnet-r18-student/miou/cityscapes"
MATCHES: tuple[Match, ...] = ("time", "iterations")


def data_of(study: Study) -> str:
    """`camvid` or `digits`."""
    return next(name for name in CANONICAL if name in study.name)


def compared(study: Study) -> list[Arm]:
    """The students that are compared: no starts, tries or controls."""
    return [
        a for a in study.arms
        if isinstance(a.config, Student) and a.config.role == "compared" and not a.control
    ]  # fmt: skip


def budgets(study: Study, match: Match) -> list[int]:
    """At which every objective runs, by match."""
    found = [a.config for a in compared(study) if a.config.match == match]
    names = {config.objective.name for config in found}
    by_budget = {c.budget: {o.objective.name for o in found if o.budget == c.budget} for c in found}
    return sorted(budget for budget, there in by_budget.items() if there == names)


def times(study: Study) -> list[int]:
    """All budgets of time, of any objective."""
    return sorted({a.config.budget for a in compared(study) if a.config.match == "time"})


def arm_of(study: Study, objective: str, match: Match, budget: int) -> Arm | None:
    """The arm of an objective; the reference has one arm for both matches."""
    for arm in compared(study):
        config = arm.config
        if config.objective.name == objective and config.budget == budget and (
            config.match == match or (match == "iterations" and objective == "logit")
        ):  # fmt: skip
            return arm
    return None


def rivals(study: Study) -> list[str]:
    """The elaborate objectives, by name."""
    names = dict.fromkeys(arm.config.objective.name for arm in compared(study))
    return [name for name in names if name not in (PLAIN.name, *CANONICAL_NAMES)]


def warm(study: Study) -> Arm | None:
    """The warm start on all labels; None for a cold start."""
    return next((a for a in study.arms if isinstance(a.config, Student) and not a.control
                 and a.config.role == "warm start"), None)  # fmt: skip


def teacher(study: Study) -> Arm:
    """The teacher."""
    return next(arm for arm in study.arms if isinstance(arm.config, Teacher))


def claims_of(study: Study) -> tuple[Claim, ...]:
    """S2 to S5 at the largest budget, and the two controls."""
    data, last = data_of(study), budgets(study, "time")[-1]
    lengths = times(study)
    canonical = CANONICAL[data]

    def claim(name: str, says: str, arm: Arm | None, rival: Arm | None) -> Claim:
        assert arm is not None
        assert rival is not None
        return Claim(
            id=f"{name}-{data}",
            statement=says,
            cells=(),
            study=study.name,
            metric="miou",
            arm=arm.id,
            rival=rival.id,
            kind="superiority",
            seeds=SEEDS,
            unit="mIoU points",
        )

    found = list[Claim]()
    best = arm_of(study, canonical, "time", last)
    for name in rivals(study):
        at_time, at_iterations = (arm_of(study, name, match, last) for match in MATCHES)
        says = f"S2: {canonical} distillation is not worse than {name} at equal time"
        made = claim(f"s2-{canonical}-holds-against-{name}", says, best, at_time)
        found.append(replace(made, kind="non-inferiority", family=f"s2-{data}", headline=True))
        says = f"S3: {name} ends higher at equal iterations than at equal time"
        made = claim(f"s3-{name}-gains-from-equal-iterations", says, at_iterations, at_time)
        found.append(replace(made, family=f"s3-{data}"))
    short, long = (arm_of(study, FEATURE.name, "time", b) for b in (lengths[0], lengths[-1]))
    says = "S4: feature distillation gains from longer training"
    made = claim("s4-feature-gains-from-longer-training", says, long, short)
    found.append(replace(made, headline=True))
    again = next(arm for arm in study.arms if arm.run is scored_again)
    says = (
        "S5: trained for longest, feature distillation ends as close to its teacher as the "
        "abstract's on Cityscapes"
    )
    made = claim("s5-feature-recovers-the-teacher", says, long, again)
    found.append(
        replace(made, kind="non-inferiority", margin=RECOVERY, cells=(REPORTED,), headline=True)
    )
    return (*found, *_controls(study, last, claim))


def _controls(
    study: Study, last: int, claim: Callable[[str, str, Arm | None, Arm | None], Claim]
) -> tuple[Claim, Claim]:
    """That few labels show an effect, and that another image's outputs show none."""
    students = [a for a in study.arms if a.control and isinstance(a.config, Student)]
    few = {
        a.config.objective.needs_teacher: a
        for a in students
        if a.config.labels < 1 and a.config.role == "compared"
    }
    wrong = next(a for a in students if a.config.teaching == "another image")
    says = "with a tenth of the labels, distillation on all images beats plain training"
    positive = claim(CONTROL, f"{says} (positive control)", few[True], few[False])
    says = "distilling what the teacher says of another image beats plain training"
    plain = arm_of(study, PLAIN.name, "time", last)
    negative = claim(NEGATIVE, says, wrong, plain)
    return positive, replace(negative, negative_control=True)


def unsound(results: Results, claim: Claim) -> str:
    """Why a verdict is withheld, or "": moved costs, guessed settings, a poor teacher, controls.

    Controls themselves are withheld for moved costs alone.
    """
    if drifted(results.facts):
        return "step costs moved by more than 10 % during the runs"
    if claim.negative_control or claim.id.startswith(CONTROL):
        return ""
    if guessed := placeholders(data_of(results.study)):
        return f"not chosen on tuning data yet: {', '.join(guessed)}"
    problem = poor_teacher(results)
    if problem:
        return problem
    by_name = {
        name: judge([each], results.records)[0].verdict
        for each in results.study.claims
        for name in (CONTROL, NEGATIVE)
        if each.id.startswith(name)
    }
    positive, negative = by_name.get(CONTROL), by_name.get(NEGATIVE)
    if "not run" in (positive, negative):
        return "the controls have not been run"
    if positive and positive != "supported":
        return "the positive control is not supported: this assay cannot find an effect"
    if negative == "supported":
        return "the negative control is supported: outputs of another image help, too"
    return ""


def poor_teacher(results: Results) -> str:
    """Why the teacher is not accepted (`stages.poor`), or "" (also where it cannot be known yet).

    Where the teacher is scored again on the final data, those scores count.
    """
    start = warm(results.study)
    again = next((arm for arm in results.study.arms if arm.run is scored_again), None)
    best = results.runs(again or teacher(results.study))
    runs = results.runs(start) if start else []
    if not runs or not best:
        return ""
    plain = {key: _mean(runs, key) for key in runs[0].metrics}
    return poor(best[0].metrics, plain, teacher(results.study).config.scored)


def _mean(runs: list[RunRecord], key: str) -> float:
    values = [run.metrics.get(key, 0.0) for run in runs]
    return sum(values) / len(values)


def warnings(results: Results) -> tuple[str, ...]:
    """What a reader must know before using the numbers."""
    notes = [f"Not accepted: {poor_teacher(results)}."] if poor_teacher(results) else []
    guessed = placeholders(data_of(results.study))
    if guessed:
        notes.append(f"Placeholders until the screen has been run: {', '.join(guessed)}.")
    if drifted(results.facts):
        notes.append("Refused as a comparison at equal time: step costs moved by more than 10 %.")
    elif results.facts and not results.facts.get("closed", False):
        notes.append("The second calibration has not been made yet.")
    return tuple(notes)
