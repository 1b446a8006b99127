"""What recipes are written with: losses by their names in tables, lengths, and arms of the stages.

Every loss against texts reads class prompts ("a photo of a ..."), but `vision-language, captions`.
Student and schedule are ours, for minutes of a CPU: batches of 128, rates that fall as a cosine,
crops of 60 to 100 % of the area. The authors' scripts have batches of 256, a constant rate of 5e-4,
crops from 8 % on and mirror images (`use.steps.STAGES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clip_distill.method.objective import Name, Objective
from clip_distill.study import stages
from clip_distill.study.objects import World
from clip_distill.study.scoring import ZERO_SHOT, Scoring
from clip_distill.study.stages import Cached, StageOne, StageTwo
from clip_distill.study.tuned import Try
from clip_distill.use.steps import Training
from repro_shared.study.paper import Arm
from repro_shared.study.protocols import DataSource

RATE = 2e-3
FEATURE, TEXT, LABEL, LOGITS = "L2", "vision-language", "class cross-entropy", "teacher's logits"
CAPTIONS = "vision-language, captions"
MAIN = (FEATURE, TEXT, LABEL, LOGITS)
ALL = (*MAIN, "image-to-image", "mix")
KINDS: dict[str, Name] = {
    TEXT: "vision-language", CAPTIONS: "vision-language", LABEL: "class", LOGITS: "teacher-logits",
    "image-to-image": "image-to-image",
}  # fmt: skip
SEPARATOR = ", confounding "
"""In names of arms, before the confounding of their synthetic images."""


@dataclass(frozen=True)
class Lengths:
    """Of both stages, and the student's backbone."""

    first: Training
    second: Training
    backbone: str = "test_efficientnet"

    def at(self, rate: float) -> Lengths:
        """With this rate in stage 2."""
        return replace(self, second=replace(self.second, learning_rate=rate))


LENGTHS = Lengths(
    Training(8, 128, RATE, schedule="cosine"), Training(10, 128, RATE, schedule="cosine")
)
SMOKE = Lengths(
    Training(1, 32, RATE, schedule="cosine"), Training(2, 32, RATE, schedule="cosine")
)  # fmt: skip
FEW = World(generic=64, synthetic=96, test=54, labelled=72)
FEW_SCORES = Scoring(corrupted=20)
UNTUNED: Mapping[str, Try] = {
    name: Try(None if name == FEATURE else 0.1, RATE) for name in (*ALL, CAPTIONS)
}
"""What smoke runs take, and what stands in a recipe that waits for tuning."""


def objective(name: str, temperature: float | None) -> Objective:
    """A loss by its name in the tables."""
    if name == FEATURE:
        return Objective("l2")
    if name == "mix":
        return Objective("l2", temperature, other="vision-language", alpha=0.5)
    return Objective(KINDS[name], temperature)


@dataclass(frozen=True)
class Ground:
    """What the arms of a study have in common.

    Attributes:
        lengths: of both stages.
        scoring: of every student.
        before: arms that all others start from: a teacher that is trained here.
    """

    lengths: Lengths
    scoring: Scoring
    before: tuple[Arm, ...] = ()

    def first_stage(self) -> tuple[Arm, Arm]:
        """The cache of generic pictures, and stage 1."""
        cache = Arm("cache, generic", Cached("generic"), stages.cached, self.before)
        config = StageOne(self.lengths.first, scoring=self.scoring)
        return cache, Arm("stage 1", config, stages.stage_one, (cache, *self.before))

    def tried(
        self, words: str, name: str, one: Try, starts: tuple[Arm, ...],
        data: DataSource | None = None, control: bool = False,
    ) -> Arm:  # fmt: skip
        """Stage 2 with a loss and its setting; from stage 1 if that is among `starts`."""
        own = objective(name, one.temperature)
        return self.second_stage(words, own, one.rate, starts, data, control, name == CAPTIONS)

    def second_stage(
        self, words: str, own: Objective, rate: float, starts: tuple[Arm, ...],
        data: DataSource | None = None, control: bool = False, captions: bool = False,
    ) -> Arm:  # fmt: skip
        """Stage 2 with any loss."""
        lengths = self.lengths.at(rate)
        config = StageTwo(lengths.second, lengths.backbone, own, scoring=self.scoring,
                          captions=captions)  # fmt: skip
        return Arm(words, config, stages.stage_two, (*starts, *self.before), data, control)


def ground(smoke: bool, lengths: Lengths = LENGTHS, before: tuple[Arm, ...] = ()) -> Ground:
    """Of a final study."""
    return Ground(SMOKE if smoke else lengths, FEW_SCORES if smoke else Scoring(), before)


def tuning_ground(smoke: bool, lengths: Lengths = LENGTHS) -> Ground:
    """Of a tuning study, which scores nothing that it does not choose by."""
    return Ground(SMOKE if smoke else lengths, ZERO_SHOT)
