"""The studies: every arm written out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clip_distill.method.objective import Objective
from clip_distill.study import stages, tables
from clip_distill.study.captioned import Captioned
from clip_distill.study.contrastive import Contrast, TrainTeacher, train_teacher
from clip_distill.study.embedded import Worlds
from clip_distill.study.objects import World
from clip_distill.study.parameters import parameters
from clip_distill.study.stages import Ceiling, StageOne, StageTwo
from clip_distill.train import Training
from repro_shared.study.paper import Arm, Scale, Study

SMOKE = World(classes=6, held_out=2, size=32, width=24, generic=128, synthetic=96, test=60)
SHORT = Training(epochs=2, batch_size=32, learning_rate=2e-3, schedule="cosine")


@dataclass(frozen=True)
class Arithmetic:
    """No data: of a study without arms."""

    name = "none"
    sentence = "none: arithmetic"

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> None:
        """Nothing: without arms nobody asks."""


def parameter_counts(scale: Scale) -> Study:
    """How many parameters students save, by both ways of counting.

    Cells: abstract (up to 92 % fewer). Cost: seconds. Deviations: none; it is arithmetic.
    """
    return Study("parameter_counts", scale, Arithmetic(), (), (0,), tables=(parameters,))


def teacher_training(scale: Scale) -> Study:
    """The CLIP-style teacher of rendered objects and digits, whose weights come along.

    Cells: none. Cost: ten minutes of one core. Deviations: the paper's teacher is a ViT-B/32 of
    DataComp-XL; this one has seen pictures that a program drew, and captions of a grammar.
    """
    smoke = scale == "smoke"
    steps, data = (4, Captioned(objects=300, digits=40)) if smoke else (2200, Captioned())
    arms = (Arm("teacher", TrainTeacher(Contrast(steps)), train_teacher),)
    return Study("teacher_training" + "_smoke" * smoke, scale, data, arms, (0,))


def confounded_objects_smoke(scale: Scale) -> Study:
    """Feature and text losses on rendered objects whose cues go with the class: does it all run?

    Cells: teaser (feature against vision-language distillation), in kind only. Cost: seconds.
    Deviations: rendered objects, a teacher that is computed from the scene, a network of 0.1 M
    parameters trained for some tens of steps: its numbers say nothing. The study with a CLIP-style
    teacher has not been written yet.
    """
    first = Arm("stage 1", StageOne(SHORT), stages.stage_one)
    objectives = {
        "L2": Objective("l2"),
        "vision-language": Objective("vision-language", 0.07),
        "class cross-entropy": Objective("class", 0.07),
        "teacher's logits": Objective("teacher-logits", 0.07),
    }
    second = tuple(
        Arm(f"stage 1, then {name}", StageTwo(own, SHORT), stages.stage_two, (first,))
        for name, own in objectives.items()
    )
    alone = tuple(
        Arm(f"{name} from scratch", StageTwo(own, SHORT), stages.stage_two)
        for name, own in objectives.items()
        if name in ("L2", "vision-language")
    )
    return Study(
        name="confounded_objects_smoke",
        scale=scale,
        data=Worlds(SMOKE, "rendered-objects"),
        arms=(Arm("the teacher", Ceiling(), stages.teacher), first, *second, *alone),
        seeds=(0,),
        tables=(tables.by_objective,),
    )
