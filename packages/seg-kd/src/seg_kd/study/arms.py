"""Which arms of a comparison are which, for claims, tables and figures."""

from __future__ import annotations

from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import Results
from seg_kd.method.objectives import Objective
from seg_kd.study.configs import Match, Student, Teacher

WORDS = {
    "plain": "plain training",
    "logit": "logit distillation",
    "feature": "feature distillation",
    "feature+logit": "feature + logit distillation",
}
TITLES = {"digits": "digit scenes", "camvid": "CamVid", "cityscapes": "Cityscapes"}


def tag(study: Study) -> str:
    """`digits` of `equal_time_digits`, as tables and figures are named."""
    return study.name.removeprefix("equal_time_").replace("_", "-")


def place(results: Results) -> str:
    """The data as prose names them."""
    name = tag(results.study)
    return results.place(next((w for key, w in TITLES.items() if name.startswith(key)), name))


def students(study: Study, match: Match | None = None, budget: int | None = None) -> list[Arm]:
    """The students matched by time, iterations or either, of one budget or all, with controls."""
    return [
        arm
        for arm in study.arms
        if isinstance(arm.config, Student)
        and match in (None, arm.config.match)
        and budget in (None, arm.config.budget)
    ]


def budgets(study: Study, match: Match) -> list[int]:
    """The budgets of what is compared, without those of controls."""
    compared = (arm for arm in students(study, match) if not arm.control)
    return sorted({arm.config.budget for arm in compared})


def teacher(study: Study) -> Arm:
    """The teacher that the students learn from."""
    return next(a for a in study.arms if isinstance(a.config, Teacher) and not a.control)


def untrained(arm: Arm) -> bool:
    """Whether an arm learns from a teacher with random weights."""
    return any(start.control for start in arm.starts_from)


def objectives(study: Study) -> list[Objective]:
    """What the students of a study learn, each once, in order."""
    return list(dict.fromkeys(arm.config.objective for arm in students(study)))
