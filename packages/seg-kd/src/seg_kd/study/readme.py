"""What is generated in the package's README and in results/README.md: verdicts, findings, index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Column
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.paper import Arm
from repro_shared.study.results import Results
from seg_kd.study.arms import budgets, students, teacher, untrained
from seg_kd.study.tables import paired_effects

POINTS = Column("", "", 1, signed=True)


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
    equal = [effect(digits, name, "iterations") for name in ("logit", "feature", "feature+logit")]
    small = [effect(camvid, name, "iterations") for name in ("logit", "feature", "feature+logit")]
    return [
        "**In the first minute of training the teacher costs more than it gives.** On digit scenes "
        f"logit distillation is {effect(digits, 'logit')} mIoU from plain training at equal time, "
        f"feature distillation {effect(digits, 'feature')}.",
        "**The teacher's forward pass is what costs.** A plain step takes "
        f"{ratio:.2f} of a step of logit distillation on the digits, so plain training gets "
        f"{lengths['plain']} iterations where logit distillation gets {lengths['logit']}.",
        "**At equal iterations the arms cannot be told apart.** From plain training logit, "
        f"feature and both together differ by {', '.join(equal[:2])} and {equal[2]} mIoU on the "
        f"digits, and on CamVid by {', '.join(small[:2])} and {small[2]}.",
        f"**These students are far from done.** {_longer(digits)}",
        "**On CamVid nothing is decided.** At the largest budget logit distillation is "
        f"{effect(camvid, 'logit')} mIoU from plain training; the teacher has "
        f"{camvid.values(teacher(camvid.study), 'miou')[0]:.1f}, the plain student "
        f"{_mean(camvid, _last(camvid, 'plain')):.1f}.",
        "**A trained teacher cannot be told from a random one on CamVid.** Logit distillation from "
        f"the trained teacher is {_over_random(camvid)} mIoU from logit distillation from a "
        "teacher with random weights. An assay that cannot tell these two apart says little about "
        "distillation.",
    ]


def effect(results: Results, objective: str, match: str = "time") -> str:
    """Mean effect over plain training at the largest budget, `-3.0 [-6.7, +0.6]`, uncorrected."""
    budget = budgets(results.study, match)[-1]  # type: ignore[arg-type]
    return _shown(paired_effects(results, objective, match, budget))  # type: ignore[arg-type]


def _shown(effects: Sequence[float]) -> str:
    return POINTS.show(interval(effects), "not run")


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
        f"{after:.1f} mIoU, which is more than any teacher gives here."
    )


def _over_random(results: Results) -> str:
    random = next(a for a in students(results.study, "time") if untrained(a))
    other = {run.seed: run.metrics["miou"] for run in results.runs(random)}
    runs = results.runs(_last(results, "logit"))
    return _shown([r.metrics["miou"] - other[r.seed] for r in runs if r.seed in other])
