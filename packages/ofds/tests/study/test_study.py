"""The studies: every hop is an import, all selectors pay alike, and a run goes from end to end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ofds.cli import PAPER
from ofds.method.budget import Budget
from ofds.study import readme, stages, tables
from ofds.study.claims import SEEDS
from ofds.study.selectors import SELECTORS, chosen
from ofds.study.world import World, draw
from repro_shared.evidence.records import Origin, RunRecord
from repro_shared.study.command import main
from repro_shared.study.keys import recipe_key
from repro_shared.study.results import Results
from repro_shared.study.trip import broken

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record_of(study: str, arm: str, seed: int, metrics: dict[str, float]) -> RunRecord:
    origin = Origin(method_version=1, data_name="d", data_fingerprint="f", provenance={})
    return RunRecord(
        study=study, arm=arm, seed=seed, key="k", config="c", metrics=metrics, origin=origin,
        status="complete", seconds=1.0, samples=1, macs=None, peak_memory_mb=None, started=NOW,
        finished=NOW, notes="",
    )  # fmt: skip


@pytest.mark.parametrize("recipe", PAPER.recipes, ids=lambda recipe: recipe.name)
def test_hops_and_claims(recipe) -> None:  # type: ignore[no-untyped-def]
    for scale in recipe.scales:
        study = recipe.make(scale)
        assert not [line for arm in study.arms for line in broken(recipe, arm)]
        runs = {(recipe_key(PAPER, arm), study.source(arm)) for arm in study.arms}
        assert len(runs) == len(study.arms)
        known = {arm.id for arm in study.arms}
        assert all({claim.arm, claim.rival} <= known for claim in study.claims)
    claims = recipe.make("cpu").claims
    assert sum(claim.negative_control for claim in claims) == int("balanced" in recipe.name)


@pytest.mark.parametrize(("gain", "failed"), [(5.0, True), (0.0, False)])
def test_a_control_that_failed_is_said(gain: float, failed: bool) -> None:
    study = next(r for r in PAPER.recipes if r.name == "selection_balanced").make("cpu")
    records = list[RunRecord]()
    for arm in study.arms:
        for seed in SEEDS:
            value = 50 + gain * (arm.name == "OFDS") + 0.1 * (seed + len(arm.name)) % 0.3
            metrics = {f"accuracy/{amount} objects": value for amount in (150, 600)}
            records.append(record_of(study.name, arm.id, seed, metrics))
    results = Results(PAPER, study, records, Path("nowhere"))
    assert (readme.FAILED in readme.beats(results, "a balanced pool")) == failed
    for make in (tables.by_objects, tables.by_images):
        notes = make(Results(PAPER, study, [], Path("nowhere"))).notes
        assert any("by construction" in note for note in notes)


def test_a_tie_is_claimed_as_equivalence() -> None:
    there, back = next(r for r in PAPER.recipes if r.name == "cells_bccd").make("cpu").claims
    assert (there.arm, there.rival) == (back.rival, back.arm)
    assert {(each.kind, each.bound, each.family) for each in (there, back)} == {
        ("non-inferiority", -2.0, None)
    }


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_spends_the_same(selector: str) -> None:
    drawn = draw(World(zipf=1.3, images=150, test=5), 100)
    for budget in (Budget(60), Budget(20, "images")):
        order = chosen(selector, drawn, budget, 0)
        assert order == chosen(selector, drawn, budget, 0)
        found = stages.scored(drawn, order, budget)
        assert found[budget.unit] == budget.amount
        assert 0 < found["covered"] <= 12


def test_accuracy_is_that_of_five_neighbours() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    drawn = draw(World(images=200, test=30), 100)
    have = np.arange(len(drawn.truth)) % 3 == 0
    x = np.asarray(drawn.truth.features)[drawn.truth.row[have]]
    theirs = KNeighborsClassifier(5).fit(x, drawn.truth.label[have])
    expected = 100 * theirs.score(drawn.test_features, drawn.test_labels)
    assert stages.accuracy(drawn, have) == pytest.approx(expected, abs=3)  # ties differ


def test_from_nothing_to_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "--scale", "smoke", "--seeds", "0", "--table", "selection_long_tail"]
    assert main(PAPER, [*command, "--out", str(tmp_path)]) == 0
    assert "at equal cost in objects" in capsys.readouterr().out
    assert main(PAPER, [*command, "--out", str(tmp_path), "--plan"]) == 0
    assert "together 0 runs to make" in capsys.readouterr().out
    tables = sorted(path.stem for path in (tmp_path / "tables").iterdir())
    assert tables == ["selection-long-tail-smoke-images", "selection-long-tail-smoke-objects"]
    assert main(PAPER, ["reproduce", "--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "read no data" in capsys.readouterr().err
