"""Claims of the study on the exact mixture, written before the final runs, and their gates."""

from __future__ import annotations

from collections.abc import Sequence

from cg_augment.method import cost
from cg_augment.study.recipes import ROUNDS, SHARES, STEPS
from repro_shared.evidence.claims import Claim, judge
from repro_shared.study.paper import Arm
from repro_shared.study.results import Results

SEEDS = (0, 1, 2, 3, 4)
SAMPLED = 25
# As many candidates as cost what an engine costs, a backward as on the small networks of images.
AS_STEPWISE, AS_CHAIN = (
    max(1, round(cost.of_engine(engine, SAMPLED).forwards() / SAMPLED))
    for engine in (STEPS, ROUNDS)
)
SEVERAL = tuple(sorted({AS_STEPWISE, 8, AS_CHAIN}))
BALANCED = "balanced"  # family of the two bounds
MARGIN = 2.0  # points either way that guidance may change where the pool is balanced


def named(name: str, share: float) -> str:
    """An arm of a way and share."""
    return f"{name}, {100 * share:g} % aligned"


def claims(arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """By share. At both ends nothing is expected: guidance must not find what the pool lacks, nor
    move by more than `MARGIN` what a balanced pool gives without it."""
    known = {arm.name: arm.id for arm in arms}

    def made(
        one: str, two: str, share: float, says: str, family: str, threshold: float = 0.0,
        control: bool = False, headline: bool = False, keeps: bool = False,
    ) -> Claim:  # fmt: skip
        arm, rival = known[named(one, share)], known[named(two, share)]
        return Claim(
            f"mixture-{arm}-{'keeps' if keeps else 'beats'}-{rival}", says, (),
            "students_of_the_mixture", "worst-group", arm, rival,
            "non-inferiority" if keeps else "superiority", threshold, MARGIN, seeds=SEEDS,
            family=f"{family}-mixture", negative_control=control, headline=headline,
        )  # fmt: skip

    rare = (0.998, 0.99, 0.95)
    found = [
        made(way, "unguided", share, f"in the exact mixture with {100 * share:g} % aligned, "
             f"{words} beat unguided ones by more than 10 points", "guidance", threshold=10.0,
             headline=share == 0.99)
        for way, words in (("stepwise", "points guided stepwise"),
                           ("chain", "points guided by the chain"))
        for share in rare
    ]  # fmt: skip
    found += [
        made(way, f"best of {k}", share, f"in the exact mixture with {100 * share:g} % aligned, "
             f"points guided {words} beat the best of {k} at equal cost", "cost")
        for way, k, words in (("stepwise", AS_STEPWISE, "stepwise"),
                              ("chain", AS_CHAIN, "by the chain"))
        for share in rare
    ]  # fmt: skip
    none, balanced = SHARES[0], SHARES[-1]
    found += [
        made("stepwise", "unguided", none, "in the exact mixture without a minority, points guided "
             "stepwise beat unguided ones by more than 10 points", "none", 10.0, True, True),
        made("stepwise", "unguided", balanced, "in the balanced mixture, points guided stepwise "
             f"are at most {MARGIN:g} points worse than unguided ones", BALANCED, keeps=True),
        made("unguided", "stepwise", balanced, "in the balanced mixture, points guided stepwise "
             f"are at most {MARGIN:g} points better than unguided ones", BALANCED, keeps=True),
    ]  # fmt: skip
    return tuple(found)


def suspended(results: Results, claim: Claim) -> str:
    """Why a claim is not read: the first student is not biased, the oracle gains too little, or a
    control broke, where the claim says what guidance does."""
    means = dict[str, float]()
    for arm in results.study.arms:
        if arm.name in ("KD", "oracle") and (values := results.values(arm, "worst-group")):
            means[arm.name] = sum(values) / len(values)
    if len(means) < 2:
        return "KD or the oracle has not been run"
    if means["KD"] > 50:
        return f"the first student has {means['KD']:.1f} %: it is not biased"
    gain = means["oracle"] - means["KD"]
    if gain < 30:
        return f"the oracle gains {gain:.1f} points, less than 30"
    return broken(results) if (claim.family or "").startswith("guidance") else ""


def broken(results: Results) -> str:
    """Which end of the sweep is not as it must be, or has no verdict; "" where both are."""
    ends = [
        claim for claim in results.study.claims
        if claim.negative_control or (claim.family or "").startswith(BALANCED)
    ]  # fmt: skip
    for claim, verdict in zip(ends, judge(ends, results.records), strict=True):
        if verdict.low is None:
            return f"a control has not been run on all seeds: {claim.statement}"
        bad = "supported" if claim.negative_control else "contradicted"
        if verdict.verdict == bad:
            return f"a control is {bad}: {claim.statement}"
    return ""
