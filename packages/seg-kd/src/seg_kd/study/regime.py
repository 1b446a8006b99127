"""The regime of arXiv 2604.25530's claim: distillation objectives compared with one another.

Students begin from a plain student at its plateau, one a seed, so that arms are pairs from a common
start; each then runs a fresh, complete schedule at a learning rate of its own. The teacher looked
once at fixed views of every image; each arm is charged what an online teacher costs, as the
calibration measures it, so the plan's iterations decide how long an arm trains, and runs may go two
at a time. Earlier comparisons, from random weights, are in `recipes.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from repro_shared.study.paper import Arm, Scale, Study
from repro_shared.study.protocols import DataSource
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN, Objective
from seg_kd.rivals.presets import NAMED
from seg_kd.study import stages
from seg_kd.study.calibration import EqualTime
from seg_kd.study.recipes import CAMVID, CAMVID_MAPS, SCENES
from seg_kd.study.regime_claims import claims_of, unsound
from seg_kd.study.regime_figures import extended_figure, regime_figure
from seg_kd.study.regime_tables import tables_of
from seg_kd.study.screen import gate_table, rates_table, screen_table
from seg_kd.study.settled import CANONICAL, FIRST, PLATEAU, RATES
from seg_kd.study.stages import SCORED, Student, Teacher
from seg_kd.study.warm import (
    OUTPUTS,
    Ground,
    compared,
    controls,
    kept_backbone,
    kept_outputs,
    screened,
    tries,
    warm_start,
)
from seg_kd.train import Optimiser
from seg_kd.use.data import Scenes, View
from seg_kd.use.models import Model

CANONICALS = (PLAIN, LOGIT, FEATURE, FEATURE_LOGIT)
ELABORATE = (
    "skd", "ifvd", "cwd-logits", "cwd-features", "at", "dist", "cirkd", "mgd", "af-dcd",
    "normalised-feature", "bpkd_like",
)  # fmt: skip
"""The pure preset of every rival; CIRKD's FitNet is canonical feature distillation."""
SEED = 100  # of all that is chosen on tuning data
LITE0 = "tf_efficientnet_lite0"


CAMVID_SHARES = (
    0.1744, 0.2419, 0.0102, 0.3310, 0.0467, 0.1011, 0.0122, 0.0117, 0.0611, 0.0067, 0.0030,
)  # fmt: skip
"""Of the labelled pixels of CamVid's training frames, by class."""


def balanced(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Class weights 1 / ln(1.02 + share), of ENet (arXiv 1606.02147), as is customary on CamVid.

    Without them thin and rare classes end at IoU 0 in teacher and students alike.
    """
    return tuple(round(1 / math.log(1.02 + share), 2) for share in shares)


@dataclass(frozen=True)
class Place:
    """One data set with its models and lengths.

    Attributes:
        name: `camvid` or `digits`; data: final and, held out, for tuning.
        student: what all share, plain; teacher: how it is made; teacher_data: where it was.
        grid: places of a student's map.
        budgets, longer: of time; tuning: iterations of a try.
        plateaus: lengths of a plain student that are tried on tuning data.
        rounds: of a calibration.
    """

    name: str
    data: DataSource
    tuning_data: DataSource
    student: Student
    teacher: Teacher
    teacher_data: DataSource | None
    grid: tuple[int, int]
    budgets: tuple[int, ...]
    longer: tuple[int, ...]
    tuning: int
    screening: int
    plateaus: tuple[int, ...]
    rounds: int

    @property
    def plateau(self) -> int:
        """Iterations of a warm start."""
        return self.plateaus[0] if len(self.plateaus) == 1 else PLATEAU[self.name]

    def rivals(self) -> tuple[Objective, ...]:
        """The three that came first in the screen."""
        return tuple(NAMED[name] for name in FIRST[self.name])

    def ground(self, seed: int | None, rates: dict[str, float] | None = None) -> Ground:
        """Teacher, start and cache; `seed` is of the start, if it is one for all."""
        teacher = Arm("teacher", self.teacher, stages.teacher, data=self.teacher_data,
                      seed=0 if seed is None else seed)  # fmt: skip
        if self.teacher_data is not None:
            teacher = replace(teacher, seed=0)  # the committed one, which saw no tuning data
        warm = warm_start(self.student, self.plateau, seed=seed)
        names = (*OUTPUTS, *(("c4",) if self._reads_c4() else ()))
        kept = kept_outputs(teacher, self.student, self.grid, names)
        return Ground(
            self.student, teacher, warm, kept, RATES[self.name] if rates is None else rates
        )

    def _reads_c4(self) -> bool:
        return any("mgd" in name or "af-dcd" in name for name in FIRST[self.name])


def camvid(scale: Scale) -> Place:
    """CamVid's road scenes; tuned on sequence 0006R0, which training then leaves out."""
    smoke, view = scale == "smoke", View((96, 128))
    model = Model(base_channels=8 if smoke else 16, head_channels=32, auxiliary_channels=16,
                  class_weights=balanced(CAMVID_SHARES))  # fmt: skip
    classes = len(CAMVID)
    student = Student(model, classes, view, Optimiser(0.1, batch_size=2 if smoke else 8), PLAIN,
                      views=2 if smoke else 64, scored=SCORED)  # fmt: skip
    adam = Optimiser(1e-3, kind="AdamW", weight_decay=0.01, minimum_rate=1e-6, warmup=0.05,
                     batch_size=2 if smoke else 8)  # fmt: skip
    large = Model(LITE0, head_channels=64, auxiliary_channels=32, imagenet=True, skip_channels=24,
                  inputs="-1 to 1", class_weights=balanced(CAMVID_SHARES))  # fmt: skip
    return Place(
        "camvid",
        replace(CAMVID_MAPS, also="test"),
        CAMVID_MAPS if smoke else replace(CAMVID_MAPS, hold_out="0006R0"),
        student,
        Teacher(large, classes, view, adam, iterations=2 if smoke else 2000, scored=SCORED),
        None,
        (12, 16),
        budgets=(4,) if smoke else (250, 1000),
        longer=(8,) if smoke else (500, 2000),
        tuning=2 if smoke else 250,
        screening=2 if smoke else 1000,
        plateaus=(2,) if smoke else (3000, 6000, 12000),
        rounds=2 if smoke else 64,
    )


def digits(scale: Scale) -> Place:
    """Digit scenes: students see a fifth of those that the teacher was trained on."""
    smoke, view = scale == "smoke", View((64, 64), (0.8, 1.25), 0.0, False, 1.0)
    model = Model(base_channels=8 if smoke else 16, head_channels=16 if smoke else 32,
                  auxiliary_channels=16)  # fmt: skip
    classes = len(SCENES.classes)
    student = Student(model, classes, view, Optimiser(0.2, batch_size=4 if smoke else 8), PLAIN,
                      views=2 if smoke else 16, scored=SCORED)  # fmt: skip
    teacher = Teacher(
        Model(base_channels=16 if smoke else 32, head_channels=32 if smoke else 64,
              auxiliary_channels=32),
        classes, view, Optimiser(0.2), iterations=2 if smoke else 9000, scored=SCORED,
        weights="" if smoke else "equal_time_digits.safetensors",
        sha256="" if smoke
        else "53791f315754bd997f7ca80ce070b153a7373e1c50ea1e806f58b65f167470db",
    )  # fmt: skip
    few, scored = (16, 8) if smoke else (800, 500)
    return Place(
        "digits",
        Scenes(SCENES, few, scored),
        Scenes(SCENES, few, 300 if not smoke else 8, test_split="val", seed=SEED),
        student,
        teacher,
        Scenes(SCENES, 32 if smoke else 4000, scored),
        (8, 8),
        budgets=(4,) if smoke else (60, 180),
        longer=(8,) if smoke else (360,),
        tuning=2 if smoke else 120,
        screening=2 if smoke else 600,
        plateaus=(2,) if smoke else (1500, 3000, 6000),
        rounds=2 if smoke else 32,
    )


def rivalry(place: Place, scale: Scale) -> Study:
    """Plain, canonical and the first three rivals at equal time and at equal iterations."""
    smoke = scale == "smoke"
    rivals = place.rivals()[: 1 if smoke else 3]
    ground, canonical = place.ground(None), NAMED[CANONICAL[place.name]]
    again = Arm("teacher, scored again", place.teacher, stages.scored_again, (ground.teacher,))
    arms = (
        *ground.arms,
        again,
        *compared(ground, (*CANONICALS, *rivals), place.budgets, place.budgets[-1], place.longer,
                  (PLAIN.name, LOGIT.name, FEATURE.name)),
        *controls(ground, canonical, place.budgets[-1], place.plateau),
    )  # fmt: skip
    study = Study(
        f"rivals_{place.name}{'_smoke' if smoke else ''}", scale, place.data, arms,
        (0,) if smoke else (0, 1, 2), suspended=unsound,
        prepare=EqualTime(place.rounds, settled=not smoke),
    )  # fmt: skip
    study = replace(study, claims=() if smoke else claims_of(study))
    figures = (regime_figure, extended_figure)
    return replace(study, tables=tables_of(study), figures=figures)


def rivals_digits(scale: Scale) -> Study:
    """Canonical distillation against three rivals on digit scenes, at equal time.

    Cells: the claims of the abstract, none of its numbers (other data, other sizes).
    Cost: smoke seconds; cpu about 15 minutes on two quiet cores for 3 seeds, without controls.
    Deviations: digits on photographs; R18 a quarter of the paper's width, from a warm start of our
    own, not from ImageNet; the teacher, an R18 twice as wide, has seen five times as many scenes.
    """
    return rivalry(digits(scale), scale)


def rivals_camvid(scale: Scale) -> Study:
    """The same on CamVid's road scenes, with a teacher from ImageNet weights; needs `--data`.

    Cells: the claims of the abstract, none of its numbers.
    Cost: about 110 core-minutes a seed at one thread, and an hour for teacher and cache.
    Deviations: 367 small frames; a student a quarter as wide; teacher EfficientNet-Lite0 at stride
    8 with a skip at stride 4; outputs of the teacher kept for 64 views an image.
    """
    return rivalry(camvid(scale), scale)


def screen(place: Place, scale: Scale) -> Study:
    """All that is chosen on tuning data: plateau, teacher's gate, rates, and which rivals run."""
    smoke = scale == "smoke"
    ground = place.ground(SEED, {})
    rivals = [_at_head(NAMED[name]) for name in (ELABORATE[:1] if smoke else ELABORATE)]
    plateaus = [
        replace(warm_start(place.student, n, seed=SEED), name=f"plain, {n} iterations")
        for n in place.plateaus
        if n != place.plateau
    ]
    backbone = kept_backbone(ground.warm, place.student)
    canonical = CANONICALS[: 2 if smoke else None]
    tried = (*canonical, *place.rivals()[: 0 if smoke else 3])
    main = tries(ground, tried, place.tuning, "main", SEED)
    arms = (
        *ground.arms,
        *plateaus,
        backbone,
        *screened(ground, backbone, (*canonical, *rivals), place.screening, SEED),
        *(arm for several in main.values() for arm in several),
    )
    return Study(
        f"screen_{place.name}{'_smoke' if smoke else ''}", scale, place.tuning_data, arms,
        (0,) if smoke else tuple(range(10)), tables=(gate_table, rates_table, screen_table),
    )  # fmt: skip


def _at_head(objective: Objective) -> Objective:
    """With terms that read the feature before the classifier: a frozen backbone learns nothing."""
    terms = tuple(
        replace(term, layer="pre-classifier") if hasattr(term, "layer") else term  # type: ignore[call-arg]
        for term in objective.terms
    )
    return replace(objective, terms=terms)


def screen_digits(scale: Scale) -> Study:
    """Plateau, rates and the screen of all objectives on tuning scenes.

    Cells: none. Cost: about two hours of one core for 10 seeds.
    """
    return screen(digits(scale), scale)


def screen_camvid(scale: Scale) -> Study:
    """The same on sequence 0006R0 of CamVid, with a teacher that has not seen it.

    Cells: none. Cost: about six hours of one core for 10 seeds. Needs `--data`.
    """
    return screen(camvid(scale), scale)


def imagenet_student_camvid(scale: Scale) -> Study:
    """A second pair: the student is the teacher's network cut after its fourth stage.

    Cells: none. Cost: about 40 core-minutes a seed, at one budget. Needs `--data`.
    """
    place, smoke = camvid(scale), scale == "smoke"
    cut = Model(LITE0, head_channels=32, auxiliary_channels=16, imagenet=True, stages=4,
                inputs="-1 to 1", class_weights=balanced(CAMVID_SHARES))  # fmt: skip
    place = replace(place, student=replace(place.student, model=cut), budgets=place.budgets[:1])
    ground = place.ground(None)
    arms = (*ground.arms, *compared(ground, CANONICALS, place.budgets, place.budgets[-1]))
    study = Study(
        f"imagenet_student_camvid{'_smoke' if smoke else ''}", scale, place.data, arms,
        (0,) if smoke else (0, 1, 2, 3, 4), suspended=unsound,
        prepare=EqualTime(place.rounds, settled=not smoke),
    )  # fmt: skip
    return replace(study, tables=tables_of(study), figures=(regime_figure,))


def cold_start_camvid(scale: Scale) -> Study:
    """Plain, logit and feature from random weights: does the warm start decide the outcome?

    Cells: none. Cost: about 15 core-minutes a seed. Needs `--data`.
    """
    place, smoke = camvid(scale), scale == "smoke"
    ground = place.ground(None, dict.fromkeys(("plain", "logit", "feature"), 0.1))
    arms = compared(ground, (PLAIN, LOGIT, FEATURE), place.budgets[-1:], place.budgets[-1])
    cold = tuple(
        replace(arm, starts_from=tuple(s for s in arm.starts_from if s != ground.warm))
        for arm in arms
    )
    study = Study(
        f"cold_start_camvid{'_smoke' if smoke else ''}", scale, place.data,
        (ground.teacher, ground.kept, *cold), (0,) if smoke else (0, 1, 2, 3, 4),
        suspended=unsound, prepare=EqualTime(place.rounds, settled=not smoke),
    )  # fmt: skip
    return replace(study, tables=tables_of(study), figures=(regime_figure,))
