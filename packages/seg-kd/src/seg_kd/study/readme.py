"""What is generated in the package's README and in results/README.md: verdicts, findings, index.

No sentence in bold is fixed: each follows from a verdict, or from where an interval lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repro_shared.evidence.claims import Claim
from repro_shared.evidence.statistics import interval
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.paper import Arm
from repro_shared.study.results import Results
from seg_kd.study.arms import WORDS, budgets, objectives, place, students, teacher, untrained
from seg_kd.study.tables import paired_effects

# What a verdict on "{it} beats plain training" says.
SAYS = {
    "supported": "{it} beats plain training",
    "contradicted": "plain training beats {it}",
    "inconclusive": "{it} and plain training are not told apart",
    "suspended": "whether {it} beats plain training cannot be said",
}
UNTESTED = "whether {it} beats plain training has not been tested"


def blocks(found: Mapping[str, Results]) -> dict[str, dict[str, str]]:
    """The blocks of each document."""
    claimed = {name: results for name, results in found.items() if results.study.claims}
    digits, camvid = found["equal_time_digits"], found["equal_time_camvid"]
    return {
        "README.md": {
            "verdicts": short_verdicts(claimed),
            "findings": "\n\n".join(findings(digits, camvid)) + "\n",
        },
        "results/README.md": {"index": index(found)},
    }


def findings(digits: Results, camvid: Results) -> list[str]:
    """One finding a paragraph, the answer first; every number comes from the records."""
    if not (digits.records and camvid.records):
        return ["No evidence has been committed yet."]
    return [
        *(judged(r, claim) for r in (digits, camvid) for claim in r.study.claims if claim.headline),
        _cost(digits),
        _equal_iterations(digits, camvid),
        _longer(digits),
        _over_random(camvid),
    ]


def judged(results: Results, claim: Claim) -> str:
    """What the verdict on a claim says, the effect, and why a verdict is suspended."""
    verdict, arm = results.verdict(claim), results.study.arm(claim.arm)
    it = WORDS[arm.config.objective.name]
    said = SAYS.get(verdict.verdict, UNTESTED).format(it=it)
    effect = ""
    if verdict.mean is not None:
        effect = f"{it.capitalize()} ends {beside(verdict.mean)} plain training. "
    reason = f", since {verdict.reason}" if verdict.reason else ""
    return (
        f"**On {place(results)}, at equal time, {said}.** {effect}Verdict: "
        f"{verdict.verdict}{reason}."
    )


def beside(mean: float) -> str:
    """`3.0 mIoU below`, of a mean effect."""
    return f"{abs(mean):.1f} mIoU {'above' if mean > 0 else 'below'}"


def side(effects: Sequence[float]) -> str:
    """Where the 95 % t interval of a mean lies: above zero, below, or neither.

    Not corrected for several looks.
    """
    found = interval(effects)
    if found is None or found.low is None or found.high is None or found.low <= 0 <= found.high:
        return "neither"
    return "above" if found.low > 0 else "below"


def _cost(results: Results) -> str:
    ratio = results.facts["ratios"]["plain"]
    plain, logit = (_last(results, name).config.iterations for name in ("plain", "logit"))
    return (
        f"**On {place(results)} a step without a teacher takes {ratio:.2f} of the time of a "
        f"step of logit distillation.** So, at equal time, plain training gets {plain} iterations "
        f"and logit distillation {logit}."
    )


def _equal_iterations(*found: Results) -> str:
    sides = [
        side(paired_effects(r, each.name, "iterations", budgets(r.study, "iterations")[-1]))
        for r in found
        for each in objectives(r.study)[1:]
    ]
    return (
        f"**At equal iterations {sides.count('neither')} of {len(sides)} comparisons with plain "
        f"training have an interval that holds zero.** The other intervals: "
        f"{sides.count('above') or 'none'} above zero, {sides.count('below') or 'none'} below."
    )


def _longer(results: Results) -> str:
    plain = _last(results, "plain")
    longer = next(
        a for a in students(results.study, "time")
        if a.control and a.config.objective.name == "plain"
    )  # fmt: skip
    effects = _differences(results, longer, plain)
    if not effects:
        return "Plain training for longer has not been run."
    said = {
        "above": "the plain student is far from done",
        "below": "training for longer harms the plain student",
        "neither": "training for longer is not shown to change the plain student",
    }
    return (
        f"**On {place(results)} {said[side(effects)]}.** Trained "
        f"{longer.config.budget // plain.config.budget} times as long it goes from "
        f"{_mean(results, plain):.1f} to {_mean(results, longer):.1f} mIoU."
    )


def _over_random(results: Results) -> str:
    logit = _last(results, "logit")
    random = next(a for a in students(results.study, "time") if untrained(a))
    effects = _differences(results, logit, random)
    if not effects:
        return "The control with a random teacher has not been run."
    said = {
        "above": "a trained teacher gives more than one with random weights",
        "below": "a trained teacher gives less than one with random weights",
        "neither": "a trained teacher is not told from one with random weights",
    }
    where = side(effects)
    little = "Such an assay says little about distillation. " if where == "neither" else ""
    return (
        f"**On {place(results)} {said[where]}.** Logit distillation from the trained one "
        f"ends {beside(sum(effects) / len(effects))} the same from the random one. {little}"
        f"The teacher has {_mean(results, teacher(results.study)):.1f} mIoU and the plain student "
        f"{_mean(results, _last(results, 'plain')):.1f}."
    )


def _last(results: Results, objective: str) -> Arm:
    """The arm of an objective at the largest budget of time."""
    found = students(results.study, "time", budgets(results.study, "time")[-1])
    return next(a for a in found if a.config.objective.name == objective and not untrained(a))


def _differences(results: Results, arm: Arm, rival: Arm) -> list[float]:
    """mIoU of an arm minus another's, by seed."""
    other = {run.seed: run.metrics["miou"] for run in results.runs(rival)}
    return [r.metrics["miou"] - other[r.seed] for r in results.runs(arm) if r.seed in other]


def _mean(results: Results, arm: Arm) -> float:
    values = results.values(arm, "miou")
    return sum(values) / len(values)
