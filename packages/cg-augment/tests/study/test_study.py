"""The studies: every hop is an import, keys differ, and a run goes from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from cg_augment.cli import PAPER
from cg_augment.study.costs import passes
from repro_shared.evidence.cells import read_cells
from repro_shared.study.command import main
from repro_shared.study.keys import recipe_key
from repro_shared.study.results import Results
from repro_shared.study.trip import broken


@pytest.mark.parametrize("recipe", PAPER.recipes, ids=lambda recipe: recipe.name)
def test_hops_and_keys(recipe) -> None:  # type: ignore[no-untyped-def]
    for scale in recipe.scales:
        study = recipe.make(scale)
        assert not [line for arm in study.arms for line in broken(recipe, arm)]
        # A key has two halves: the recipe's, and that of the data.
        keys = {(recipe_key(PAPER, arm), study.source(arm)) for arm in study.arms}
        assert len(keys) == len(study.arms)


def test_from_nothing_to_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "--scale", "smoke", "--out", str(tmp_path)]
    assert main(PAPER, command) == 0
    said = capsys.readouterr().out
    assert "Passes of the networks for one image" in said
    assert "What each engine makes in the exact mixture" in said
    assert sorted(path.stem for path in (tmp_path / "tables").iterdir()) == [
        "engines-on-the-mixture", "passes", "shapes-on-grounds-smoke",
        "students-of-the-mixture-smoke",
    ]  # fmt: skip
    assert main(PAPER, [*command, "--plan"]) == 0
    assert "together 0 runs to make" in capsys.readouterr().out


def test_passes_are_those_of_the_arithmetic() -> None:
    study = next(r.make("cpu") for r in PAPER.recipes if r.name == "passes_by_engine")
    rows = {row[0]: row[1:] for row in passes(Results(PAPER, study, [], Path())).rows}
    assert rows["unguided"] == (20, 0, 1.0, 1.0, 1, 0)
    assert rows["best of 8"] == (160, 0, 8.0, 8.0, 8, 0)
    assert rows["stepwise, last 12 steps"] == (20, 12, 1.6, 1.72, 13, 12)
    assert rows["chain, 20 rounds"] == (820, 400, 61.0, 65.0, 141, 60)


def test_reported_cells_are_those_that_are_known() -> None:
    cells = read_cells(PAPER.source / "tables" / "reported.csv")
    assert {(cell.row, cell.column): cell.value for cell in cells} == {
        ("teacher (CLIP)", "worst group"): 66.7,
        ("distillation alone (EDRM)", "worst group"): 15.2,
        ("CutMix distilled", "worst group"): 38.9,
        ("ConfiG", "worst group"): 66.1,
        ("teacher (CLIP)", "group mean"): 94.6,
    }
    assert {cell.status for cell in cells} == {"second-hand"}
    # The four groups' unweighted mean cannot be what was quoted as the group mean.
    assert 94.6 > (66.7 + 3 * 100) / 4
