"""Tables, figures and verdicts of the studies with detectors, from records made up here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ofds.cli import PAPER
from ofds.study import autolabel_tables
from ofds.study import detection_figures as figures
from ofds.study import detection_tables as tables
from ofds.study.active_recipes import active_learning, by_round
from ofds.study.detection import Detect
from ofds.study.detection_claims import FEWER, SEEDS
from ofds.study.detection_recipes import (
    autolabels,
    detection_balanced,
    detection_long_tail,
    detection_long_tail_complex,
)
from ofds.study.detection_voc_recipes import detection_voc
from repro_shared.evidence.figures import house_style, save_figure
from repro_shared.evidence.records import Origin, RunRecord
from repro_shared.study.paper import Study
from repro_shared.study.results import Results

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def results(study: Study, seeds: tuple[int, ...]) -> Results:
    """AP50 grows with the objects paid for; OFDS is 5 points ahead, autolabels lie at 30."""
    records = list[RunRecord]()
    for arm in study.arms:
        for seed in seeds if arm.seed is None else (arm.seed,):
            config, noise = arm.config, 0.1 * np.random.default_rng(seed).normal()
            share = getattr(config, "share", None)
            bought = 600.0 if share is None else 3000 * share
            value = 10 * np.log10(1 + bought) + 5 * ("OFDS" in arm.name)
            if share == 0:
                value = 30.0
            metrics = {"ap50": float(value + noise), "ap": 9.0, "rare_ap50": 3.0, "objects": bought,
                       "images": 50.0, "pixels": 1e4, "covered": 9.0, "auc": float(value),
                       "recall": 70.0, "precision": 60.0}  # fmt: skip
            records.append(
                RunRecord(
                    study=study.name, arm=arm.id, seed=seed, key="k", config="c", metrics=metrics,
                    origin=Origin(method_version=1, data_name="d", data_fingerprint="f",
                                  provenance={}),
                    status="complete", seconds=1.0, samples=1, macs=None, peak_memory_mb=None,
                    started=NOW, finished=NOW, notes="",
                )
            )  # fmt: skip
    return Results(PAPER, study, records, Path("nowhere"))


def test_every_row_says_what_it_costs() -> None:
    found = results(detection_long_tail("cpu"), SEEDS)
    for make in (tables.by_objects, tables.by_images):
        table = make(found)
        names = [column.name for column in table.columns]
        for row in table.rows:
            cells = dict(zip(names, row, strict=True))
            assert cells["objects"] == 600
            assert cells["images"] == 50
            assert cells["pixels"] == 10
            assert cells["annotation"] == pytest.approx(600 * 35 / 3600)
            assert cells["classes without an object"] == 1
    rows = {(row[0], row[1]): row for row in tables.by_objects(found).rows}
    over = rows["OFDS", "150 objects"][5]
    assert over.mean == pytest.approx(5)  # type: ignore[union-attr]
    assert rows["random", "150 objects"][5] is None
    assert len(tables.of_proposals(found).rows) == 11
    for make in (tables.by_objects, tables.by_images, tables.verdicts):
        assert any("not other pools, tests or proposers" in note for note in make(found).notes)


def test_verdicts_of_selectors() -> None:
    found = results(detection_long_tail("cpu"), SEEDS)
    said = {claim.id: found.verdict(claim).verdict for claim in found.study.claims}
    tag = "detection-long-tail-"
    assert said[f"{tag}ofds-150-objects-beats-random-150-objects"] == "supported"
    assert said[f"{tag}image-k-centre-150-objects-beats-random-150-objects"] == "inconclusive"
    few = results(detection_long_tail("cpu"), SEEDS[:5])
    assert {few.verdict(claim).verdict for claim in few.study.claims} != {"supported"}
    controls = [c for c in detection_balanced("cpu").claims if c.negative_control]
    assert [(c.arm, c.rival) for c in controls] == [("ofds-600-objects", "random-600-objects")]


def test_ten_seeds_for_the_first_table_and_five_elsewhere() -> None:
    made = (detection_long_tail, detection_long_tail_complex, detection_balanced, autolabels)
    seeds = {make.__name__: {claim.seeds for claim in make("cpu").claims} for make in made}
    assert seeds.pop("detection_long_tail") == {tuple(range(10))}
    assert set().union(*seeds.values()) == {tuple(range(5))}


def test_what_autolabels_are_worth() -> None:
    found = results(autolabels("cpu"), FEWER)
    rate = autolabel_tables.rate(found, "simple")
    assert len(rate.shares) == len(FEWER)
    assert rate.below == rate.above == 0
    # 10 log10(1 + 3000 s) = 30 at s = 0.333; interpolated in the logarithm
    assert rate.interval is not None
    assert rate.interval.mean == pytest.approx(33.3, abs=1)
    rows = autolabel_tables.exchange(found).rows
    assert [row[:2] for row in rows[:2]] == [
        ("simple", "autolabels only"), ("simple", "pre-trained, 5 % people"),
    ]  # fmt: skip
    assert len(rows) == 2 * (1 + 2 * 4)
    assert "joint, 40 % people" in [row[1] for row in rows]
    assert "worth 33 % of people's labels" in autolabel_tables.worth(found)[0]
    said = autolabel_tables.worth(results(autolabels("cpu"), FEWER[:-1]))[0]
    assert said.endswith("cannot be said yet: 4 of 5 seeds have been run.")
    low = results(autolabels("cpu"), FEWER)
    for record in low.records:
        if record.arm == "complex-autolabels-only":
            record.metrics["ap50"] = 1.0
    assert autolabel_tables.rate(low, "complex").below == len(FEWER)
    assert autolabel_tables.rate(low, "complex").shares == (5.0,) * len(FEWER)
    said = autolabel_tables.worth(low)[1]
    assert "worth at most 5 % of people's labels" in said
    assert "5 of 5 seeds lie outside the curve" in said


def test_shares_are_averaged_in_the_logarithm() -> None:
    found = autolabel_tables.Rate((5.0, 20.0, 80.0, 20.0, 20.0), 0, 0).interval
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.mean == pytest.approx(20)
    assert found.high / found.mean == pytest.approx(found.mean / found.low)  # even in the logarithm


@pytest.mark.parametrize(
    ("below", "above", "words"),
    [(0, 0, "20 %"), (1, 0, "at most 20 %"), (0, 5, "at least 20 %"), (1, 1, "about 20 %")],
)
def test_one_seed_outside_the_curve_makes_a_bound(below: int, above: int, words: str) -> None:
    found = autolabel_tables.Rate((5.0, 20.0, 80.0, 20.0, 20.0), below, above)
    assert found.words == words
    assert found.interval is not None
    assert (found.interval.low is None) == bool(below or above)


def test_both_forms_are_worth_the_share_that_reaches_their_score() -> None:
    found = results(autolabels("cpu"), FEWER)
    scores = {r.seed: r.metrics["ap50"] for r in found.records if r.arm == "simple-20-people"}
    for record in found.records:
        if record.arm == "simple-joint-5-people":
            record.metrics["ap50"] = scores[record.seed]
    rows = {row[1]: row for row in autolabel_tables.exchange(found).rows if row[0] == "simple"}
    worth = rows["joint, 5 % people"][2]
    assert worth.mean == pytest.approx(20)  # type: ignore[union-attr]


@pytest.mark.parametrize("study", [autolabels("cpu"), detection_voc("paper")])
def test_all_train_equally_long(study: Study) -> None:
    for arm in study.arms:
        before = [a.config.training.steps for a in arm.starts_from if hasattr(a.config, "training")]
        if hasattr(arm.config, "training") and not arm.name.endswith("pre-training"):
            total = arm.config.training.steps + sum(before)
            assert total == (600 if study.name == "autolabels" else 12_000)


def test_nothing_run_yet() -> None:
    for study in (autolabels("cpu"), detection_long_tail("cpu"), active_learning("cpu")):
        empty = Results(PAPER, study, [], Path("nowhere"))
        assert all(make(empty).rows for make in study.tables)
    assert (
        "not been tried" in autolabel_tables.worth(Results(PAPER, autolabels("cpu"), [], Path()))[0]
    )


@pytest.mark.parametrize("seeds", [(), FEWER])
def test_figures(seeds: tuple[int, ...], tmp_path: Path) -> None:
    for study in (autolabels("cpu"), detection_long_tail("cpu")):
        for draw in study.figures:
            with house_style():
                name, figure = draw(results(study, seeds))
            text = save_figure(figure, tmp_path / name).read_text()
            assert text.count("<path") > 20
    assert figures.exchange in autolabels("cpu").figures


def test_a_figure_of_an_unfinished_study_says_how_many_seeds(tmp_path: Path) -> None:
    study = detection_long_tail("cpu")
    for few, said in ((0, "3 seeds"), (1, "2 to 3 seeds")):
        whole = results(study, (0, 1, 2))
        last = study.arms[-1].id
        kept = [r for r in whole.records if not (few and r.arm == last and r.seed == 2)]
        with house_style():
            name, figure = figures.gains(Results(PAPER, study, kept, Path("nowhere")))
        assert f". {said}; means" in save_figure(figure, tmp_path / name).read_text()


def test_rounds() -> None:
    table = by_round(results(active_learning("cpu"), FEWER))
    assert len(table.rows) == 14
    assert len(table.columns) == 9


def test_shares_of_people_are_in_order() -> None:
    found = results(autolabels("cpu"), FEWER)
    arms = autolabel_tables.people(found, "complex")
    assert [arm.config.share for arm in arms] == [0.05, 0.1, 0.2, 0.4, 1.0]
    assert all(isinstance(arm.config, Detect) for arm in arms)
