"""The comparisons of arXiv 2604.25530, as recipes: canonical distillation at equal wall-clock time.

A recipe is a function of the scale that returns a study with all its arms; what differs between
scales is numbers only. Tuning is a recipe too: as many tries for every objective, on data that no
final run is scored on. The plain student's three tries are of its learning rate, which all
objectives then share; they are listed in results/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from repro_shared.datasets.scenes import SceneConfig
from repro_shared.study.paper import Arm, Scale, Study
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN, Objective
from seg_kd.study import stages
from seg_kd.study.calibration import REFERENCE, EqualTime, unequal_time
from seg_kd.study.configs import Match, Student, Teacher
from seg_kd.study.figures import equal_time_figure
from seg_kd.study.tables import tables_of, teachers_table
from seg_kd.train import Optimiser
from seg_kd.use.data import LabelMaps, Scenes, View
from seg_kd.use.models import Model

# Tuned on digits and on CamVid alike (results/protocol.md): T = 1, feature weight 1 alone and 10
# with the logit term. The paper-scale recipe keeps CIRKD's weight 10 for both.
OBJECTIVES = (PLAIN, LOGIT, replace(FEATURE, feature_weight=1.0), FEATURE_LOGIT)
TRIES = (
    PLAIN,
    LOGIT,
    *(replace(LOGIT, name=f"logit-T{t}", temperature=float(t)) for t in (2, 4)),
    *(
        replace(objective, name=f"{objective.name}-w{w}", feature_weight=float(w))
        for objective in (FEATURE, FEATURE_LOGIT)
        for w in (1, 10, 50)
    ),
)
"""Temperatures 1, 2, 4 at weight 1 (`logit` is T = 1); feature weights 1, 10, 50, CIRKD's among
them."""

CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
# Learnable from random weights within hundreds of iterations, unlike ten coloured digits drawn as
# thin strokes (the tries are listed in results/protocol.md).
SCENES = SceneConfig(
    size=64,
    digits=(0, 1, 2, 4, 5, 7),
    min_digits=2,
    max_digits=4,
    min_scale=24,
    max_scale=36,
    min_contrast=0.4,
    max_contrast=0.6,
    colour=0.0,
    brighter=True,
    backdrop=0.5,
    occlusion=0.3,
    margin=3,
)


CAMVID_MAPS = LabelMaps(
    "camvid",
    CAMVID,
    "real photographs: CamVid road scenes, 240 x 180",
    (11, 255),
    title="CamVid",
    known=(
        "f0cbee64da9f7948348555b9bc48e6cb+af367403ffbeb8335d021d7daf9734ab",
        "be853409b640c5281a8cfbf72d230a87+78943718c4188fe44aef8ffa8c1d694f",  # of the tuning
    ),
)
CITYSCAPES_MAPS = LabelMaps(
    "cityscapes", CITYSCAPES, "real photographs: Cityscapes", title="Cityscapes", known=()
)


def learns(like: Student, objective: Objective, match: Match, budget: int, teacher: Arm) -> Arm:
    """A student of one objective at one budget, from a teacher where it needs one.

    The reference runs `budget` iterations under either match: one arm, named for time.
    """
    words = "equal time" if match == "time" else "equal iterations"
    of = ", untrained teacher" if teacher.control and objective.needs_teacher else ""
    return Arm(
        f"{objective.name}{of}, {words}, {budget}",
        replace(like, objective=objective, match=match, budget=budget),
        stages.student,
        starts_from=(teacher,) if objective.needs_teacher else (),
    )


def comparison(
    like: Student,
    teacher: Arm,
    objectives: Iterable[Objective],
    budgets: tuple[int, ...],
    equal_iterations: tuple[int, ...] = (),
    long_budget: int = 0,
    seed: int | None = None,
) -> tuple[Arm, ...]:
    """All arms: every objective at every budget, then the controls.

    Args:
        like: what all students share.
        teacher: which they learn from.
        objectives: what is compared; the first is plain cross-entropy.
        budgets: of time, in iterations of the reference.
        equal_iterations: budgets at which every objective also runs for as many iterations.
        long_budget: of a plain control, four times the last; 0 for none.
        seed: of the control teacher with random weights; None for no such control.
    """
    objectives, arms = tuple(objectives), [teacher]
    for budget in budgets:
        arms += [learns(like, each, "time", budget, teacher) for each in objectives]
        if budget in equal_iterations:
            arms += [
                learns(like, each, "iterations", budget, teacher)
                for each in objectives
                if each.name != REFERENCE
            ]
    controls = []
    if long_budget:
        controls.append(learns(like, objectives[0], "time", long_budget, teacher))
    if seed is not None:
        config = replace(teacher.config, iterations=0, weights="", sha256="")
        random = Arm("teacher with random weights", config, stages.teacher, control=True, seed=seed)
        controls += [random, learns(like, LOGIT, "time", budgets[-1], random)]
    return (*arms, *(replace(arm, control=True) for arm in controls))


def trained_here(study: Study) -> Study:
    """The study with its teacher trained here, not taken from the package."""
    old = study.arms[0]
    new = replace(old, config=replace(old.config, weights="", sha256=""))

    def changed(arm: Arm) -> Arm:
        starts = tuple(map(changed, arm.starts_from))
        return new if arm == old else replace(arm, starts_from=starts)

    return replace(study, arms=tuple(map(changed, study.arms)))


def equal_time(study: Study, rounds: int) -> Study:
    """The study with its calibration, tables and figure; what it claimed was withdrawn."""
    smoke = study.scale == "smoke"
    return replace(
        study,
        tables=tables_of(study),
        figures=(equal_time_figure,),
        suspended=unequal_time,
        prepare=EqualTime(rounds, settled=not smoke),
        retrain=trained_here,
    )


def equal_time_digits(scale: Scale) -> Study:
    """Plain, logit, feature and feature + logit students on composed digit scenes.

    Cells: the claims of the abstract, none of its numbers (other data, other sizes).
    Cost: smoke seconds; cpu under 15 minutes on two cores for 3 seeds with the committed teacher.
    Deviations: digits on photographs instead of Cityscapes; networks of a quarter to a half of the
    paper's width, from random initialisation; teacher and student are both R18, the teacher twice
    as wide; digits are not mirrored.
    """
    smoke = scale == "smoke"
    view = View((64, 64), (0.8, 1.25), flip=0.0, photometric=False, largest_class=1.0)
    teacher = Arm(
        "teacher",
        Teacher(
            Model(base_channels=16 if smoke else 32, head_channels=32 if smoke else 64,
                  auxiliary_channels=32),
            len(SCENES.classes),
            view,
            Optimiser(learning_rate=0.2),
            iterations=6 if smoke else 9000,
            weights="" if smoke else "equal_time_digits.safetensors",
            sha256="" if smoke
            else "53791f315754bd997f7ca80ce070b153a7373e1c50ea1e806f58b65f167470db",
        ),
        stages.teacher,
        seed=0,
    )  # fmt: skip
    student = Student(
        Model(base_channels=8 if smoke else 16, head_channels=16 if smoke else 32,
              auxiliary_channels=16),
        len(SCENES.classes),
        view,
        Optimiser(learning_rate=0.2, batch_size=4 if smoke else 8),
        PLAIN,
    )  # fmt: skip
    study = Study(
        name="equal_time_digits_smoke" if smoke else "equal_time_digits",
        scale=scale,
        data=Scenes(SCENES, 32 if smoke else 4000, 8 if smoke else 500),
        arms=comparison(
            student,
            teacher,
            OBJECTIVES,
            budgets=(8,) if smoke else (60, 120, 240),
            equal_iterations=(8,) if smoke else (240,),
            long_budget=0 if smoke else 960,
            seed=0,
        ),
        seeds=(0,) if smoke else (0, 1, 2),
    )
    return equal_time(study, rounds=4 if smoke else 32)


def equal_time_camvid(scale: Scale) -> Study:
    """The same on CamVid's road scenes, over budgets from short to long; needs `--data`.

    Cells: the claims of the abstract, none of its numbers.
    Cost: cpu about 40 minutes on two cores for 5 seeds with the committed teacher; as much again
    for `--retrain`.
    Deviations: 367 small frames (240 x 180), a student from random initialisation, and a teacher of
    another family (EfficientNet-Lite0 from ImageNet weights; none was trained from scratch).
    """
    smoke = scale == "smoke"
    view = View((96, 128))
    teacher = Arm(
        "teacher",
        Teacher(
            # Stride 8 would make its forward pass several times dearer; the losses resize.
            Model("tf_efficientnet_lite0", head_channels=64, auxiliary_channels=32,
                  output_stride=16, imagenet=True),
            len(CAMVID),
            view,
            Optimiser(learning_rate=0.1),
            iterations=4 if smoke else 6000,
            weights="" if smoke else "equal_time_camvid.safetensors",
            sha256="" if smoke
            else "44b244e92b6408e8b41196aba66f48e2346539173e942f72f476d7737cf70427",
        ),
        stages.teacher,
        seed=0,
    )  # fmt: skip
    student = Student(
        Model(base_channels=16, head_channels=32, auxiliary_channels=16),
        len(CAMVID),
        view,
        Optimiser(learning_rate=0.1, batch_size=2 if smoke else 8),
        PLAIN,
    )
    study = Study(
        name="equal_time_camvid_smoke" if smoke else "equal_time_camvid",
        scale=scale,
        data=CAMVID_MAPS,
        arms=comparison(
            student,
            teacher,
            OBJECTIVES,
            budgets=(8,) if smoke else (50, 150, 400),
            equal_iterations=(8,) if smoke else (150,),
            seed=0,
        ),
        seeds=(0,) if smoke else (0, 1, 2),
    )
    return equal_time(study, rounds=4 if smoke else 64)


def camvid_teachers(scale: Scale) -> Study:
    """How long CamVid's teacher has to be trained: until twice the length gains under one mIoU.

    Cells: none. Cost: an hour and a half on two cores, most of it for the longest. Needs `--data`.
    """
    study = equal_time_camvid(scale)
    config = replace(study.arms[0].config, weights="", sha256="")
    arms = tuple(
        Arm(f"teacher, {n} iterations", replace(config, iterations=n), stages.teacher, seed=0)
        for n in (1500, 3000, 6000)
    )
    return Study("camvid_teachers", scale, study.data, arms, (0,), tables=(teachers_table,))


def equal_time_digits_tuning(scale: Scale) -> Study:
    """Ten tries on scenes of the `val` digits and photographs, at the comparison's largest budget.

    Cells: none. Cost: five minutes. The teacher is the comparison's own: it never saw `val`.
    """
    data = Scenes(SCENES, 4000, 300, test_split="val", seed=100)
    return tuning(equal_time_digits(scale), 240, data)


def equal_time_camvid_tuning(scale: Scale) -> Study:
    """Ten tries on sequence 0006R0, held out of the training frames, at the middle budget.

    Cells: none. Cost: eight minutes, and as much for the teacher, which has not seen the sequence.
    """
    study = equal_time_camvid(scale)
    old = study.arms[0].config
    config = replace(old, iterations=1000, weights="", sha256="")
    teacher = replace(study.arms[0], config=config, seed=100)
    return tuning(study, 150, replace(CAMVID_MAPS, hold_out="0006R0"), teacher)


def tuning(
    study: Study, budget: int, data: Scenes | LabelMaps, teacher: Arm | None = None
) -> Study:
    """Every try of every objective at one budget, seed 100, from the study's teacher or another."""
    teacher = teacher or study.arms[0]
    like = next(arm.config for arm in study.arms if isinstance(arm.config, Student))
    tuned = replace(
        study,
        name=f"{study.name}_tuning",
        data=data,
        arms=comparison(like, teacher, TRIES, (budget,)),
        seeds=(100,),
        claims=(),
    )
    # More lines than can be told apart in a figure.
    return replace(tuned, tables=tables_of(tuned), figures=())
