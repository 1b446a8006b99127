"""What is generated in the package's README and in results/README.md: verdicts, findings, index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repro_shared.evidence.statistics import interval
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.paper import Arm
from repro_shared.study.results import Results
from seg_kd.study.arms import budgets, students, teacher, untrained
from seg_kd.study.stages import Match
from seg_kd.study.tables import paired_effects


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
    """One claim a paragraph, the answer first; every number comes from the records."""
    if not (digits.records and camvid.records):
        return ["No evidence has been committed yet."]
    ratio, lengths = digits.facts["ratios"]["plain"], _lengths(digits)
    equal = [paired(r, name, "iterations") for r in (digits, camvid) for name in DISTILLED]
    even = sum(holds_zero(effects) for effects in equal)
    logit = paired(camvid, "logit", "time")
    return [
        "**In the first minute of training the teacher costs more than it gives.** On digit "
        "scenes, at equal time, logit distillation ends "
        f"{beside(paired(digits, 'logit', 'time'))} plain training and feature distillation "
        f"{beside(paired(digits, 'feature', 'time'))} it.",
        "**The teacher's forward pass is what costs.** On the digits a plain step takes "
        f"{ratio:.2f} of the time of a step of logit distillation. So plain training gets "
        f"{lengths['plain']} iterations where logit distillation gets {lengths['logit']}.",
        "**At equal iterations little of the difference is left.** Of the "
        f"{len(equal)} comparisons with plain training on both data sets, {even} have an interval "
        "that holds zero.",
        f"**These students are far from done.** {_longer(digits)}",
        "**On CamVid logit distillation and plain training are not told apart.** At the largest "
        f"budget logit distillation ends {beside(logit)} plain training"
        f"{', and the interval holds zero' if holds_zero(logit) else ''}. The teacher has "
        f"{camvid.values(teacher(camvid.study), 'miou')[0]:.1f} mIoU and the plain student "
        f"{_mean(camvid, _last(camvid, 'plain')):.1f}: they all have far to go.",
        f"**Nor is a trained teacher told from a random one there.** {_over_random(camvid)}",
    ]


DISTILLED = ("logit", "feature", "feature+logit")


def paired(results: Results, objective: str, match: Match) -> list[float]:
    """Effects over plain training by seed, at the largest budget."""
    return paired_effects(results, objective, match, budgets(results.study, match)[-1])


def beside(effects: Sequence[float]) -> str:
    """`3.0 mIoU below`, of a mean effect."""
    mean = sum(effects) / len(effects)
    return f"{abs(mean):.1f} mIoU {'above' if mean > 0 else 'below'}"


def holds_zero(effects: Sequence[float]) -> bool:
    """Whether the 95 % t interval of the mean holds zero; not corrected for several looks."""
    found = interval(effects)
    return found is None or found.low is None or found.high is None or found.low <= 0 <= found.high


def _last(results: Results, objective: str) -> Arm:
    budget = budgets(results.study, "time")[-1]
    found = students(results.study, "time", budget)
    return next(a for a in found if a.config.objective.name == objective and not untrained(a))


def _lengths(results: Results) -> dict[str, int]:
    return {name: _last(results, name).config.iterations for name in ("plain", "logit")}


def _mean(results: Results, arm: Arm) -> float:
    values = results.values(arm, "miou")
    return sum(values) / len(values)


def _longer(results: Results) -> str:
    longer = next(
        a for a in students(results.study, "time")
        if a.control and a.config.objective.name == "plain"
    )  # fmt: skip
    if not results.runs(longer):
        return "Plain training for longer has not been run."
    times = longer.config.budget // budgets(results.study, "time")[-1]
    before, after = _mean(results, _last(results, "plain")), _mean(results, longer)
    return (
        f"On the digits plain training for {times} times as long goes from {before:.1f} to "
        f"{after:.1f} mIoU."
    )


def _over_random(results: Results) -> str:
    random = next(a for a in students(results.study, "time") if untrained(a))
    other = {run.seed: run.metrics["miou"] for run in results.runs(random)}
    runs = results.runs(_last(results, "logit"))
    effects = [r.metrics["miou"] - other[r.seed] for r in runs if r.seed in other]
    if not effects:
        return "The control with a random teacher has not been run."
    held = ", and the interval holds zero" if holds_zero(effects) else ""
    return (
        f"Logit distillation from the trained teacher ends {beside(effects)} the same from a "
        f"teacher with random weights{held}. An assay that cannot tell these two apart says "
        "little about distillation."
    )
