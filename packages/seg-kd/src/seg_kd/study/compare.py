"""`seg-kd compare`: objectives at equal wall-clock time on the user's own data and models.

The study is made like those of the paper: step costs are measured, every arm gets the iterations
that the budget pays for, and one record a run is kept. The first arm is what others are compared
with.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from repro_shared.evidence.cells import slug
from repro_shared.evidence.claims import Claim
from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.runtime.checks import check_device, check_seeds, require
from repro_shared.runtime.cli import Command
from repro_shared.runtime.errors import UserError
from repro_shared.study.alone import flat, occupied, settings_of
from repro_shared.study.command import reproduce_study
from repro_shared.study.keys import recipe_key
from repro_shared.study.paper import Arm, Context, Outcome, Paper, Study
from repro_shared.study.results import Results, load_results
from repro_shared.study.session import FACTS, Session
from repro_shared.study.trip import steps_through
from repro_shared.timing.calibrate import Calibration, iterations_for_budget
from seg_kd.method.objectives import LOGIT, OBJECTIVES, PLAIN, Objective
from seg_kd.rivals.presets import NAMED
from seg_kd.study import stages
from seg_kd.study.arms import objectives, students
from seg_kd.study.calibration import REFERENCE, EqualTime, unequal_time
from seg_kd.study.chosen import known_arms
from seg_kd.study.compare_tables import CEILING, figure, scores, verdicts, words
from seg_kd.study.configs import Student, Teacher
from seg_kd.study.own_arms import (
    TEACHER,
    Images,
    Length,
    OneOf,
    flags,
    given_file,
    given_teacher,
    model_of,
)
from seg_kd.study.scoring import metrics
from seg_kd.study.stages import load_teacher
from seg_kd.study.tables import cost_table
from seg_kd.study.training import Settled, Training, settle
from seg_kd.use import adapter
from seg_kd.use.evaluation import evaluate
from seg_kd.use.network import Network

NAME = "compare"
ARMS = tuple(OBJECTIVES)
Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class WithinBudget(EqualTime):
    """Equal time, in seconds or in iterations of logit distillation.

    Attributes:
        seconds: of each training; 0 where the arms' budgets are iterations.
    """

    rounds: int = 30
    seconds: float = 0.0

    def measure(
        self, study: Study, session: Session, facts: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Time what has no ratio yet; UserError for a known name of another objective."""
        named = {each.name: recipe_hash(each)[:12] for each in objectives(study)}
        before = (facts or {}).get("objectives", {})
        for name in (each for each in named if before.get(each, named[each]) != named[each]):
            raise UserError(
                f"{session.out} has step costs of another objective {name!r}: give yours another "
                "name, or another --out"
            )
        return {**super().measure(study, session, facts), "objectives": {**before, **named}}

    def fill(self, study: Study, facts: dict[str, Any] | None) -> Study:
        """Every student with its iterations; unknown until the reference has been timed."""
        if not self.seconds:
            return super().fill(study, facts)
        if not facts:
            return study
        cost = Calibration.from_dict(facts["calibrations"][0]).median(REFERENCE)
        budget = iterations_for_budget(self.seconds, cost)
        arms = tuple(
            replace(arm, config=replace(arm.config, budget=budget))
            if isinstance(arm.config, Student) else arm
            for arm in study.arms
        )  # fmt: skip
        return super().fill(replace(study, arms=arms), facts)


@steps_through(evaluate)
def scored(config: Teacher, ctx: Context) -> Outcome:
    """Score the teacher that the students learn from."""
    adapter.set_device(ctx.device)
    network = load_teacher(ctx.starts[0], ctx.seed).to(ctx.device)
    return Outcome(metrics(ctx.data.classes, evaluate(network, ctx.data.test, config.classes), 0))


def comparison(
    images: Images,
    settled: Settled,
    teacher: Arm,
    student: str | Network,
    student_weights: str | None,
    chosen: Sequence[Objective],
    length: Length,
    seeds: tuple[int, ...],
) -> Study:
    """The study of these objectives; logit distillation is timed in any case."""
    like = Student(
        model_of(student, images.num_classes, settled.view.crop),
        images.num_classes,
        settled.view,
        settled.optimiser,
        PLAIN,
        match="time",
        budget=length.iterations or 0,
        start=given_file(student_weights) if student_weights else None,
    )

    def learns(objective: Objective) -> Arm:
        starts = (teacher,) if objective.needs_teacher else ()
        config = replace(like, objective=objective)
        return Arm(objective.name, config, stages.student, starts_from=starts)

    arms = [learns(each) for each in chosen]
    if LOGIT not in chosen:
        arms.append(replace(learns(LOGIT), control=True))
    ceiling = Arm(CEILING, teacher.config, scored, starts_from=(teacher,), seed=0)
    first, *others = arms[: len(chosen)]
    claims = tuple(
        Claim(
            id=f"{arm.id}-beats-{first.id}",
            statement=f"{words(arm)} beats {words(first)} at equal wall-clock time",
            cells=(),
            study=NAME,
            metric="miou",
            arm=arm.id,
            rival=first.id,
            kind="superiority",
            seeds=seeds,
            family=NAME,
            unit="mIoU points",
        )
        for arm in others
    )
    return Study(
        NAME,
        "cpu",
        images.source(),
        (teacher, ceiling, *arms),
        seeds,
        tables=(scores, verdicts, cost_table),
        figures=(figure,),
        claims=claims,
        suspended=unequal_time,
        prepare=WithinBudget(seconds=length.budget_seconds or 0.0),
    )


def named(arms: Sequence[str], own: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives of arms, the user's own last.

    Raises:
        UserError: an unknown name, fewer than two arms, or names that are not told apart.
    """
    known_arms(arms)
    found = (*(NAMED[each] for each in arms), *own)
    try:
        names = {slug(each.name) for each in found} - {CEILING, slug(TEACHER)}
    except ValueError as error:
        raise UserError(f"objective {error}: give it another name") from error
    if len(names) < max(2, len(found)):
        raise UserError("a comparison needs two arms or more, each of a name of its own (--arms)")
    return found


def compare(
    paper: Paper,
    images: Annotated[Images, Flat] = Images(),
    training: Annotated[Training, Flat] = Training(),
    *,
    teacher: OneOf = "",
    teacher_weights: str = "",
    student: OneOf = "pspnet_r18",
    student_weights: str | None = None,
    arms: tuple[str, ...] = ARMS,
    own: Annotated[tuple[Objective, ...], tyro.conf.Fixed, tyro.conf.Suppress] = (),
    iterations: int | None = None,
    budget_seconds: float | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    out: str = "runs/compare",
    device: Literal["cpu", "cuda"] = "cpu",
    plan: bool = False,
    recalibrate: bool = False,
) -> Results:
    """Compare objectives at equal time on a label-map folder: seeds, intervals, a figure.

    What is missing is run, and tables and a figure are written and printed; arms and seeds can be
    added later. The other arms are compared with the first.

    Args:
        paper: of the package.
        images: the data.
        training: how the students are trained.
        teacher: mmseg config file of the teacher, or a built-in name.
        teacher_weights: its state_dict (.safetensors or .pth, tensors only).
        student: mmseg config file of the student, or a built-in name.
        student_weights: state_dict that all students start from.
        arms: objectives, plain or those of `distill`, the one compared with first.
        own: objectives of one's own, behind them; see `method.objectives.objective`.
        iterations: the budget, as the time that logit distillation takes for so many.
        budget_seconds: the budget in seconds of each training, instead of iterations.
        seeds: of initialisation, order and augmentation; 5 or more give verdicts.
        out: output folder: records, tables, figures.
        device: cpu or cuda.
        plan: list runs and cost, and stop.
        recalibrate: time the steps anew.

    Returns:
        The records that tables and figures are made of.

    Raises:
        UserError: what cannot be used, before anything is run; runs that could not be made; step
            costs that moved meanwhile.
    """
    chosen, length = named(arms, own), Length(iterations, budget_seconds)
    require(bool(seeds), "--seeds", "one or more", "none")
    check_seeds(seeds)
    check_device(device)
    adapter.set_device(device)
    source = images.source()
    require(bool(source.test_split), "--val-split", "a split to score on", "none")
    settled = settle(training, str(student), device, **flags(images, length))
    length = length.or_config(settled)
    taught = given_teacher(images, settled.view, teacher, teacher_weights)
    study = comparison(images, settled, taught, student, student_weights, chosen, length, seeds)
    session = Session(paper, study, Path(out), Path(images.data), device, images.workers)
    with nullcontext() if plan else _kept(session):
        reproduce_study(session, seeds, plan=plan, recalibrate=recalibrate)
    return load_results(paper, study, session.out, session.opened)


def verb(paper: Paper) -> Command:
    """The command."""

    @wraps(compare)
    def command(*values: Any, **settings: Any) -> None:
        compare(paper, *values, **settings)

    signature = inspect.signature(compare)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=list(signature.parameters.values())[1:]
    )
    return command


def _kept(session: Session) -> AbstractContextManager[None]:
    """A folder for what all arms share: step costs of other models would be wrong."""
    first = students(session.study)[0]
    prepare: Any = session.study.prepare
    shared = replace(first, config=replace(first.config, objective=PLAIN), starts_from=())
    taught = session.study.arms[0]
    settings = {
        **flat(resolved_config(prepare)),
        **{f"teacher: {name}": value for name, value in settings_of(session, taught).items()},
        **settings_of(session, shared),
    }
    keys = [recipe_key(session.paper, arm) for arm in (taught, shared)]
    data = session.open(session.study.data).fingerprint
    asked = f"compare {prepare.seconds:g} {' '.join(keys)} {data}"
    facts = session.out / NAME / FACTS
    return occupied(session.out, asked, settings, facts.is_file)
