"""Tuning: as many tries for each loss, the two best again; final runs take the best mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clip_distill.cli import PAPER
from clip_distill.study import freeze, recipes, tuned
from clip_distill.study.arms import CAPTIONS, FEATURE, LABEL, RATE
from clip_distill.study.scoring import SEEN
from clip_distill.study.tuned import Try
from clip_distill.study.tuning import FIRST, RATES, TUNINGS, by_try, named, tries
from repro_shared.study.command import main
from repro_shared.study.paper import Study
from repro_shared.study.results import Results


@dataclass
class Record:
    """As much of a run as is read here."""

    arm: str
    seed: int
    metrics: dict[str, float]
    status: str = "complete"


def test_every_loss_has_as_many_tries_and_no_final_seed() -> None:
    for tuning in TUNINGS.values():
        counts = {
            len(tries(loss, tuning.rates)) for each in tuning.losses.values() for loss in each
        }
        assert counts == {5 * len(tuning.rates)}
        assert len(set(tries(FEATURE, tuning.rates))) == 5 * len(tuning.rates)
        assert not {*FIRST, *tuning.further} & {0, 1, 2, 3, 4}
        assert set(tuning.again({}).seeds) == set(tuning.further)
    assert CAPTIONS in TUNINGS["confounded_objects"].losses["confounding 1"]


def _results(study: Study, value: Any) -> Results:
    records: list[Any] = [
        Record(arm.id, seed, {SEEN: value(arm.name, seed)})
        for arm in study.arms
        for seed in study.seeds
    ]
    return Results(PAPER, study, records, Path())


def test_the_two_best_go_on_and_the_best_mean_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = Try(0.1, RATE), Try(0.3, RATE), Try(1.0, 5e-4)
    first = {named(LABEL, one, "confounding 1"): 50.0, named(LABEL, two, "confounding 1"): 49.0,
             named(LABEL, three, "confounding 1"): 48.0}  # fmt: skip

    def value(name: str, seed: int) -> float:
        if seed in FIRST:
            return first.get(name, 10.0)
        return 60.0 if name == named(LABEL, two, "confounding 1") else 40.0

    def load(paper: Any, study: Study, out: Path) -> Results:
        found = _results(study, value)
        if study.name.startswith("coarse"):
            found.records = []
        if study.name == "confounded_photographs_tuning":
            found.records = found.records[:-1]  # one try of the last loss is lacking
        if study.name == "confounded_photographs_tuning_again":
            found.records = []
        return found

    file = tmp_path / "tuned.json"
    monkeypatch.setattr(freeze, "load_results", load)
    monkeypatch.setattr(freeze, "FILE", file)
    monkeypatch.setattr(tuned, "FILE", file)
    assert main(PAPER, ["freeze", "--out", str(tmp_path)]) == 0
    assert "confounded_objects, confounding 1: first, chosen" in capsys.readouterr().out
    made = json.loads(file.read_text())
    assert "coarse_digits" not in made
    assert "chosen" not in made["confounded_photographs"]["confounding 0"]
    assert "teacher's logits" not in made["confounded_photographs"]["confounding 0"]["first"]
    assert tuned.shortlist("confounded_objects", "confounding 1")[LABEL] == (one, two)
    assert tuned.chosen("confounded_objects", "confounding 1")[LABEL] == two
    study = recipes.confounded_objects("cpu")
    by_name = {arm.name: arm.config for arm in study.arms}
    for name in ("class cross-entropy, confounding 1", "class cross-entropy, confounding 0.98"):
        assert by_name[name].objective.temperature == 0.3
        assert by_name[name].training.learning_rate == RATE
    assert by_name["class cross-entropy, confounding 0"].objective.temperature == 0.01
    assert study.data.missing(None) == []
    assert recipes.coarse_digits("cpu").data.missing(None)


def test_a_control_that_tuning_chose_is_left_out_with_its_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "FILE", tmp_path / "tuned.json")
    losses = recipes.TUNED["confounded_objects"]["confounding 1"]
    names = {"chosen": {loss: [None if loss == FEATURE else 0.01, RATE] for loss in losses}}
    groups = {"confounding 1": names, "confounding 0": names}
    (tmp_path / "tuned.json").write_text(json.dumps({"confounded_objects": groups}))
    study = recipes.confounded_objects("cpu")
    known = {arm.name for arm in study.arms}
    assert "class cross-entropy at 0.01, confounding 1" not in known
    assert "class cross-entropy at 1, confounding 1" in known
    assert not [claim for claim in study.claims if "at-0-01" in claim.id]


def test_the_table_has_every_try() -> None:
    study = TUNINGS["coarse_digits"].first("cpu")
    rows = by_try(_results(study, lambda name, seed: 33.0)).rows
    assert len(rows) == 4 * 5
    assert rows[0][:3] == ("L2", "rate 0.0005, confounding 1", 33.0)
    assert len(tries(FEATURE, RATES)) == 10


@pytest.mark.parametrize("name", ["coarse_digits_tuning"])
def test_a_tuning_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "--scale", "smoke", "--table", name, "--out", str(tmp_path)]
    assert main(PAPER, command) == 0
    assert "tries" in capsys.readouterr().out
