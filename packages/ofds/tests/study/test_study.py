"""The studies: every hop is an import, all selectors pay alike, and a run goes from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ofds.cli import PAPER
from ofds.method.budget import Budget
from ofds.study import stages
from ofds.study.selectors import SELECTORS, chosen
from ofds.study.world import World, draw
from repro_shared.study.command import main
from repro_shared.study.keys import recipe_key
from repro_shared.study.trip import broken


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
    controls = 3 if recipe.name == "cells_bccd" else int("balanced" in recipe.name)
    assert sum(claim.negative_control for claim in claims) == controls


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
