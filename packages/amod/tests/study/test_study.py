"""Studies run whole at the smoke scale; arms, keys, claims and tables fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from amod.cli import PAPER
from amod.method.flops import routed_macs
from amod.study import recipes, tables
from amod.study.claims import cells_of, depths, find
from amod.study.configs import (
    LEARNED,
    Converted,
    Finetuned,
    Importance,
    Oracle,
    Scratch,
    Transferred,
    Variant,
)
from amod.study.figures import conversion as conversion_figure
from amod.study.recipes import CAPACITIES, Plan, cifar10_plan, digits_plan, routing
from amod.study.stages import build, new_model
from amod.study.tuning import TRIES, by_rate, routing_cifar10_tuning, routing_digits_tuning
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import reproduce_study
from repro_shared.study.keys import recipe_key
from repro_shared.study.paper import Arm, Study
from repro_shared.study.plan import plan
from repro_shared.study.publish import publish
from repro_shared.study.results import load_results
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session
from repro_shared.study.trip import broken

EVERY = PAPER.every_study()


def tiny(study: Study, **lengths: int) -> Study:
    """The study on fewer canvases."""
    data: Any = study.data
    return replace(study, data=replace(data, **lengths))


@pytest.fixture(scope="module")
def study() -> Study:
    return tiny(recipes.routing_digits("smoke"), train_length=32, test_length=12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, study: Study) -> Session:
    """A session in which all stages, controls too, have run with one seed."""
    session = Session(PAPER, study, tmp_path_factory.mktemp("whole"))
    assert run_missing(session, (0,), controls=True) == len(study.arms)
    return session


def test_digits_from_nothing_to_a_report(whole: Session, study: Study) -> None:
    results = load_results(PAPER, study, whole.out)
    assert {r.arm for r in results.records} == {arm.id for arm in study.arms}
    assert all(r.status == "complete" for r in results.records)

    def metrics(kind: type[Any], variant: Variant) -> dict[str, float]:
        (run,) = results.runs(find(study.arms, kind, variant))
        return run.metrics

    assert "auc" in metrics(Finetuned, Variant("attention", 0.25))
    # All 12 test pictures: there the oracle's references are what the conversions found.
    for capacity in CAPACITIES:
        variant = Variant(capacity=capacity)
        oracle = metrics(Oracle, variant)
        assert oracle["pictures"] == 12
        assert oracle["dense"] == pytest.approx(results.values(study.arms[0], "accuracy")[0])
        assert oracle["attention"] == pytest.approx(metrics(Converted, variant)["accuracy"])
    (dense,) = results.runs(study.arms[0])
    (scratch,) = results.runs(find(study.arms, Scratch, Variant("attention", 0.25)))
    assert scratch.samples == dense.samples
    assert scratch.metrics["loss"] != dense.metrics["loss"]
    (tuned,) = results.runs(find(study.arms, Finetuned, Variant("attention", 0.25)))
    assert tuned.macs == routed_macs(tables.shape(results), 0.25)
    (moved,) = results.runs(find(study.arms, Transferred, Variant("attention", 0.25)))
    assert moved.data_name == "cluttered digits 5-9"
    curve = results.curve(moved)
    assert curve["step"] == [1, 2, 3, 4]
    assert sum(map(float, curve["accuracy"])) / 4 == pytest.approx(moved.metrics["area"], 1e-4)  # type: ignore[arg-type]
    assert not results.curve(tuned)  # nothing reads it
    assert run_missing(whole, (0,), controls=True) == 0  # nothing is left to do
    found = {make(results).id: make(results) for make in study.tables}
    assert found.keys() == {
        f"{kind}-digits-smoke"
        for kind in ("conversion", "finetune", "transfer", "importance", "scratch")
    }
    assert found["finetune-digits-smoke"].rows[0][0] == "fine-tuned, dense"
    labels = [row[0] for row in found["conversion-digits-smoke"].rows]
    assert labels[-3:] == [
        "attention, a multiple of 8 tokens", "attention, first 12 pictures",
        "oracle, first 12 pictures",
    ]  # fmt: skip
    (whole_row,) = (row for row in found["conversion-digits-smoke"].rows if row[0] == "dense")
    assert whole_row[1] is not None


def test_lost_weights_are_made_again_and_runs_repeat_to_the_bit(
    tmp_path: Path, study: Study
) -> None:
    names = ["dense", "converted, random tokens, 50 %", "fine-tuned, linear (raw product), 25 %"]
    small = replace(study, arms=tuple(arm for arm in study.arms if arm.name in names))
    assert len(small.arms) == 3
    found = []
    for name in ("one", "two"):
        session = Session(PAPER, small, tmp_path / name)
        assert run_missing(session, (3,)) == 3
        file = session.work(small.arms[0], 3) / "model.safetensors"
        weights = file.read_bytes()
        found.append([(r.arm, r.metrics) for r in session.records.read()])
        file.parent.joinpath("left.json").unlink()
        file.unlink()
        lines = session.records.folder / "runs.jsonl"
        kept = [line for line in lines.read_text().splitlines() if '"arm": "dense"' in line]
        lines.write_text("".join(f"{line}\n" for line in kept))
        assert run_missing(Session(PAPER, small, tmp_path / name), (3,)) == 2
        assert file.read_bytes() == weights
        assert [(r.arm, r.metrics) for r in session.records.read()] == found[-1]
    assert found[0] == found[1]


def keys(study: Study) -> dict[str, str]:
    return {arm.id: recipe_key(PAPER, arm) for arm in study.arms}


def test_what_is_added_leaves_every_other_run_current(monkeypatch: pytest.MonkeyPatch) -> None:
    data, plan = digits_plan("cpu")
    before = keys(routing("routing_digits", "cpu", data, plan))
    monkeypatch.setattr(recipes, "CAPACITIES", (0.9, *CAPACITIES))  # of conversions
    wider = replace(plan, capacities=(0.5, 0.3, 0.125))  # of fine-tunings
    after = keys(routing("routing_digits", "cpu", data, wider))
    assert after.keys() > before.keys()
    assert {name: after[name] for name in before} == before
    monkeypatch.undo()
    fewer = keys(routing("routing_digits", "cpu", data, replace(plan, ablated=0.0)))
    assert fewer.items() < before.items()  # without controls, and their table
    # Another length of the fine-tuning concerns the fine-tunings alone.
    longer = replace(plan, finetune=replace(plan.finetune, steps=41))
    changed = keys(routing("routing_digits", "cpu", data, longer))
    different = {name for name in before if changed[name] != before[name]}
    assert different == {name for name in before if name.startswith("fine-tuned-")}
    # Another dense model concerns all that starts from it, and what is trained like it.
    deeper = replace(plan, dense=replace(plan.dense, steps=1001))
    changed = keys(routing("routing_digits", "cpu", data, deeper))
    assert not [name for name in before if changed[name] == before[name]]


@pytest.mark.parametrize(("recipe", "made"), EVERY, ids=[study.name for _, study in EVERY])
def test_every_hop_of_every_arm_is_an_import(recipe: Any, made: Study) -> None:
    assert [problem for arm in made.arms for problem in broken(recipe, arm)] == []
    assert "Cells:" in (recipe.make.__doc__ or "")
    assert made.name.startswith(recipe.name.removesuffix("_tuning"))


def test_tuning_gives_every_router_the_same_tries(tmp_path: Path) -> None:
    study = tiny(routing_digits_tuning("smoke"), train_length=16, test_length=8)
    data: Any = study.data
    assert data.test_split == "val"
    assert (study.name, study.seeds) == ("routing_digits_smoke_tuning", (100,))
    session = Session(PAPER, study, tmp_path)
    assert run_missing(session, (100,)) == 1 + 8 * 3  # the dense model, eight variants, three rates
    results = load_results(PAPER, study, tmp_path)
    tried = [arm for arm in study.arms if isinstance(arm.config, Finetuned)]
    assert len({results.runs(arm)[0].samples for arm in tried}) == 1
    losses = [
        results.values(arm, "loss")
        for arm in tried
        if arm.config.variant == Variant("l2norm", 0.25)
    ]
    assert losses[0] != losses[2]
    made = by_rate(results)
    assert made.id == "tuning-digits-smoke"
    for router, *accuracies, best in made.rows[:-1]:
        assert best in ("0.0001", "0.0003", "0.001"), router
        assert accuracies[TRIES.index(float(best))] == max(accuracies)  # type: ignore[arg-type, type-var]
    assert len({row[0] for row in made.rows[:-1]}) == 8


def photographs(root: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in "abcdefghij":
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")


def test_photographs_in_class_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    photographs(data)
    study = recipes.routing_cifar10("smoke")
    reproduce_study(Session(PAPER, study, out, data), (0,))
    shown = capsys.readouterr().out
    assert "accuracy after" in shown
    assert "Data: images of the given folder, not the CIFAR-10 of the committed records." in shown
    assert "real photographs" not in shown
    _, drawing = conversion_figure(load_results(PAPER, study, out))
    assert "not the CIFAR-10 of the committed records" in drawing.get_supxlabel()
    assert (out / "tables" / "conversion-cifar10-smoke.csv").is_file()
    assert (out / "figures" / "conversion-cifar10-smoke.svg").is_file()
    assert publish(PAPER, out, check=False) == []
    assert "no longer generated" not in capsys.readouterr().err
    assert publish(PAPER, out, check=True) == []
    with pytest.raises(UserError, match=r"needs CIFAR-10: a folder with train/ and test/"):
        run_missing(Session(PAPER, study, out), (0,))
    tuned = Session(PAPER, routing_cifar10_tuning("smoke"), out, data)
    assert run_missing(tuned, (100,)) == 1 + 8 * 3
    held_out = tuned.open(tuned.study.data)
    assert (len(held_out.train), len(held_out.test)) == (32, 8)  # four fifths and one of `train`
    halves = [{p.tobytes() for p in part.pixels} for part in (held_out.train, held_out.test)]
    assert not halves[0] & halves[1]
    assert len(set.union(*halves)) == 40
    pictures = Session(PAPER, study, out, data).open(study.data)
    assert len(set(pictures.test.targets[:6].tolist())) > 3  # mixed, not sorted by class
    assert held_out.fingerprint != pictures.fingerprint
    for part in ("train", "test"):
        (data / part / "k").mkdir()
        Image.new("RGB", (32, 32)).save(data / part / "k" / "0.png")
    with pytest.raises(UserError, match="must have the same 10 classes"):
        reproduce_study(Session(PAPER, study, tmp_path / "new", data), (1,))


def test_a_set_is_known_by_the_fingerprints_of_the_records() -> None:
    studies = [recipes.routing_cifar10("cpu"), routing_cifar10_tuning("cpu")]
    found = [load_results(PAPER, study, PAPER.results) for study in studies]
    prints = {record.data_fingerprint for results in found for record in results.records}
    assert prints == set(recipes.CIFAR10.known or ())
    for results in found:
        assert results.sentence == results.study.data.sentence


def test_the_plan_says_what_is_missing(tmp_path: Path) -> None:
    text = plan(Session(PAPER, recipes.routing_cifar10("cpu"), tmp_path), (0, 1), controls=True)
    assert "--data DIR" in text
    assert "fine-tuned, attention, 12.5 %, 60 steps: lacks CIFAR-10: a folder with train/" in text


def test_every_claim_names_runs_and_metrics_that_exist(whole: Session) -> None:
    written: dict[str, set[str]] = {}  # by stage
    for record in whole.records.read():
        written.setdefault(record.arm.partition("-")[0], set()).update(record.metrics)
    for study in (recipes.routing_digits("cpu"), recipes.routing_cifar10("cpu")):
        arms = {arm.id: arm for arm in study.arms}
        assert len({claim.id for claim in study.claims}) == len(study.claims)
        for claim in study.claims:
            for name in (claim.arm, claim.rival):
                assert claim.metric in written[name.partition("-")[0]], claim.id
                if claim.metric == "spearman" and name.startswith("fine"):
                    assert arms[name].config.pictures
        assert sum(claim.negative_control for claim in study.claims) == 1
    assert "table3/deit-small-a-mod/top-1-at-50/imagenet-1k" in cells_of("table3")
    assert len(cells_of("table1", "at 50 %")) == 4


def test_arms_cost_what_they_should() -> None:
    study, (_, plan) = recipes.routing_digits("cpu"), digits_plan("cpu")
    shape = plan.network.shape
    dense = Variant().macs(shape)
    for capacity in plan.capacities:
        ours = Variant(capacity=capacity).macs(shape)
        cut = [*plan.cut(capacity), *plan.cut(capacity, larger=True)]
        costs = sorted({variant.macs(shape) for variant in cut})
        assert costs[-1] >= ours  # the larger isoFLOP model is no cheaper
        assert all(abs(cost / ours - 1) < 0.25 for cost in costs)
        assert ours < dense
        assert depths(study.arms, capacity)[0] == plan.cut(capacity)[0].layers
    for arm in study.arms:
        if type(arm.config) is Finetuned:
            model = build(arm.config.variant, new_model(plan.network), 0)
            assert model(torch.zeros(1, 3, 32, 32)).shape == (1, plan.network.classes)
    aligned = [a.config.variant for a in study.arms
               if type(a.config) is Converted and a.config.variant.k_align == 8]  # fmt: skip
    assert [v.capacity for v in aligned] == [0.7]  # of 65 tokens 32, 16 and 8 are aligned
    assert build(aligned[0], new_model(plan.network), 0).routing.kept(65) == 40


def test_one_depth_is_one_arm() -> None:
    study = recipes.routing_digits("cpu")
    for kind in (Converted, Finetuned):
        cut = [arm.config.variant for arm in study.arms
               if type(arm.config) is kind and arm.config.variant.layers]  # fmt: skip
        assert len(cut) == len(set(cut))
    # Four layers are nearest to half of the tokens, and the larger model beside an eighth.
    assert [depths(study.arms, capacity) for capacity in (0.5, 0.125)] == [(4, 5), (3, 4)]
    four = find(study.arms, Finetuned, Variant(layers=4))
    assert not four.control


def test_arms_keep_to_their_plan() -> None:
    study, plan = recipes.routing_cifar10("cpu"), cifar10_plan("cpu")
    for arm in study.arms:
        if type(arm.config) is Finetuned:
            variant = arm.config.variant
            rate = plan.rates["isoflop" if variant.layers else variant.router]
            assert arm.config.schedule == replace(plan.finetune, learning_rate=rate)
            examined = variant.capacity == 0.5 and variant.router in ("attention", *LEARNED)
            assert arm.config.pictures == (64 if examined else 0)
        assert arm.starts_from == ((study.arms[0],) if arm is not study.arms[0] else ())
    kinds = {type(arm.config) for arm in study.arms}
    assert Importance in kinds
    assert not kinds & {Transferred, Scratch}


def test_learned_routers_begin_alike_whatever_ran_before() -> None:
    network = digits_plan("smoke")[1].network
    weights: list[Any] = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        model = build(Variant("linear", 0.5), new_model(network), 7)
        weights.append(model.blocks[1].router.weight)
    assert torch.equal(*weights)


def test_the_plan_of_a_study_is_no_recipe_of_its_own() -> None:
    arms = recipes.routing_digits("cpu").arms
    assert all(isinstance(arm, Arm) for arm in arms)
    assert len(arms) == 92
    assert Plan.__dataclass_params__.frozen  # type: ignore[attr-defined]
