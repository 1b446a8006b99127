"""What is generated in the package's README and in results/README.md."""

from __future__ import annotations

from collections.abc import Mapping

from ofds.study.autolabel_tables import worth
from ofds.study.stages import Pick
from ofds.study.tables import gain
from repro_shared.evidence.statistics import interval
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.results import Results

TRAINED = {
    "detection_long_tail": "detectors of long-tailed scenes",
    "detection_long_tail_complex": "detectors of crowded long-tailed scenes",
    "detection_balanced": "detectors of balanced scenes",
    "segmentation_long_tail": "segmenters of long-tailed scenes",
    "segmentation_balanced": "segmenters of balanced scenes",
    "roads_camvid": "segmenters of minority classes on CamVid's roads",
    "active_learning": "detectors over three rounds of active learning from such a start",
}
"""Studies that train networks, and what they train."""
POOLS = {"selection_long_tail": "a long-tailed pool", "selection_balanced": "a balanced pool"}
NAMES = {"random": "random images", "class-balanced random": "class-balanced random images"}
CREDIT = {
    "OFDS, full credit": "in which a cluster with one object on a chosen image has no further turn",
    "OFDS, no credit": "in which objects on images chosen for something else do not count",
}

FAILED = (
    "**The control failed: there is a gain.** So imbalance alone does not explain what OFDS gains; "
    "a part comes from spreading objects over appearances, in the features that the judge looks at."
)


def blocks(found: Mapping[str, Results]) -> dict[str, dict[str, str]]:
    """The blocks of each document."""
    claimed = {name: results for name, results in found.items() if results.study.claims}
    return {
        "README.md": {
            "findings": "\n\n".join([*trained(claimed), *told(claimed)]) + "\n",
            "verdicts": short_verdicts(claimed, headlines=True),
        },
        "results/README.md": {"verdicts": short_verdicts(claimed), "index": index(found)},
    }


def trained(claimed: Mapping[str, Results]) -> list[str]:
    """What networks gain that are trained on chosen images, over random ones, where it is known."""
    gains, controls = list[str](), list[str]()
    for name, what in TRAINED.items():
        claims = claimed[name].study.claims if name in claimed else ()
        for claim in claims:
            if not claim.headline or not claim.rival.startswith("random-"):
                continue
            found = claimed[name].verdict(claim)
            if found.mean is None or found.low is None:
                continue  # not all of its seeds have been run
            line = f"{what}: {found.mean:+.1f} {claim.unit} ({found.verdict})"
            (controls if claim.negative_control else gains).append(line)
    said = [f"**What trained networks gain over random images of equal cost**: {'; '.join(gains)}."]
    said += [f"Where classes are balanced no gain is expected: {'; '.join(controls)}."]
    return [line for line, known in zip(said, (gains, controls), strict=True) if known]


def told(claimed: Mapping[str, Results]) -> list[str]:
    """The other studies' answers; every number comes from the records."""
    said = list[str]()
    for name, results in claimed.items():
        match name:
            case "coverage":
                said.append(covered(results))
            case "autolabels":
                said += worth(results)
            case "selection_long_tail" if results.records:
                pool = POOLS[name]
                said += [beats(results, pool), *by_image(results, pool), *credit(results, pool)]
            case "selection_balanced" if results.records:
                said.append(beats(results, POOLS[name]))
    return said


def beats(results: Results, pool: str) -> str:
    """OFDS beside random images and class-balanced random images, at every budget in objects."""
    claims = [c for c in results.study.claims if (c.family or "").startswith("objects")]
    verdicts = {claim.id: results.verdict(claim) for claim in claims}
    rivals = {claim.rival: None for claim in claims}
    names = {arm.id: NAMES[arm.name] for arm in results.study.arms if arm.id in rivals}
    supported = [verdicts[claim.id].verdict == "supported" for claim in claims]
    says = f"beats {' and '.join(names[rival] for rival in rivals)}"
    if not all(supported):
        says += f" in {sum(supported)} of {len(claims)} comparisons"
    lines = [f"**On {pool} of a feature space, OFDS {says}.**"]
    for metric in {claim.metric: None for claim in claims}:
        own = {claim.rival: claim for claim in claims if claim.metric == metric}
        effects = [verdicts[own[rival].id].mean for rival in rivals]
        if None in effects:
            continue
        ends = " and ".join(
            f"{points(effect)} {names[rival]}"
            for rival, effect in zip(rivals, effects, strict=True)
        )
        lines.append(f"With {metric.partition('/')[2]} it ends {ends}.")
        controls = [claim for claim in own.values() if claim.negative_control]
        if controls:
            lines.append("There no gain over random images was expected (negative control).")
        if any(verdicts[claim.id].verdict == "supported" for claim in controls):
            lines.append(FAILED)
    return " ".join(lines)


def by_image(results: Results, pool: str) -> list[str]:
    """The selector by image that gains most, and which of them are told from random images."""
    config = results.study.arms[0].config
    assert isinstance(config, Pick)
    small = f"{config.objects[0]} objects"
    names = {arm.id: arm.name for arm in results.study.arms}
    claims = [c for c in results.study.claims if (c.family or "").startswith("image-level")]
    better = [names[c.arm] for c in claims if results.verdict(c).verdict == "supported"]
    gains = {
        names[claim.arm]: found.mean
        for claim in claims
        if (found := interval(gain(results, names[claim.arm], small))) is not None
    }
    if not gains:
        return []
    best = max(gains, key=lambda each: gains[each])
    named = f"only {' and '.join(better)}" if better else "none"
    verb = "beat" if better[1:] else "beats"
    return [
        f"**Of {len(claims)} selectors by image, {named} {verb} random "
        f"images beyond doubt with {small} of {pool}.** The best, {best}, ends "
        f"{points(gains[best])} them."
    ]


def points(effect: float | None) -> str:
    """An effect in words."""
    effect = effect or 0.0
    return f"{abs(effect):.1f} points {'above' if effect >= 0 else 'below'}"


def credit(results: Results, pool: str) -> list[str]:
    """What the way of giving credit does; a sentence for each rule that it is told from."""
    names, found = {arm.id: arm.name for arm in results.study.arms}, []
    for claim in results.study.claims:
        verdict, rival = results.verdict(claim), names[claim.rival]
        if rival in CREDIT and verdict.mean is not None and verdict.verdict != "inconclusive":
            found.append(
                f"**OFDS ends {points(verdict.mean)} a variant {CREDIT[rival]}.** This is "
                f"with {claim.metric.partition('/')[2]} of {pool}."
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
