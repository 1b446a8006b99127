"""The regime of arXiv 2604.25530's claim: distillation objectives compared with one another.

Students begin from a plain student at its plateau, one a seed, so that arms are pairs from a common
start; each then runs a fresh, complete schedule at a learning rate of its own. The teacher looked
once at fixed views of every image; each arm is charged what an online teacher costs, as the
calibration measures it, so the plan's iterations decide how long an arm trains, and runs may go two
at a time. Models and lengths are in `places.py`; earlier comparisons, from random weights, in
`recipes.py`.
"""

from __future__ import annotations

from dataclasses import replace

from repro_shared.study.paper import Arm, Scale, Study
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN
from seg_kd.rivals.presets import NAMED
from seg_kd.study import stages
from seg_kd.study.calibration import EqualTime
from seg_kd.study.places import SEED, Place, camvid, digits, second_student
from seg_kd.study.recipes import trained_here
from seg_kd.study.regime_claims import claims_of, unsound
from seg_kd.study.regime_figures import extended_figure, regime_figure
from seg_kd.study.regime_tables import tables_of
from seg_kd.study.screen import gate_table, rates_table, screen_table
from seg_kd.study.settled import CANONICAL, PAIR_RATES, ranked
from seg_kd.study.warm import (
    at_plateau,
    cold,
    compared,
    controls,
    kept_backbone,
    lengths,
    screened,
    tries,
)

CANONICALS = (PLAIN, LOGIT, FEATURE, FEATURE_LOGIT)
ELABORATE = (
    "skd", "ifvd", "cwd-logits", "cwd-features", "at", "dist", "cirkd", "mgd", "af-dcd",
    "normalised-feature", "bpkd_like",
)  # fmt: skip
"""The pure preset of every rival; CIRKD's FitNet is canonical feature distillation."""


def rivalry(place: Place, scale: Scale) -> Study:
    """Plain, canonical and the first three rivals at equal time and at equal iterations."""
    smoke = scale == "smoke"
    objectives = (*CANONICALS, *place.rivals()[: 1 if smoke else 3])
    ground, canonical, last = place.ground(), NAMED[CANONICAL[place.name]], place.budgets[-1]
    again = Arm("teacher, scored again", ground.teacher.config, stages.scored_again,
                (ground.teacher,))  # fmt: skip
    arms = (
        *ground.arms(objectives),
        again,
        *compared(ground, objectives, place.budgets, last, place.longer,
                  (PLAIN.name, LOGIT.name, FEATURE.name)),
        *controls(ground, canonical, last, place.plateau),
        *(cold(ground, (PLAIN, LOGIT, FEATURE), last) if place.name == "camvid" else ()),
    )  # fmt: skip
    study = Study(
        f"rivals_{place.name}{'_smoke' if smoke else ''}", scale, place.data, arms,
        (0,) if smoke else (0, 1, 2), suspended=unsound,
        prepare=EqualTime(place.rounds, settled=not smoke),
        retrain=trained_here if place.shipped.weights else None,
    )  # fmt: skip
    study = replace(study, claims=() if smoke else claims_of(study))
    figures = (regime_figure, extended_figure)
    return replace(study, tables=tables_of(study), figures=figures)


def rivals_digits(scale: Scale) -> Study:
    """Canonical distillation against three rivals on digit scenes, at equal time.

    Cells: the claims of the abstract, none of its numbers (other data, other sizes).
    Cost: smoke seconds; cpu about 10 minutes on two quiet cores for 3 seeds, without controls.
    Deviations: digits on photographs; R18 an eighth of the paper's width, from a warm start of our
    own, not from ImageNet; the teacher, an R18 four times as wide, has seen five times as many
    scenes.
    """
    return rivalry(digits(scale), scale)


def rivals_camvid(scale: Scale) -> Study:
    """The same on CamVid's road scenes, with a teacher from ImageNet weights; needs `--data`.

    Cells: the claims of the abstract, none of its numbers.
    Cost: about 45 core-minutes a seed with all controls, and 20 for cache and calibrations.
    Deviations: 367 small frames; a student an eighth as wide; teacher EfficientNet-Lite0 at stride
    8 with a skip at stride 4; outputs of the teacher kept for 64 views an image. Controls include
    three arms from random weights.
    """
    return rivalry(camvid(scale), scale)


def screen(place: Place, scale: Scale) -> Study:
    """All that is chosen on tuning data, in this order: plateau and teacher's gate, ranks, rates.

    The rivals' tries are added once `seg-kd freeze` has written down which rivals come first.
    """
    smoke = scale == "smoke"
    plain = lengths(place.student, place.plateaus, SEED)
    ground = place.tuning_ground(at_plateau(plain, place.teaching(place.teacher)))
    backbone = kept_backbone(ground.warm, ground.like)
    canonical = CANONICALS[: 2 if smoke else None]
    elaborate = [
        place.objective(name, at_head=True) for name in (ELABORATE[:1] if smoke else ELABORATE)
    ]
    tried = (*canonical, *(place.rivals() if ranked(place.name) and not smoke else ()))
    main = tries(ground, tried, place.tuning, "main", SEED)
    teacher, warm, *kept = ground.arms(tried)
    arms = (
        teacher,
        *plain,
        warm,
        *kept,
        backbone,
        *screened(ground, backbone, (*canonical, *elaborate), place.screening, SEED),
        *(arm for several in main.values() for arm in several),
    )
    return Study(
        f"screen_{place.name}{'_smoke' if smoke else ''}", scale, place.tuning_data, arms,
        (SEED,) if smoke else tuple(range(SEED, SEED + 10)),
        tables=(gate_table, rates_table, screen_table),
    )  # fmt: skip


def screen_digits(scale: Scale) -> Study:
    """Plateau, rates and the screen of all objectives on tuning scenes.

    Cells: none. Cost: about an hour of one core for 10 seeds.
    """
    return screen(digits(scale), scale)


def screen_camvid(scale: Scale) -> Study:
    """The same on sequence 0006R0 of CamVid, with a teacher that has not seen it.

    The four tries of the second pair's arms are made here too.
    Cells: none. Cost: about two and a half hours of one core for 10 seeds. Needs `--data`.
    """
    place = camvid(scale)
    made = screen(place, scale)
    warm = next(arm for arm in made.arms if arm.run is stages.at_plateau)
    ground = replace(place.tuning_ground(warm), like=second_student(place))
    several = tries(ground, CANONICALS[: 2 if scale == "smoke" else None],
                    place.tuning * 2 // 3 or 1, "pair", SEED)  # fmt: skip
    pair = tuple(_from_imagenet(arm) for each in several.values() for arm in each)
    return replace(made, arms=(*made.arms, *pair))


def imagenet_student_camvid(scale: Scale) -> Study:
    """A second pair: the student is the teacher's network cut after its fourth stage.

    It begins from ImageNet weights, as the paper's students do, and from no warm start.
    Cells: none. Cost: about 12 core-minutes a seed, at one budget. Needs `--data`.
    """
    place, smoke = camvid(scale), scale == "smoke"
    place = replace(place, student=second_student(place), grid=(6, 8))
    ground = replace(place.ground(), rates=dict(PAIR_RATES))
    arms = compared(ground, CANONICALS, place.budgets[-1:], 0)
    study = Study(
        f"imagenet_student_camvid{'_smoke' if smoke else ''}", scale, place.data,
        (ground.teacher, ground.kept, *map(_from_imagenet, arms)),
        (0,) if smoke else (0, 1, 2, 3, 4), suspended=unsound,
        prepare=EqualTime(place.rounds, settled=not smoke),
        retrain=trained_here if place.shipped.weights else None,
    )  # fmt: skip
    return replace(study, tables=tables_of(study), figures=(regime_figure,))


def _from_imagenet(arm: Arm) -> Arm:
    """Without the warm start, which is another network's."""
    kept = tuple(s for s in arm.starts_from if getattr(s.config, "role", "") != "warm start")
    return replace(arm, starts_from=kept)
