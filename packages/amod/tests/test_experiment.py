"""Recipes run whole at the smoke scale; arms, claims and tables fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from amod.method.flops import routed_macs
from amod.study.claims import cells_of, claims_of
from amod.study.experiment import open_experiment, run_missing, runs
from amod.study.generate import generate
from amod.study.recipes import (
    Arm,
    Recipe,
    aligned_arms,
    control_arms,
    find_recipe,
    finetune_arms,
    isoflop_arms,
    routing_digits,
)
from amod.study.report import tables, write_report
from amod.study.reproduce import describe, reproduce
from amod.study.results import load_results
from amod.study.stages import build, dense_path, macs, new_model
from repro_shared.evidence.records import read_records
from repro_shared.runtime.errors import UserError


@pytest.fixture(scope="module")
def tiny() -> Recipe:
    recipe = find_recipe("digits", "smoke")
    return replace(recipe, data=replace(recipe.data, train_length=32, test_length=12))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe) -> tuple[Path, int]:
    """Output folder of all stages, controls too, with one seed; and how many runs were made."""
    out = tmp_path_factory.mktemp("whole")
    return out, run_missing(open_experiment(tiny, out), (0,), controls=True)


def test_digits_from_nothing_to_a_report(whole_run: tuple[Path, int], tiny: Recipe) -> None:
    out, made = whole_run
    records = read_records(out, tiny.name)
    todo = list(runs(tiny, controls=True))
    assert made == len(records) == len(todo)
    assert {r.arm for r in records} == {run.name for run, _ in todo}
    assert all(r.status == "complete" for r in records)
    by_arm = {r.arm: r for r in records}
    assert by_arm["convert-attention"].metrics.keys() >= {"accuracy/0.5", "retained/0.125"}
    assert "auc" in by_arm["finetune-attention-0.25"].metrics
    # All 12 test pictures: there the oracle's references are what the conversions found.
    oracle, whole = by_arm["convert-oracle"].metrics, by_arm["convert-attention"].metrics
    assert oracle["pictures"] == 12
    assert oracle["dense"] == pytest.approx(by_arm["dense"].metrics["accuracy"])
    for capacity in ("0.7", "0.5", "0.25", "0.125"):
        assert oracle[f"attention/{capacity}"] == pytest.approx(whole[f"accuracy/{capacity}"])
    scratch = by_arm["scratch-attention-0.25"]
    assert scratch.samples_seen == by_arm["dense"].samples_seen
    assert scratch.metrics["loss"] != by_arm["dense"].metrics["loss"]
    flops = by_arm["finetune-attention-0.25"].flops
    assert flops is not None
    assert flops["forward"] == routed_macs(tiny.network.shape, 0.25)
    assert by_arm["transfer-attention-0.25"].data_name == "cluttered digits 5-9"
    experiment = open_experiment(tiny, out)
    assert run_missing(experiment, (0,), controls=True) == 0  # nothing is left to do
    results = load_results(tiny, out)
    assert results is not None
    found = {table.id: table for table in tables(results)}
    assert found.keys() == {
        "conversion-digits", "finetune-digits", "transfer-digits", "importance-digits",
        "scratch-digits",
    }  # fmt: skip
    assert found["finetune-digits"].rows[0][0] == "dense"
    labels = [row[0] for row in found["conversion-digits"].rows]
    assert labels[-3:] == ["aligned", "attention, first 12", "oracle, first 12"]
    # Another recipe: its records are made anew, the others are stale.
    changed = replace(tiny, finetune=replace(tiny.finetune, steps=1))
    stale = load_results(changed, out)
    assert stale is not None
    assert (len(stale.records), stale.stale) == (0, len(records))


def test_tuning_gives_every_router_the_same_tries(tmp_path: Path) -> None:
    recipe = find_recipe("digits-tuning", "smoke")
    assert recipe.data.test_split == "val"
    recipe = replace(recipe, data=replace(recipe.data, train_length=16, test_length=8))
    run_missing(open_experiment(recipe, tmp_path), (100,))
    results = load_results(recipe, tmp_path)
    assert results is not None
    assert len(results.records) == 1 + 8 * 3  # the dense model, eight routers, three rates
    tried = {run.name: run for run, _ in runs(recipe) if run.schedule}
    assert len({r.samples_seen for r in results.records if r.arm in tried}) == 1
    for name, run in tried.items():
        assert run.schedule is not None
        assert name.endswith(f"-{run.schedule.learning_rate:g}")
    losses = {r.arm: r.metrics["loss"] for r in results.records}
    assert losses["try-attention-0.0001"] != losses["try-attention-0.001"]
    (made,) = write_report(results, tmp_path)
    assert made.id == "tuning-digits"
    for router, *accuracies, best in made.rows[:-1]:
        assert best in ("0.0001", "0.0003", "0.001"), router
        assert accuracies[recipe.tries.index(float(best))] == max(accuracies)
    assert {row[0] for row in made.rows[:-1]} == {name for name, _ in routing_digits().rates}


def test_runs_repeat_to_the_bit_and_survive_lost_weights(tmp_path: Path, tiny: Recipe) -> None:
    small = replace(tiny, target=None, transfer=None, ablated=0.0)
    metrics = []
    for name in ("one", "two"):
        experiment = open_experiment(small, tmp_path / name)
        run_missing(experiment, (3,))
        path = dense_path(experiment, 3)
        if name == "one":
            weights = path.read_bytes()
        else:
            assert path.read_bytes() == weights
        metrics.append({r.arm: r.metrics for r in read_records(tmp_path / name, small.name)})
        path.unlink()
        for arm in ("convert-random", "finetune-linear-0.25"):
            (tmp_path / name / "records" / small.name / arm / "seed-3.json").unlink()
        assert run_missing(experiment, (3,)) == 2
        again = {r.arm: r.metrics for r in read_records(tmp_path / name, small.name)}
        assert again == metrics[-1]
    assert metrics[0] == metrics[1]


def test_photographs_in_class_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in "abcdefghij":
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    out = tmp_path / "out"
    reproduce("cifar10", "smoke", out, str(tmp_path / "data"), (0,))
    assert "accuracy after" in capsys.readouterr().out
    assert (out / "tables" / "conversion-cifar10.csv").is_file()
    assert (out / "figures" / "conversion-cifar10.svg").is_file()
    generate(out, check=False)
    assert "no longer generated" not in capsys.readouterr().err
    assert generate(out, check=True) == []
    with pytest.raises(UserError, match="needs its data"):
        reproduce("cifar10", "smoke", out, None, (0,))
    recipe = find_recipe("cifar10-tuning", "smoke")
    tuning = open_experiment(recipe, out, str(tmp_path / "data"))
    assert (len(tuning.train), len(tuning.test)) == (32, 8)  # four fifths and one of `train`
    halves = [{p.tobytes() for p in part.pixels} for part in (tuning.train, tuning.test)]
    assert not halves[0] & halves[1]
    assert len(set.union(*halves)) == 40
    pictures = open_experiment(find_recipe("cifar10", "smoke"), out, str(tmp_path / "data")).test
    assert len(set(pictures.targets[:6].tolist())) > 3  # mixed, not sorted by class
    for part in ("train", "test"):
        (tmp_path / "data" / part / "k").mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / part / "k" / "0.png")
    with pytest.raises(UserError, match="must have the same 10 classes"):
        reproduce("cifar10", "smoke", out, str(tmp_path / "data"), (1,))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown table 'table1'"):
        reproduce("table1", "cpu", tmp_path, None, ())
    with pytest.raises(UserError, match="no scale 'paper'"):
        reproduce("digits", "paper", tmp_path, None, ())
    with pytest.raises(UserError, match="seeds must be distinct"):
        reproduce("digits", "smoke", tmp_path, None, (1, 1))
    text = describe(find_recipe("cifar10", "cpu"), tmp_path, None, (0, 1), controls=True)
    assert "needs --data DIR" in text
    assert "finetune-attention-0.125" in text


def test_every_claim_names_runs_and_metrics_that_exist(
    whole_run: tuple[Path, int], tiny: Recipe
) -> None:
    written: dict[str, set[str]] = {}  # by stage
    for record in read_records(whole_run[0], tiny.name):
        written.setdefault(record.arm.partition("-")[0], set()).update(record.metrics)
    for table in ("digits", "cifar10"):
        recipe = find_recipe(table, "cpu")
        names = {run.name for run, _ in runs(recipe, controls=True)}
        claims = claims_of(recipe.name)
        assert len({claim.id for claim in claims}) == len(claims)
        for claim in claims:
            assert {claim.arm, claim.rival} <= names, claim.id
            for arm in (claim.arm, claim.rival):
                assert claim.metric in written[arm.partition("-")[0]], claim.id
                if claim.metric == "spearman" and arm.startswith("finetune"):
                    assert arm.removeprefix("finetune-") in recipe.examined
        assert sum(claim.negative_control for claim in claims) == 1
    assert "table3/deit-small-a-mod/top-1-at-50/imagenet-1k" in cells_of("table3")
    assert len(cells_of("table1", "at 50 %")) == 4


def test_arms_cost_what_they_should() -> None:
    recipe = find_recipe("digits", "cpu")
    network = recipe.network
    dense = macs(Arm("dense"), network.shape)
    for capacity in recipe.finetuned:
        ours = macs(Arm("a", "attention", capacity), network.shape)
        cut = [*isoflop_arms(network, capacity), *isoflop_arms(network, capacity, larger=True)]
        costs = sorted({macs(arm, network.shape) for arm in cut})
        assert costs[-1] >= ours  # the larger isoFLOP model is no cheaper
        assert all(abs(cost / ours - 1) < 0.25 for cost in costs)
        assert ours < dense
    for arm in [*finetune_arms(recipe), *control_arms(recipe)]:
        model = build(arm, new_model(network), 0)
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, network.classes)
    aligned = aligned_arms(recipe)
    assert [arm.capacity for arm in aligned] == [0.7]  # of 65 tokens 32, 16 and 8 are aligned
    assert build(aligned[0], new_model(network), 0).routing.kept(65) == 40
    assert {recipe.rate(arm) for arm in control_arms(recipe)} <= {r for _, r in recipe.rates}


def test_learned_routers_begin_alike_whatever_ran_before() -> None:
    network = find_recipe("digits", "smoke").network
    weights: list[Any] = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        model = build(Arm("linear", "linear", 0.5), new_model(network), 7)
        weights.append(model.routers["1"].weight)
    assert torch.equal(*weights)
