"""What is claimed, written down before the final runs (protocol: results/protocol.md).

The paper's claim is about elaborate objectives; those come with their own recipes. What stands here
is its foundation: at equal wall-clock time the canonical objectives beat plain cross-entropy, which
gets the time the teacher's forward pass would have taken. No cell of the paper compares with plain
training, so these claims name none.
"""

from __future__ import annotations

from repro_shared.evidence.claims import Claim
from seg_kd.study.plan import arm_name
from seg_kd.study.recipes.base import Recipe
from seg_kd.study.recipes.equal_time import equal_time_camvid, equal_time_digits

SEEDS = (0, 1, 2, 3, 4)
STATEMENTS = {
    "logit": "logit distillation beats plain training at equal wall-clock time",
    "feature": "feature distillation beats plain training at equal wall-clock time",
    "feature+logit": "both together beat plain training at equal wall-clock time",
}


def claims_of(recipe: Recipe, data: str) -> list[Claim]:
    """The claims about one recipe at its largest budget, and its negative control."""
    budget = recipe.budgets[-1]
    plain = arm_name("plain", "time", budget)
    claims = [
        Claim(
            id=f"{objective.replace('+', '-')}-beats-plain-{data}",
            statement=statement,
            cells=(),
            study=recipe.name,
            metric="miou",
            arm=arm_name(objective, "time", budget),
            rival=plain,
            kind="superiority",
            seeds=SEEDS,
            family=f"equal-time-{data}",
            unit="mIoU points",
        )
        for objective, statement in STATEMENTS.items()
    ]
    control = Claim(
        id=f"untrained-teacher-{data}",
        statement="logit distillation from an untrained teacher beats plain training",
        cells=(),
        study=recipe.name,
        metric="miou",
        arm=arm_name("logit", "time", budget, untrained_teacher=True),
        rival=plain,
        kind="superiority",
        seeds=SEEDS,
        negative_control=True,
        unit="mIoU points",
    )
    return [*claims, control]


CLAIMS = {
    "equal_time_digits": claims_of(equal_time_digits("cpu"), "digits"),
    "equal_time_camvid": claims_of(equal_time_camvid("cpu"), "camvid"),
}
