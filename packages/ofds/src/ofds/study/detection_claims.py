"""Claims of the studies with detectors, written before their final runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ofds.study.detection import Detect
from repro_shared.evidence.claims import Claim
from repro_shared.study.paper import Arm

SEEDS = tuple(range(10))  # of the first table of selectors, for detectors and for segmenters
FEWER = SEEDS[:5]  # of all other studies


def of_selection(study: str, arms: Sequence[Arm], tail: bool) -> tuple[Claim, ...]:
    """At equal cost in objects; image budgets make no claim."""
    by_config = {
        (arm.config.selector, arm.config.budget.amount): arm
        for arm in arms
        if isinstance(arm.config, Detect) and arm.config.budget
        and arm.config.budget.unit == "objects"
    }  # fmt: skip
    small, large = sorted({amount for _, amount in by_config})
    seeds = seeds_of(study)
    found: list[Claim] = []

    def claim(name: str, rival: str, amount: float, family: str, **more: Any) -> None:
        arm, other = by_config.get((name, amount)), by_config.get((rival, amount))
        if arm is not None and other is not None:
            says = f"with {amount:g} objects, detectors trained on {name} beat those on {rival}"
            found.append(claim_of(study, arm, other, says, family, seeds, **more))

    for amount in (small, large):
        control = not tail and amount == large
        shown = control or (tail and amount == small)
        claim("OFDS", "random", amount, "objects", negative_control=control, headline=shown)
        claim("OFDS", "class-balanced random", amount, "objects", headline=tail and shown)
        claim("oracle OFDS", "OFDS", amount, "oracle")
    for name in ("image k-centre", "TypiClust", "image prototypes"):
        claim(name, "random", small, "image-level")
        claim("OFDS", name, small, "rivals")
    for name in dict.fromkeys(name for name, _ in by_config if name.startswith("OFDS, ")):
        claim("OFDS", name, small, "ablations")
    return tuple(found)


def seeds_of(study: str) -> tuple[int, ...]:
    """Final seeds of a table of selectors."""
    return SEEDS if study.endswith("_long_tail") else FEWER


def of_autolabels(arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """Competitive, not sufficient, and best together with people's labels."""
    by_name = {arm.name: arm for arm in arms}
    found: list[Claim] = []
    for kind in ("simple", "complex"):

        def claim(name: str, rival: str, says: str, family: str, **more: Any) -> None:
            arm, other = by_name[f"{kind}: {name}"], by_name[f"{kind}: {rival}"]  # noqa: B023
            words = f"on {kind} scenes {says}"  # noqa: B023
            found.append(claim_of("autolabels", arm, other, words, family, FEWER, **more))

        claim("autolabels only", "5 % people", "autolabels beat 5 % of people's labels",
              f"competitive-{kind}")  # fmt: skip
        claim("100 % people", "autolabels only", "all of people's labels beat autolabels",
              f"sufficient-{kind}")  # fmt: skip
        for share in ("5 %", "10 %", "20 %", "40 %"):
            people = f"{share} people"
            says = f"pre-training on autolabels helps {share} of people's labels"
            claim(f"pre-trained, {people}", people, says, f"pre-trained-{kind}",
                  headline=share == "10 %")  # fmt: skip
            says = f"joint training with autolabels helps {share} of people's labels"
            claim(f"joint, {people}", people, says, f"joint-{kind}")
        says = "pre-training beats joint training, with 10 % of people's labels"
        claim("pre-trained, 10 % people", "joint, 10 % people", says, f"forms-{kind}",
              headline=True)  # fmt: skip
    return tuple(found)


def claim_of(
    study: str, arm: Arm, rival: Arm, says: str, family: str, seeds: tuple[int, ...], **more: Any
) -> Claim:
    """A superiority in AP50, or in the `metric` that is given."""
    metric = more.pop("metric", "ap50")
    tag = study.replace("_", "-")
    return Claim(
        id=f"{tag}-{arm.id}-beats-{rival.id}" + (f"-{metric}" if metric != "ap50" else ""),
        statement=says, cells=(), study=study,
        metric=metric, arm=arm.id, rival=rival.id, kind="superiority",
        seeds=seeds, family=f"{family}-{tag}", unit="AP50 points", **more,
    )  # fmt: skip
