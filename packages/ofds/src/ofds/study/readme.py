"""What is generated in the package's README and in results/README.md."""

from __future__ import annotations

from collections.abc import Mapping

from ofds.study.autolabel_tables import worth
from ofds.study.stages import Pick
from ofds.study.tables import gain
from repro_shared.evidence.statistics import interval
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.results import Results

SAYS = {
    "supported": "{arm} beats {rival}",
    "contradicted": "{rival} beats {arm}",
    "inconclusive": "{arm} and {rival} are not told apart",
}
UNTESTED = "whether {arm} beats {rival} has not been tested"
POOLS = {"selection_long_tail": "a long-tailed pool", "selection_balanced": "a balanced pool"}
NAMES = {"random": "random images", "class-balanced random": "class-balanced random images"}
VARIANTS = {
    "OFDS, nearest object": "OFDS with the nearest object",
    "OFDS, full credit": "OFDS with full credit for what chosen images cover",
    "OFDS, no credit": "OFDS without credit for what chosen images cover",
    "OFDS, classes as listed": "OFDS with the classes as listed",
}


def blocks(found: Mapping[str, Results]) -> dict[str, dict[str, str]]:
    """The blocks of each document."""
    claimed = {name: results for name, results in found.items() if results.study.claims}
    return {
        "README.md": {
            "findings": "\n\n".join(line for r in claimed.values() for line in findings(r)) + "\n",
            "verdicts": short_verdicts(claimed, headlines=True),
        },
        "results/README.md": {"verdicts": short_verdicts(claimed), "index": index(found)},
    }


def findings(results: Results) -> list[str]:
    """The answer first; every number comes from the records."""
    if results.study.name == "coverage":
        return [covered(results)]
    if results.study.name == "autolabels":
        return worth(results)
    if results.study.name not in POOLS:
        return []
    pool = POOLS[results.study.name]
    if not results.records:
        return [f"On {pool} nothing has been run yet."]
    found, names = [], {arm.id: arm.name for arm in results.study.arms}
    for claim in results.study.claims:
        verdict, amount = results.verdict(claim), claim.metric.partition("/")[2]
        family = claim.family or ""
        turned = family.startswith("ablations") and verdict.verdict == "contradicted"
        if not (family.startswith("objects") or turned):
            continue
        words = {side: (NAMES | VARIANTS).get(names[name], names[name]) for side, name in
                 (("arm", claim.arm), ("rival", claim.rival))}  # fmt: skip
        said = SAYS.get(verdict.verdict, UNTESTED).format(**words)
        control = " This was the negative control: no gain was expected." * claim.negative_control
        effect = ""
        if verdict.mean is not None:
            side = "above" if verdict.mean > 0 else "below"
            effect = f"{words['arm']} ends {abs(verdict.mean):.1f} points {side}. "
        found.append(
            f"**With {amount} of {pool}, {said}.** {effect}Verdict: {verdict.verdict}.{control}"
        )
    config = results.study.arms[0].config
    assert isinstance(config, Pick)
    small = f"{config.objects[0]} objects"
    best = {
        arm.name: found_.mean
        for arm in results.study.arms
        if arm.name not in NAMES and "OFDS" not in arm.name
        if (found_ := interval(gain(results, arm.name, small))) is not None
    }
    if best:
        name = max(best, key=lambda each: best[each])
        found.append(
            f"**Of the selectors by image, {name} gains most with {small} of {pool}.** It ends "
            f"{best[name]:+.1f} points from random images. No claim was made."
        )
    return found


def covered(results: Results) -> str:
    """What the contract misses, and random images on the same pools."""
    missed = {arm.name: results.values(arm, "missed") for arm in results.study.arms}
    ours, random = missed["OFDS with contract"], missed["random"]
    if not ours or not random:
        return "The coverage contract has not been tried yet."
    feasible = sum(results.values(results.study.arms[0], "feasible"))
    pools = sum(results.values(results.study.arms[0], "pools"))
    return (
        f"**On {pools:.0f} small pools, OFDS with its contract misses {sum(ours):.0f} of "
        f"{feasible:.0f} feasible minima.** Random images miss {sum(random):.0f} of them."
    )
