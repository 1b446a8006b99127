"""The studies: every arm written out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from clip_distill.method.objective import Name, Objective
from clip_distill.study import claims, figures, stages, tables
from clip_distill.study.captioned import Captioned
from clip_distill.study.contrastive import Contrast, TrainTeacher, train_teacher
from clip_distill.study.objects import World
from clip_distill.study.parameters import parameters
from clip_distill.study.photographs import Photographs
from clip_distill.study.rendered import Digits, Objects
from clip_distill.study.scoring import Scoring
from clip_distill.study.stages import Cached, Ceiling, StageOne, StageTwo
from clip_distill.use.steps import Training
from clip_distill.use.views import Views
from repro_shared.study.paper import Arm, Scale, Study
from repro_shared.study.protocols import Arithmetic, DataSource

CONFOUNDINGS = (1.0, 0.98, 0.9, 0.0)
AMOUNTS = (600, 1200)  # synthetic images, fewer than the study's own
RATE = 2e-3
TEMPERATURES: dict[str, float] = {
    "image-to-image": 0.1,
    "vision-language": 0.03,
    "class cross-entropy": 0.03,
    "teacher's logits": 0.3,
    "mix": 0.1,
}
"""Of the objects' and digits' studies, by `confounded_objects_tuning`; see the protocol."""
RATE_OF_L2 = 4e-3  # by the same tuning
OF_PHOTOGRAPHS: dict[str, float] = dict(TEMPERATURES)
"""Of the photographs', to be replaced by what `confounded_photographs_tuning` finds."""
PHOTO_RATE_OF_L2 = RATE
"""As above."""
FEATURE, TEXT, LABEL, LOGITS = "L2", "vision-language", "class cross-entropy", "teacher's logits"
MAIN = (FEATURE, TEXT, LABEL, LOGITS)
ALL = (*MAIN, "image-to-image", "mix")
KINDS: dict[str, Name] = {
    TEXT: "vision-language", LABEL: "class", LOGITS: "teacher-logits",
    "image-to-image": "image-to-image",
}  # fmt: skip


def objective(name: str, temperature: float) -> Objective:
    """A loss by its name in the tables."""
    if name == FEATURE:
        return Objective("l2")
    if name == "mix":
        return Objective("l2", temperature, other="vision-language", alpha=0.5)
    return Objective(KINDS[name], temperature)


def chosen(name: str, temperatures: dict[str, float]) -> Objective:
    """With the temperature that was tuned."""
    return objective(name, temperatures.get(name, 1.0))


def paced(name: str, lengths: Lengths, rate: float = RATE_OF_L2) -> Lengths:
    """L2, which has no temperature, has its own rate instead."""
    if name != FEATURE or lengths == SMOKE:
        return lengths
    return replace(lengths, second=replace(lengths.second, learning_rate=rate))


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


@dataclass(frozen=True)
class Lengths:
    """Of both stages, and the student's backbone."""

    first: Training
    second: Training
    backbone: str = "test_efficientnet"


LENGTHS = Lengths(
    Training(8, 128, RATE, schedule="cosine"), Training(10, 128, RATE, schedule="cosine")
)
SMOKE = Lengths(
    Training(1, 32, RATE, schedule="cosine"), Training(2, 32, RATE, schedule="cosine")
)  # fmt: skip
FEW = World(generic=64, synthetic=96, test=54, labelled=72)


def confounded_objects(scale: Scale, retrain: bool = False) -> Study:
    """Six losses on rendered objects, by how far background, palette and finish go with the class.

    Cells: teaser (feature against vision-language distillation), in kind only. Cost: about nine
    minutes of a core a seed, with --controls eighteen. Deviations: rendered objects of 48 pixels, a
    teacher trained on captions of a grammar, a student of 0.1 M parameters, ten passes where the
    authors' scripts have 96; temperatures are each loss's best on tuning seeds.
    """
    smoke = scale == "smoke"
    lengths, world = (SMOKE, FEW) if smoke else (LENGTHS, World())
    before = _teacher_first(retrain)
    source = Objects(world, "rendered-objects", **({"weights": ""} if retrain else {}))

    def at(confounding: float, synthetic: int = world.synthetic) -> Objects:
        return replace(source, world=replace(world, confounding=confounding, synthetic=synthetic))

    generic, first = first_stage(lengths.first, before, smoke)
    arms = [*before, Arm("the teacher", Ceiling(_scoring(smoke)), stages.teacher, before),
            generic, first]  # fmt: skip
    for confounding in CONFOUNDINGS[:1] if smoke else CONFOUNDINGS:
        says, data = f"confounding {confounding:g}", at(confounding)
        cache = Arm(f"cache, {says}", Cached("synthetic"), stages.cached, before, data)
        full = confounding == 1
        arms.append(cache)
        for name in ALL if full else MAIN:
            own, starts = chosen(name, TEMPERATURES), (cache, first, *before)
            further = name not in MAIN
            arms.append(
                second_stage(
                    f"{name}, {says}", own, paced(name, lengths), starts, data, further, smoke
                )
            )
        if full:
            arms += _controls(says, data, lengths, cache, first, before, smoke)
    for amount in () if smoke else AMOUNTS:
        says, data = f"{amount} images", at(1.0, amount)
        cache = Arm(f"cache, {says}", Cached("synthetic"), stages.cached, before, data, True)
        # As many steps as with all images.
        passes = lengths.second.epochs * world.synthetic / amount
        long = replace(lengths, second=replace(lengths.second, epochs=passes))
        arms.append(cache)
        arms += [
            second_stage(f"{name}, {says}", chosen(name, TEMPERATURES), paced(name, long),
                    (cache, first, *before), data, True, smoke)
            for name in (FEATURE, TEXT, LABEL)
        ]  # fmt: skip
    name = "confounded_objects" + "_smoke" * smoke
    made = tuple(arms)
    return Study(
        name, scale, at(1.0), made, (0,),
        tables=(tables.by_loss, tables.by_confounding, tables.unseen, tables.amounts,
                *(() if smoke else (tables.verdicts,))),
        figures=() if smoke else (figures.confounding,),
        claims=() if smoke else claims.of_objects(name, made),
        suspended=claims.suspended,
        retrain=lambda study: confounded_objects(scale, retrain=True),
    )  # fmt: skip


def _controls(
    says: str, data: Objects, lengths: Lengths, cache: Arm, first: Arm, before: tuple[Arm, ...],
    smoke: bool,
) -> list[Arm]:  # fmt: skip
    """From scratch, and at temperatures where other answers are expected."""
    found = [
        second_stage(f"{name} from scratch, {says}", chosen(name, TEMPERATURES),
                     paced(name, lengths), (cache, *before), data, True, smoke)
        for name in ALL
    ]  # fmt: skip
    others = {
        "vision-language at 1": Objective("vision-language", 1.0),  # the authors' default
        "vision-language at 0.01": Objective("vision-language", 0.01),  # CLIP's
        "vision-language, multi-positive": Objective(
            "vision-language", TEMPERATURES[TEXT], "multi-positive"
        ),
        "class cross-entropy at 0.01": Objective("class", 0.01),
        "class cross-entropy at 1": Objective("class", 1.0),
    }
    return found + [
        second_stage(f"{name}, {says}", own, lengths, (cache, first, *before), data, True, smoke)
        for name, own in others.items()
    ]


def coarse_digits(scale: Scale) -> Study:
    """The negative control: classes that differ coarsely, glyphs opposite handwriting.

    Cells: none. Cost: four minutes a seed. Deviations: as of `confounded_objects`.
    """
    smoke = scale == "smoke"
    lengths = SMOKE if smoke else LENGTHS
    data = Digits(1.0, "digits")
    if smoke:
        data = replace(data, generic=64, synthetic=80, test=50, labelled=60)
    generic, first = first_stage(lengths.first, (), smoke)
    cache = Arm("cache", Cached("synthetic"), stages.cached)
    arms = [Arm("the teacher", Ceiling(_scoring(smoke)), stages.teacher), generic, first, cache]
    arms += [
        second_stage(
            name,
            chosen(name, TEMPERATURES),
            paced(name, lengths),
            (cache, first),
            None,
            False,
            smoke,
        )
        for name in MAIN
    ]
    name, made = "coarse_digits" + "_smoke" * smoke, tuple(arms)
    return Study(
        name, scale, data, made, (0,),
        tables=(tables.by_loss, *(() if smoke else (tables.verdicts,))),
        claims=() if smoke else claims.of_digits(name, made),
        suspended=claims.suspended,
    )  # fmt: skip


PHOTO_VIEWS = Views(2, "random-crop", scale=(0.5, 1.0), mirror=0.5)
PHOTO_LENGTHS = Lengths(LENGTHS.first, Training(16, 128, RATE, schedule="cosine"), "test_resnet")


def confounded_photographs(scale: Scale) -> Study:
    """Real photographs: how much of its teacher a student keeps, by loss.

    Cells: teaser, in kind only. Cost: about twenty-five minutes a seed, and six once. Deviations:
    CIFAR-10 enlarged; EfficientNet-Lite0's classifier stands for a text table, stylised photographs
    for generated images; from scratch, since there are no generic photographs.
    """
    smoke = scale == "smoke"
    lengths = SMOKE if smoke else PHOTO_LENGTHS
    few: dict[str, Any] = {"synthetic": 60, "held_out": 20, "labelled": 40}
    arms = [Arm("the teacher", Ceiling(_scoring(smoke)), stages.teacher, seed=0)]
    for confounding in (1.0, 0.0):
        data = Photographs(confounding, **(few if smoke else {}))
        says = f"confounding {confounding:g}"
        cache = Arm(
            f"cache, {says}", Cached("synthetic", PHOTO_VIEWS), stages.cached, (), data, seed=0
        )
        arms.append(cache)
        arms += [
            second_stage(f"{name}, {says}", chosen(name, OF_PHOTOGRAPHS),
                         paced(name, lengths, PHOTO_RATE_OF_L2), (cache,), data, False, smoke)
            for name in MAIN
        ]  # fmt: skip
    name, made = "confounded_photographs" + "_smoke" * smoke, tuple(arms)
    return Study(
        name, scale, Photographs(1.0, **(few if smoke else {})), made, (0,),
        tables=(tables.by_loss, tables.kept, *(() if smoke else (tables.verdicts,))),
        claims=() if smoke else claims.of_photographs(name, made),
        suspended=claims.suspended,
    )  # fmt: skip


def _scoring(smoke: bool) -> Scoring:
    return Scoring(corrupted=20) if smoke else Scoring()


def first_stage(training: Training, before: tuple[Arm, ...], smoke: bool) -> tuple[Arm, Arm]:
    """The cache of generic pictures, and stage 1."""
    cache = Arm("cache, generic", Cached("generic"), stages.cached, before)
    config = StageOne(training, scoring=_scoring(smoke))
    return cache, Arm("stage 1", config, stages.stage_one, (cache, *before))


def second_stage(
    name: str, own: Objective, lengths: Lengths, starts: tuple[Arm, ...],
    data: DataSource | None, control: bool, smoke: bool,
) -> Arm:  # fmt: skip
    config = StageTwo(lengths.second, lengths.backbone, own, scoring=_scoring(smoke))
    return Arm(name, config, stages.stage_two, starts, data, control)


def _teacher_first(retrain: bool) -> tuple[Arm, ...]:
    """The teacher's training, as the arm that all others start from; or none."""
    if not retrain:
        return ()
    training = teacher_training("cpu")
    return (replace(training.arms[0], data=training.data, seed=0),)
