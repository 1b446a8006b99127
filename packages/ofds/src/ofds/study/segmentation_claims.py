"""Claims of the studies with segmenters and on real photographs, written before the final runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ofds.study.detection_claims import FEWER, seeds_of
from repro_shared.evidence.claims import Claim
from repro_shared.study.paper import Arm

TIE = 2.0  # AP50 points within which detectors of blood cells are equivalent: ours
UNITS = {"miou": "mIoU points", "rare_miou": "mIoU points", "ap50": "AP50 points"}


def of_selection(study: str, arms: Sequence[Arm], tail: bool) -> tuple[Claim, ...]:
    """Composed scenes: the headline at equal cost in objects, the same in pixels beside it."""
    found: list[Claim] = []
    for unit in ("objects", "pixels") if tail else ("objects",):
        found += _at_equal(unit, study, _under(arms, unit), tail)
    return tuple(found)


def _at_equal(unit: str, study: str, same: dict[str, Arm], tail: bool) -> list[Claim]:
    words, family = f"{'long-tailed' if tail else 'balanced'} scenes", f"{unit}-{study}"
    found: list[Claim] = []

    def claim(name: str, rival: str, family: str, **more: Any) -> None:
        says = f"on {words} at equal {unit}, segmenters of {name} beat those of {rival}"
        seeds = seeds_of(study)
        found.append(_claim(study, same[name], same[rival], says, family, seeds, **more))

    claim("OFDS", "random", family, negative_control=not tail, headline=unit == "objects")
    claim("OFDS", "class-balanced random", family)
    for name in ("image k-centre", "TypiClust"):
        claim(name, "random", f"image-level-{family}")
        claim("OFDS", name, f"rivals-{family}")
    claim("oracle OFDS", "OFDS", f"oracle-{family}")
    return found


def of_cells(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """BCCD: nearly every image holds all three classes, so a tie with random images is expected.

    Both claims together say that OFDS and random images differ by less than the margin; as both
    must hold, neither is corrected for the other.
    """
    same = _under(arms, "objects")
    return tuple(
        _claim(
            study, same[name], same[rival],
            f"on BCCD's blood cells at equal objects, detectors of {name} are worse than those of "
            f"{rival} by less than {TIE:g} points",
            None, FEWER, "ap50", kind="non-inferiority", margin=TIE, headline=True,
        )
        for name, rival in (("OFDS", "random"), ("random", "OFDS"))
    )  # fmt: skip


def of_roads(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """CamVid: the minority classes gain, at no loss over all classes."""
    same, found = _under(arms, "pixels"), list[Claim]()
    for rival in ("random", "class-balanced random", "image k-centre", "TypiClust"):
        says = (
            "on CamVid's frames at equal pixels, segmenters of OFDS beat those of "
            f"{rival} on minority classes"
        )
        found.append(
            _claim(study, same["OFDS"], same[rival], says, "minority", FEWER, "rare_miou",
                   headline=rival == "random")
        )  # fmt: skip
    says = "on CamVid's frames at equal pixels, segmenters of OFDS are no worse than of random"
    found.append(
        _claim(study, same["OFDS"], same["random"], says, None, FEWER, "miou",
               kind="non-inferiority")
    )  # fmt: skip
    return tuple(found)


def _under(arms: Sequence[Arm], unit: str) -> dict[str, Arm]:
    """The arms with a budget in a unit, by selector."""
    chosen = [arm for arm in arms if getattr(arm.config, "budget", None) is not None]
    return {arm.config.selector: arm for arm in chosen if arm.config.budget.unit == unit}


def _claim(
    study: str, arm: Arm, rival: Arm, says: str, family: str | None, seeds: tuple[int, ...],
    metric: str = "miou", kind: Any = "superiority", **more: Any,
) -> Claim:  # fmt: skip
    verb = "beats" if kind == "superiority" else "no-worse-than"
    return Claim(
        id=f"{study.replace('_', '-')}-{arm.id}-{verb}-{rival.id}"
        + ("" if metric in ("miou", "ap50") else f"-{metric.replace('_', '-')}"),
        statement=says, cells=(), study=study, metric=metric, arm=arm.id, rival=rival.id,
        kind=kind, seeds=seeds, family=family and f"{family}-{study}", unit=UNITS[metric], **more,
    )  # fmt: skip
