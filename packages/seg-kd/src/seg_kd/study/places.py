"""The two data sets of the regime, with their models and lengths at each scale.

Lengths and widths are what two cores can pay for; what each slice costs is in results/protocol.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from repro_shared.study.paper import Arm, Scale
from repro_shared.study.protocols import DataSource
from seg_kd.method.objectives import PLAIN, Objective
from seg_kd.rivals.presets import NAMED, at_this_size
from seg_kd.study import stages
from seg_kd.study.configs import Student, Teacher
from seg_kd.study.recipes import CAMVID, CAMVID_MAPS, SCENES
from seg_kd.study.settled import FIRST, PLATEAU, RATES
from seg_kd.study.stages import SCORED, shipped
from seg_kd.study.warm import OUTPUTS, Ground, kept_c4, kept_outputs, warm_start
from seg_kd.train import Optimiser
from seg_kd.use.data import Scenes, View
from seg_kd.use.models import Model

SEED = 100  # of all that is chosen on tuning data
LITE0 = "tf_efficientnet_lite0"
TEACHER = "teacher_camvid"  # file of the weights that come along once a screen accepted it
SCREEN_VIEWS = 16  # of an image, where many short runs share one frozen backbone

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
        student: what all share, plain; teacher: how it is made; teacher_data: where, never on
            tuning data; teacher_seed: of its training; teacher_channels: of its last map and of
            its feature before the classifier.
        shipped: the same as the one that comes along, once there is one.
        grid: places of a student's map.
        budgets, longer: of time; tuning: iterations of a try.
        screening: iterations on a frozen backbone; a try there has half as many.
        plateaus: lengths of a plain student that are tried on tuning data.
        rounds: of a calibration.
    """

    name: str
    data: DataSource
    tuning_data: DataSource
    student: Student
    teacher: Teacher
    teacher_data: DataSource
    teacher_seed: int
    teacher_channels: tuple[int, int]
    shipped: Teacher
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
        return tuple(map(self.objective, FIRST[self.name]))

    def objective(self, name: str, at_head: bool = False) -> Objective:
        """A preset with its weights for maps of this size.

        With `at_head` its terms read the feature before the classifier: a frozen backbone learns
        nothing.
        """
        found = NAMED[name]
        if at_head:
            terms = (
                replace(term, layer="pre-classifier") if hasattr(term, "layer") else term  # type: ignore[call-arg]
                for term in found.terms
            )
            found = replace(found, terms=tuple(terms))
        maps = zip(("c4", "pre-classifier"), self.teacher_channels, strict=True)
        return at_this_size(found, dict(maps), self.grid)

    def ground(self) -> Ground:
        """Teacher, starts and kept outputs of the final runs."""
        return self._ground(self.shipped, warm_start(self.student, self.plateau), RATES[self.name])

    def tuning_ground(self, warm: Arm) -> Ground:
        """The same on tuning data, from a given start."""
        few = replace(self.student, views=min(SCREEN_VIEWS, self.student.views))
        return replace(self, student=few)._ground(self.teacher, warm, {})

    def teaching(self, config: Teacher) -> Arm:
        """The teacher's arm."""
        return Arm("teacher", config, stages.teacher, data=self.teacher_data,
                   seed=self.teacher_seed)  # fmt: skip

    def _ground(self, config: Teacher, warm: Arm, rates: Mapping[str, float]) -> Ground:
        teacher = self.teaching(config)
        return Ground(
            self.student,
            teacher,
            warm,
            kept_outputs(teacher, self.student, self.grid, OUTPUTS),
            kept_c4(teacher, self.student, self.grid),
            dict(rates),
        )


def camvid(scale: Scale) -> Place:
    """CamVid's road scenes; tuned on sequence 0006R0, which training then leaves out.

    The student is an eighth as wide as the paper's: its step then costs less than the teacher's
    forward pass, as at the paper's shapes, and its plateau leaves the teacher room.
    """
    smoke, view = scale == "smoke", View((96, 128))
    model = Model(base_channels=8, head_channels=32, auxiliary_channels=16,
                  class_weights=balanced(CAMVID_SHARES))  # fmt: skip
    classes = len(CAMVID)
    student = Student(model, classes, view, Optimiser(0.1, batch_size=2 if smoke else 8), PLAIN,
                      views=2 if smoke else 64, scored=SCORED)  # fmt: skip
    adam = Optimiser(1e-3, kind="AdamW", weight_decay=0.01, minimum_rate=1e-6, warmup=0.05,
                     batch_size=2 if smoke else 8)  # fmt: skip
    held_out = CAMVID_MAPS if smoke else replace(CAMVID_MAPS, hold_out="0006R0")
    large = Model(LITE0, head_channels=64, auxiliary_channels=32, imagenet=True, skip_channels=24,
                  inputs="-1 to 1", class_weights=balanced(CAMVID_SHARES))  # fmt: skip
    teacher = Teacher(large, classes, view, adam, iterations=2 if smoke else 1500, scored=SCORED)
    return Place(
        "camvid",
        replace(CAMVID_MAPS, also="test"),
        held_out,
        student,
        teacher,
        held_out,
        SEED,
        (320, 64),
        teacher if smoke else shipped(teacher, TEACHER),
        (12, 16),
        budgets=(4,) if smoke else (120, 480),
        longer=(8,) if smoke else (240, 960),
        tuning=2 if smoke else 240,
        screening=2 if smoke else 400,
        plateaus=(2,) if smoke else (1500, 3000, 6000),
        rounds=2 if smoke else 32,
    )


def second_student(place: Place) -> Student:
    """The teacher's network cut after its fourth stage, at its own stride of 16."""
    cut = Model(LITE0, head_channels=32, auxiliary_channels=16, imagenet=True, stages=4,
                output_stride=16, inputs="-1 to 1",
                class_weights=balanced(CAMVID_SHARES))  # fmt: skip
    return replace(place.student, model=cut, views=min(SCREEN_VIEWS, place.student.views))


def digits(scale: Scale) -> Place:
    """Digit scenes: students see a fifth of those that the teacher was trained on."""
    smoke, view = scale == "smoke", View((64, 64), (0.8, 1.25), 0.0, False, 1.0)
    model = Model(base_channels=8, head_channels=16 if smoke else 32, auxiliary_channels=16)
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
        0,
        (128, 32) if smoke else (256, 64),
        teacher,
        (8, 8),
        budgets=(4,) if smoke else (40, 120),
        longer=(8,) if smoke else (240,),
        tuning=2 if smoke else 120,
        screening=2 if smoke else 300,
        plateaus=(2,) if smoke else (750, 1500, 3000),
        rounds=2 if smoke else 32,
    )
