"""Claims of the studies in feature space, written before their final runs."""

from __future__ import annotations

from collections.abc import Sequence

from ofds.study.stages import Pick
from repro_shared.evidence.claims import Claim
from repro_shared.study.paper import Arm

SEEDS = tuple(range(30, 60))  # 0 to 29 were those of method version 1
COVERAGE_SEEDS = tuple(range(30, 35))  # 200 pools each
IMAGE_LEVEL = (
    "image prototypes", "image k-centre", "TypiClust", "ProbCover", "herding", "moderate",
)  # fmt: skip
ABLATIONS = (
    "OFDS, nearest object", "OFDS, full credit", "OFDS, no credit", "OFDS, classes as listed",
)  # fmt: skip


def claims(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """All claims of a study, at equal cost in objects.

    The abstract of arXiv 2412.10032 says that image-level selectors do not reliably beat random
    images, that selection by objects beats both, and most where classes are imbalanced.
    """
    by_name = {arm.name: arm for arm in arms}
    config = arms[0].config
    assert isinstance(config, Pick)
    small, large = config.objects
    tail = "long_tail" in study
    where = "a long-tailed pool" if tail else "a balanced pool"
    short = "long-tail" if tail else "balanced"
    found: list[Claim] = []

    def claim(name: str, rival: str, amount: int, family: str, **more: bool) -> None:
        found.append(
            Claim(
                id=f"{by_name[name].id}-beats-{by_name[rival].id}-{amount}-{short}",
                statement=f"with {amount} objects of {where}, {name} beats {rival}",
                cells=(),
                study=study,
                metric=f"accuracy/{amount} objects",
                arm=by_name[name].id,
                rival=by_name[rival].id,
                kind="superiority",
                seeds=SEEDS,
                family=f"{family}-{short}",
                unit="accuracy points",
                **more,
            )
        )

    for amount in (small, large):
        control = not tail and amount == large
        shown = control or (tail and amount == small)
        claim("OFDS", "random", amount, "objects", negative_control=control, headline=shown)
        claim("OFDS", "class-balanced random", amount, "objects", headline=tail and shown)
    for name in IMAGE_LEVEL:
        claim(name, "random", small, "image-level")
    for name in (*IMAGE_LEVEL, "FreeSel-like"):
        claim("OFDS", name, small, "rivals")
    for name in ABLATIONS:
        claim("OFDS", name, small, "ablations")
    return tuple(found)


def coverage_claims(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """That the contract misses nothing that can be had, and that this is no matter of course."""
    by_name = {arm.name: arm for arm in arms}
    found = []
    for name, rival, margin in (
        ("OFDS with contract", "exhaustive search", 0.05),
        ("OFDS with contract", "OFDS, turns alone", None),
        ("OFDS with contract", "class-balanced random", None),
        ("OFDS with contract", "random", None),
    ):
        says = "misses no minimum that" if margin else "meets more feasible minima than"
        says = f"on small pools, {name} {says} {rival}" + (" meets" if margin else "")
        found.append(
            Claim(
                id=f"{by_name[name].id}-beside-{by_name[rival].id}",
                statement=says,
                cells=(),
                study=study,
                metric="met",
                arm=by_name[name].id,
                rival=by_name[rival].id,
                kind="non-inferiority" if margin else "superiority",
                margin=margin or 0.5,
                seeds=COVERAGE_SEEDS,
                family="coverage",
                unit="% of feasible minima",
                headline=margin is not None,
            )
        )
    return tuple(found)
