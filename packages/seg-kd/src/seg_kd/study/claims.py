"""What is claimed, written down before the final runs (protocol: results/protocol.md).

The paper's claim is about elaborate objectives; those come with their own recipes. What stands here
is its foundation: at equal wall-clock time the canonical objectives beat plain cross-entropy, which
gets the time the teacher's forward pass would have taken. No cell of the paper compares with plain
training, so these claims name none.
"""

from __future__ import annotations

from repro_shared.evidence.claims import Claim
from repro_shared.study.paper import Study
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN
from seg_kd.study.arms import students, tag

SEEDS = (0, 1, 2, 3, 4)
STATEMENTS = {
    LOGIT.name: "logit distillation beats plain training at equal wall-clock time",
    FEATURE.name: "feature distillation beats plain training at equal wall-clock time",
    FEATURE_LOGIT.name: "both together beat plain training at equal wall-clock time",
}


def claims_of(study: Study) -> tuple[Claim, ...]:
    """The claims about a study at its largest budget, and its negative control."""
    at_time = [arm for arm in students(study, "time") if not arm.control]
    budget, data = max(arm.config.budget for arm in at_time), tag(study)
    last = {arm.config.objective.name: arm for arm in at_time if arm.config.budget == budget}
    plain = last[PLAIN.name]
    claims = [
        Claim(
            id=f"{objective.replace('+', '-')}-beats-plain-{data}",
            statement=statement,
            cells=(),
            study=study.name,
            metric="miou",
            arm=last[objective].id,
            rival=plain.id,
            kind="superiority",
            seeds=SEEDS,
            family=f"equal-time-{data}",
            unit="mIoU points",
            headline=objective != FEATURE_LOGIT.name,
        )
        for objective, statement in STATEMENTS.items()
    ]
    (untrained,) = (a for a in students(study, "time") if any(s.control for s in a.starts_from))
    control = Claim(
        id=f"untrained-teacher-{data}",
        statement="logit distillation from an untrained teacher beats plain training",
        cells=(),
        study=study.name,
        metric="miou",
        arm=untrained.id,
        rival=plain.id,
        kind="superiority",
        seeds=SEEDS,
        negative_control=True,
        unit="mIoU points",
    )
    return (*claims, control)
