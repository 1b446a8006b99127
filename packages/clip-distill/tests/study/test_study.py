"""The studies: every hop is an import, keys differ, and a run goes from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_distill.cli import PAPER
from clip_distill.study import tuned
from clip_distill.study.parameters import parameters
from clip_distill.use.evaluate_command import reported
from clip_distill.use.original_sets import LAYOUTS
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
        keys = {(recipe_key(PAPER, arm), study.source(arm)) for arm in study.arms}
        assert len(keys) == len(study.arms)


def test_a_final_study_refuses_to_run_untuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "tuned.json"
    empty.write_text("{}")
    monkeypatch.setattr(tuned, "FILE", empty)
    for name in ("confounded_objects", "coarse_digits", "coarse_digits_tuning_again"):
        command = ["reproduce", "--table", name, "--out", str(tmp_path / "out")]
        assert main(PAPER, command) == 2
        assert "tune first: --table" in capsys.readouterr().err
        assert not list((tmp_path / "out").rglob("runs.jsonl"))
        assert main(PAPER, [*command, "--plan"]) == 0
        assert "tune first" in capsys.readouterr().out


def test_from_nothing_to_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "--scale", "smoke", "--out", str(tmp_path)]
    assert main(PAPER, command) == 0
    kept = {path.parents[1].name for path in (tmp_path / "work").rglob("student.safetensors")}
    assert {"stage-1", "l2-confounding-1", "vision-language-captions-confounding-1"} <= kept
    said = capsys.readouterr().out
    assert "zero-shot accuracy by loss" in said
    assert "fewer than its image tower" in said
    assert main(PAPER, [*command, "--plan"]) == 0
    assert "together 0 runs to make" in capsys.readouterr().out
    assert sorted(path.stem for path in (tmp_path / "tables").iterdir()) == [
        "coarse-digits-smoke",
        "confounded-objects-smoke",
        "confounded-objects-smoke-amount",
        "confounded-objects-smoke-confounding",
        "confounded-objects-smoke-unseen",
        "parameters",
    ]


def test_the_abstracts_share_counts_the_whole_teacher() -> None:
    study = next(r.make("cpu") for r in PAPER.recipes if r.name == "parameter_counts")
    rows = {row[0]: row for row in parameters(Results(PAPER, study, [], Path())).rows}
    _, own, whole, tower = rows["tiny_vit_11m_224"]
    assert (round(own, 2), round(whole, 1), round(tower, 1)) == (10.78, 92.9, 87.7)  # type: ignore[arg-type]


def test_reported_cells_are_those_that_were_read() -> None:
    cells = read_cells(PAPER.source / "tables" / "reported.csv")
    by_set = {cell.dataset: [c.value for c in cells if c.dataset == cell.dataset] for cell in cells}
    assert by_set == {
        "Oxford Pets": [87.5, 66.7], "Flowers-102": [68.3, 39.1], "Stanford Cars": [81.9, 64.2],
        "Food-101": [71.9, 28.0], "FGVC Aircraft": [24.3, 17.1], "DTD": [47.4, 38.8], "": [92.0],
    }  # fmt: skip
    assert {cell.status for cell in cells} == {"authors-repository", "abstract"}
    found = [reported(layout.title)[0][1] for layout in LAYOUTS.values()]
    assert sorted(found) == [24.3, 47.4, 68.3, 71.9, 81.9, 87.5]  # type: ignore[type-var]
