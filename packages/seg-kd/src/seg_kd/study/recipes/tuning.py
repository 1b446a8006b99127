"""Tuning as recipes: as many tries for every objective, on data that no final run is scored on.

The plain student's three tries are of its learning rate, which all objectives then share; they are
listed in results/protocol.md. Each distillation objective gets three tries of its own setting here.
"""

from __future__ import annotations

from dataclasses import replace

from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN
from seg_kd.study.recipes.base import Recipe, Scale
from seg_kd.study.recipes.equal_time import equal_time_camvid, equal_time_digits

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


def _tuning(recipe: Recipe, budget: int, **data: object) -> Recipe:
    return replace(
        recipe,
        name=f"{recipe.name}_tuning",
        data=replace(recipe.data, **data),  # type: ignore[arg-type]
        objectives=TRIES,
        budgets=(budget,),
        equal_iteration_budgets=(),
        long_budget=0,
        seeds=(100,),
    )


def equal_time_digits_tuning(scale: Scale = "cpu") -> Recipe:
    """Ten tries on scenes of the `val` digits and photographs, at the comparison's largest budget.

    Cells: none. Cost: five minutes. The teacher is the comparison's own: it never saw `val`.
    """
    recipe = equal_time_digits(scale)
    return _tuning(recipe, recipe.budgets[-1], test_split="val", test_length=300, seed=100)


def equal_time_camvid_tuning(scale: Scale = "cpu") -> Recipe:
    """Ten tries on sequence 0006R0, held out of the training frames, at the middle budget.

    Cells: none. Cost: eight minutes, and as much for the teacher, which has not seen the sequence.
    """
    recipe = equal_time_camvid(scale)
    tuned = _tuning(recipe, recipe.budgets[1], hold_out="0006R0")
    return replace(tuned, teacher=replace(recipe.teacher, seed=100, iterations=1000, weights=""))
