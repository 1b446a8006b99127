"""Verdicts follow from the records by the rule, and from nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scipy import stats

from repro_shared.evidence.claims import Claim, Verdict, judge, verdict_table
from repro_shared.evidence.records import Origin, RunRecord
from repro_shared.evidence.statistics import t_interval
from repro_shared.runtime.errors import UserError

PLAIN = [60.0, 61.0, 62.0, 63.0, 64.0]
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

CLAIM = Claim(
    id="feature-beats-plain",
    statement="Feature distillation beats plain training at equal time",
    cells=("abstract/student/miou/cityscapes",),
    study="equal_time",
    metric="miou",
    arm="feature",
    rival="plain",
    kind="superiority",
    unit="mIoU points",
)


def run(arm: str, seed: int, miou: float, **changes: Any) -> RunRecord:
    shared: dict[str, Any] = {
        "method_version": 2,
        "data_name": "digit scenes",
        "data_fingerprint": "f",
        "provenance": {"git": {"commit": "c" * 40, "dirty": False}},
    }
    shared |= {name: changes.pop(name) for name in [*shared] if name in changes}
    fields: dict[str, Any] = {
        "study": "equal_time",
        "origin": Origin(**shared),
        "arm": arm,
        "seed": seed,
        "key": "1234-abcd",
        "config": "c0ffee",
        "metrics": {"miou": miou},
        "seconds": 1.0,
        "samples": 8,
        "started": NOON,
        "finished": NOON + timedelta(seconds=seed),
        "status": "complete",
    }
    return RunRecord(**{**fields, **changes})


def runs(effects: Sequence[float], arm: str = "feature") -> list[RunRecord]:
    pairs = zip(PLAIN, effects, strict=False)
    return [run(arm, seed, plain + effect) for seed, (plain, effect) in enumerate(pairs)]


def plain_runs() -> list[RunRecord]:
    return runs([0.0] * 5, "plain")


def verdict_of(effects: Sequence[float], claim: Claim = CLAIM) -> Verdict:
    return judge([claim], runs(effects) + plain_runs())[0]


def non_inferiority(margin: float = 0.5) -> Claim:
    return replace(CLAIM, kind="non-inferiority", margin=margin)


@pytest.mark.parametrize(
    ("effects", "superior", "not_inferior"),
    [
        ([1.0, 1.2, 0.8, 1.1, 0.9], "supported", "supported"),
        ([0.1, -0.1, 0.2, -0.2, 0.0], "inconclusive", "supported"),
        ([2.0, -2.0, 1.0, -1.0, 0.0], "inconclusive", "inconclusive"),
        ([-0.3, -0.2, -0.25, -0.3, -0.2], "contradicted", "supported"),
        ([-1.0, -1.2, -0.8, -1.1, -0.9], "contradicted", "contradicted"),
        ([0.0] * 5, "inconclusive", "supported"),
        ([0.5] * 5, "supported", "supported"),
        ([-0.5] * 5, "contradicted", "inconclusive"),
    ],
)
def test_the_word_follows_the_interval(
    effects: list[float], superior: str, not_inferior: str
) -> None:
    assert verdict_of(effects).verdict == superior
    assert verdict_of(effects, non_inferiority()).verdict == not_inferior


def test_numbers_of_a_verdict() -> None:
    effects = [1.0, 1.5, 0.5, 1.25, 0.75]
    found = verdict_of(effects)
    mean, low, high = t_interval(effects)
    assert found.effects == tuple(effects)
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.n == 5
    assert (found.mean, found.low, found.high) == (mean, low, high)
    # sd = sqrt(0.625 / 4) = 0.39528; 2.77645 * 0.39528 / sqrt(5) = 0.49081.
    assert found.minimum_detectable == pytest.approx(0.49081, abs=1e-5)
    assert found.missing == ()


def test_interval_is_that_of_scipys_paired_test() -> None:
    effects = [0.31, -0.12, 0.54, 0.08, 0.27]
    feature = [plain + effect for plain, effect in zip(PLAIN, effects, strict=True)]
    expected = stats.ttest_rel(feature, PLAIN).confidence_interval(0.95)
    found = verdict_of(effects)
    assert found.low == pytest.approx(expected.low, rel=1e-9)
    assert found.high == pytest.approx(expected.high, rel=1e-9)


def test_pairs_go_by_seed_and_not_by_the_order_of_records() -> None:
    records = runs([1.0, 1.5, 0.5, 1.25, 0.75]) + plain_runs()
    assert judge([CLAIM], records[::-1]) == judge([CLAIM], records)


def test_without_spread_the_interval_is_a_point() -> None:
    found = verdict_of([0.5] * 5)
    assert (found.mean, found.low, found.high, found.minimum_detectable) == (0.5, 0.5, 0.5, 0.0)
    assert verdict_of([0.5] * 5, replace(CLAIM, threshold=0.5)).verdict == "inconclusive"


def test_threshold_and_margin_move_the_bound() -> None:
    effects = [1.0, 1.2, 0.8, 1.1, 0.9]  # interval 0.80 to 1.20
    assert verdict_of(effects, replace(CLAIM, threshold=0.7)).verdict == "supported"
    assert verdict_of(effects, replace(CLAIM, threshold=1.0)).verdict == "inconclusive"
    assert verdict_of(effects, replace(CLAIM, threshold=1.3)).verdict == "contradicted"
    worse = [-effect for effect in effects]
    assert verdict_of(worse, non_inferiority(1.3)).verdict == "supported"
    assert verdict_of(worse, non_inferiority(1.0)).verdict == "inconclusive"


def test_fewer_than_five_seeds_get_points_and_no_verdict() -> None:
    records = [r for r in runs([1.0, 1.25, 0.75]) + plain_runs() if r.seed < 3]
    found = judge([CLAIM], records)[0]
    assert found.verdict == "no verdict (n < 5)"
    assert found.effects == (1.0, 1.25, 0.75)
    assert found.mean == pytest.approx(1.0)
    assert found.low is found.high is found.minimum_detectable is None
    assert found.missing == ("feature seed 3", "feature seed 4", "plain seed 3", "plain seed 4")


def test_a_seed_missing_in_one_arm_is_named_and_not_dropped() -> None:
    claim = replace(CLAIM, seeds=(0, 1, 2, 3, 4, 5))
    records = [*runs([1.0] * 5), run("feature", 5, 70.0), *plain_runs()]
    found = judge([claim], records)[0]
    assert found.verdict == "not run"  # although five pairs are there
    assert found.missing == ("plain seed 5",)
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.low is None


def test_a_failed_run_counts_as_missing() -> None:
    records = runs([1.0] * 5) + plain_runs()
    records[2] = records[2].model_copy(update={"status": "failed"})
    found = judge([CLAIM], records)[0]
    assert found.verdict == "no verdict (n < 5)"
    assert found.missing == ("feature seed 2 (failed)",)
    assert found.seeds == (0, 1, 3, 4)


def test_without_records_a_claim_is_not_run() -> None:
    found = judge([CLAIM], [])[0]
    assert (found.verdict, found.mean, found.effects) == ("not run", None, ())


def test_seeds_and_studies_that_the_claim_does_not_name_are_ignored() -> None:
    strangers = [
        run("feature", 100, 0.0),
        run("plain", 100, 99.0),
        run("feature", 0, 0.0, study="tuning"),
    ]
    effects = [1.0, 1.2, 0.8, 1.1, 0.9]
    assert judge([CLAIM], runs(effects) + plain_runs() + strangers)[0] == verdict_of(effects)


def test_holm_makes_a_family_stricter() -> None:
    # Alone, the interval is 0.02 to 1.98; as one of three it holds zero.
    weak = [1.0, 2.0, 0.0, 1.5, 0.5]
    assert verdict_of(weak).verdict == "supported"
    noisy = [2.0, -2.0, 1.0, -1.0, 0.5]
    family = [
        replace(CLAIM, id="weak", family="rivals"),
        replace(CLAIM, id="noisy-1", arm="a", family="rivals"),
        replace(CLAIM, id="noisy-2", arm="b", family="rivals"),
        replace(CLAIM, id="weak-alone"),
    ]
    records = runs(weak) + plain_runs() + runs(noisy, "a") + runs(noisy, "b")
    found = {verdict.claim_id: verdict for verdict in judge(family, records)}
    assert found["weak"].verdict == "inconclusive"
    assert found["weak-alone"].verdict == "supported"
    assert found["weak"].low == pytest.approx(t_interval(weak, 1 - 0.05 / 3).low)
    # A member that has not run counts too, so running it later cannot make the others stricter.
    unrun = judge(family, runs(weak) + plain_runs())
    assert unrun[0].verdict == "inconclusive"
    assert unrun[1].verdict == "not run"


def test_holm_of_two_is_called_as_its_adjusted_p_values_say() -> None:
    strong, weak = [1.0, 1.2, 0.8, 1.1, 0.9], [1.0, 2.0, 0.0, 1.5, 0.5]
    claims = [
        replace(CLAIM, id="strong", arm="strong", family="f"),
        replace(CLAIM, id="weak", arm="weak", family="f"),
    ]
    found = judge(claims, runs(strong, "strong") + runs(weak, "weak") + plain_runs())
    # The smaller p is tested at half the level, and once it is rejected the other at the whole one.
    for verdict, effects, share in zip(found, (strong, weak), (2, 1), strict=True):
        p = stats.ttest_1samp(effects, 0.0, alternative="greater").pvalue
        assert p <= 0.025 / share
        assert verdict.verdict == "supported"
        assert verdict.low == pytest.approx(t_interval(effects, 1 - 0.05 / share).low)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"method_version": 1}, "method version"),
        ({"data_fingerprint": "other"}, "data fingerprint"),
        ({"metrics": {"accuracy": 1.0}}, "no metric 'miou'"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(
    change: dict[str, Any], complaint: str
) -> None:
    records = runs([1.0] * 5) + plain_runs()
    records[1] = run("feature", 1, 62.0, **change)
    with pytest.raises(UserError, match=complaint):
        judge([CLAIM], records)


def test_two_records_of_one_run_are_refused() -> None:
    with pytest.raises(UserError, match="two records of study equal_time, arm plain, seed 0"):
        judge([CLAIM], plain_runs() + plain_runs())


@pytest.mark.parametrize(
    "change",
    [{"seeds": ()}, {"seeds": (0, 0)}],
)
def test_a_claim_that_makes_no_sense_cannot_be_written(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="feature-beats-plain"):
        replace(CLAIM, **change)
    with pytest.raises(ValueError, match="margin"):
        non_inferiority(0.0)
    with pytest.raises(ValueError, match="share one id"):
        judge([CLAIM, CLAIM], [])


def test_verdict_table_says_seeds_data_points_and_the_detectable_effect() -> None:
    claims = [CLAIM, replace(CLAIM, id="shuffled", arm="shuffled", negative_control=True)]
    verdicts = judge(claims, runs([1.0, 1.2, 0.8, 1.1, 0.9]) + plain_runs())
    table = verdict_table(claims, verdicts, "equal-time", "Equal time", "rendered digits")
    text = table.to_markdown()
    assert "| effect (mIoU points) |" in text
    assert "supported" in text
    assert "(negative control)" in text
    assert "- Data: rendered digits." in text
    assert "seeds 0 1 2 3 4; effects +1.00, +1.20, +0.80, +1.10, +0.90." in text
    assert "not run: shuffled seed 0" in text
    assert "longer half" in text
    with pytest.raises(ValueError, match="one unit"):
        verdict_table([claims[0], replace(claims[1], unit="s")], verdicts, "t", "t", "d")
