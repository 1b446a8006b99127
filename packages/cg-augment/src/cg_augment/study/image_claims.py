"""Claims of the studies on images, written before the final runs."""

from __future__ import annotations

from collections.abc import Sequence

from cg_augment.study.rows import AS_CHAIN, AS_STEPWISE
from repro_shared.evidence.claims import Claim, judge
from repro_shared.study.paper import Arm
from repro_shared.study.results import Results

SEEDS = (0, 1, 2, 3, 4)
CELEBA = ("table1/config/worst-group/celeba",)
WORST, KNOWN, SPURIOUS = "worst-group", "in-distribution", "spurious-map"
STEPWISE, CHAIN = "ConfiG, stepwise", "ConfiG, chain"
RIVALS = (
    "KD, longer", "feature KD", "RandAugment", "mixup, relabelled", "CutMix, relabelled",
    "adversarial images", "TAB",
)  # fmt: skip


def claims(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """Of a study by its name."""
    if study == "shapes_on_grounds":
        return of_shapes(arms)
    where, metric, share = {
        "digits_on_photographs": ("on digits on photographs", WORST, "95 % aligned"),
        "six_grounds": ("by average precision against grounds alone", SPURIOUS, "90 % aligned"),
    }[study]
    made = _Maker(study, arms, metric)
    step, chain = f"{STEPWISE}, {share}", f"{CHAIN}, {share}"
    plain = f"unguided, {share}"
    bound, by = (10.0, " by more than 10 points") if metric == WORST else (0.0, "")
    return (
        made(step, plain, f"{where}, images guided stepwise beat unguided ones{by}", "guidance",
             True, bound),
        made(chain, plain, f"{where}, images guided by the chain beat unguided ones{by}",
             "guidance", False, bound),
        *made.costs(share, where),
        *(made(step, rival, f"{where}, images guided stepwise beat {rival}", "rivals")
          for rival in RIVALS if rival in made.known),
        made.keeps(step, "KD, longer", f"{where}, images guided stepwise cost at most 2 points "
                   "on their class's own ground"),
    )  # fmt: skip


def of_shapes(arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """All rows where the minority is rare, the engines where it is frequent or is not there."""
    made = _Maker("shapes_on_grounds", arms, WORST)
    rare, often, none = "97 % aligned", "80 % aligned", "100 % aligned"
    step, chain = f"{STEPWISE}, {rare}", f"{CHAIN}, {rare}"
    where = "where 3 % of the generator's pool are of the minority"
    by_images = ("DiffAug", "SDEdit")
    return (
        made(step, f"unguided, {rare}", f"{where}, images guided stepwise beat unguided ones by "
             "more than 10 points", "guidance", True, 10.0),
        made(chain, f"unguided, {rare}", f"{where}, images guided by the chain beat unguided ones "
             "by more than 10 points", "guidance", True, 10.0),
        *made.costs(rare, where, True),
        *(made(step, rival, f"{where}, images guided stepwise beat {rival}", "rivals",
               rival.startswith("CutMix")) for rival in RIVALS),
        *(made(step, f"{rival}, {rare}", f"{where}, images guided stepwise beat {rival}", "rivals")
          for rival in by_images),
        *(made(step, f"{part}, {rare}", f"{where}, guidance by both beats guidance by the {part}",
               "parts") for part in ("teacher alone", "student alone")),
        made.keeps(step, "KD, longer", f"{where}, images guided stepwise cost at most 2 points on "
                   "their class's own ground"),
        made(f"{STEPWISE}, {often}", f"unguided, {often}", "where a fifth of the pool are of the "
             "minority, images guided stepwise beat unguided ones by more than 10 points",
             "guidance-often", False, 10.0),
        *(made(f"{name}, {none}", f"unguided, {none}", "where the pool has no minority, images "
               f"guided {words} beat unguided ones by more than 10 points", family,
               name == STEPWISE, 10.0, True)
          for name, words, family in ((STEPWISE, "stepwise", "none-stepwise"),
                                      (CHAIN, "by the chain", "none-chain"))),
    )  # fmt: skip


GATES = {
    # Worst-group accuracies in percent: the teacher's least, the biased student's most, and how
    # far the oracle must lie above it.
    "shapes_on_grounds": (WORST, 90.0, 50.0, 30.0),
    "digits_on_photographs": (WORST, 90.0, 50.0, 30.0),
    "six_grounds": (SPURIOUS, 80.0, 80.0, 10.0),
}


def suspended(results: Results, claim: Claim) -> str:
    """Why a claim is not read: the study's teacher, student or oracle lies outside, or, where it
    says what guidance does, a negative control came out as if guidance made what it cannot find."""
    if results.study.name not in GATES:
        return ""
    metric, least, most, apart = GATES[results.study.name]
    found = dict[str, float]()
    for arm in results.study.arms:
        if arm.name in ("teacher", "KD", "oracle"):
            values = results.values(arm, metric)
            if not values:
                return f"the {arm.name} has not been run"
            found[arm.name] = sum(values) / len(values)
    teacher, student, oracle = found["teacher"], found["KD"], found["oracle"]
    if teacher < least:
        return f"the teacher has {teacher:.1f} %, below {least:g}"
    if student > most:
        return f"the biased student has {student:.1f} %, above {most:g}: it is not biased"
    if oracle < student + apart:
        return f"the oracle gains {oracle - student:.1f} points, less than {apart:g}"
    return "" if claim.negative_control or not guides(claim) else broken(results)


def guides(claim: Claim) -> bool:
    """Whether it says what guidance does against no guidance."""
    return (claim.family or "").startswith("guidance")


def broken(results: Results) -> str:
    """Which negative control is supported, or lacks a verdict; "" where they behave.

    A control that is inconclusive counts as behaving: the table says so, since it shows less than
    one that is contradicted.
    """
    controls = [claim for claim in results.study.claims if claim.negative_control]
    for claim, verdict in zip(controls, judge(controls, results.records), strict=True):
        if verdict.verdict == "supported":
            return f"the negative control is supported: {claim.statement}"
        if verdict.low is None:
            return f"the negative control has not been run on all seeds: {claim.statement}"
    return ""


class _Maker:
    """Writes claims of two arms by their names; KeyError for arms that the study lacks."""

    def __init__(self, study: str, arms: Sequence[Arm], metric: str) -> None:
        self.study, self.metric, self.arms = study, metric, tuple(arms)
        self.known = {arm.name: arm.id for arm in arms}
        self.tag = study.replace("_", "-")

    def __call__(
        self, arm: str, rival: str, says: str, family: str, headline: bool = False,
        threshold: float = 0.0, control: bool = False,
    ) -> Claim:  # fmt: skip
        one, two = self.known[arm], self.known[rival]
        cells = CELEBA if headline and self.metric == WORST else ()
        return Claim(
            f"{self.tag}-{one}-beats-{two}", says, cells, self.study, self.metric, one, two,
            "superiority", threshold, seeds=SEEDS, family=f"{family}-{self.tag}",
            negative_control=control, headline=headline,
        )  # fmt: skip

    def costs(self, share: str, where: str, headline: bool = False) -> list[Claim]:
        """Each engine against the best of as many images as cost what it costs."""
        found = list[Claim]()
        for engine, equal, words in (
            (STEPWISE, AS_STEPWISE, "stepwise"), (CHAIN, AS_CHAIN, "by the chain"),
        ):  # fmt: skip
            (rival,) = (
                arm.name for arm in self.arms
                if arm.name.startswith("best of") and arm.name.endswith(share)
                and arm.config.row.equal == equal
            )  # fmt: skip
            several = rival.partition(",")[0]
            found.append(self(f"{engine}, {share}", rival, f"{where}, images guided {words} beat "
                              f"the {several} at equal cost", "cost",
                              headline and engine == STEPWISE))  # fmt: skip
        return found

    def keeps(self, arm: str, rival: str, says: str) -> Claim:
        """Non-inferiority on pictures as the training set has them."""
        one, two = self.known[arm], self.known[rival]
        return Claim(
            f"{self.tag}-{one}-keeps-{two}", says, (), self.study, KNOWN, one, two,
            "non-inferiority", margin=2.0, seeds=SEEDS, family=f"kept-{self.tag}",
        )  # fmt: skip
