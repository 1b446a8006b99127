"""Studies with detectors: aligned features, equal costs, pairing, and what stands in the tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds import METHOD_VERSION
from ofds.cli import PAPER
from ofds.method.budget import Budget
from ofds.study import detection
from ofds.study.autolabel_tables import interpolated
from ofds.study.detection import Detect, bought_by
from ofds.study.detection_recipes import detection_long_tail, proposer_training, shared
from ofds.study.proposed import Describe, Propose, drawn, new_detector, proposals, quality
from ofds.study.scenes import ScenePools
from ofds.study.selectors import SELECTORS
from ofds.train import Training
from ofds.use.nets import committed
from ofds.use.nets.detector import Detections
from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.study.keys import recipe_key
from repro_shared.study.paper import Arm, Context, Start

POOL = ScenePools("small", "simple", 1.3, images=40, drawn=24, test=8)
FEW = Training(2, batch_size=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, tuple[Start, ...]]:
    """The opened pool, and what the shared arms left."""
    opened, starts = POOL.open(None), tuple[Start, ...]()
    for arm in shared("cpu", retrain=False):
        folder = tmp_path_factory.mktemp(arm.id)
        arm.run(arm.config, Context(opened, 0, "cpu", folder, "key", arm.name, starts))
        starts = (*starts, Start(arm, folder))
    return opened, starts


def context(base: tuple[Any, tuple[Start, ...]], folder: Path, seed: int = 0) -> Context:
    return Context(base[0], seed, "cpu", folder, "key", "test", base[1])


def test_the_proposer_finds_most_but_not_all(base: Any) -> None:
    opened, starts = base
    found = proposals(context(base, Path()))
    assert isinstance(starts[0].arm.config, Propose)
    scores = quality(opened.pool, found.where(found.score >= 0.35))
    assert 55 < scores["recall"] < 95
    assert 45 < scores["precision"] < 95
    ones = np.ones(len(opened.pool.image), np.float32)
    perfect = Detections(opened.pool.image, opened.pool.label, ones, opened.pool.box)
    assert quality(opened.pool, perfect)["precision"] == 100


def test_what_selectors_see_belongs_together(base: Any) -> None:
    opened, starts = base
    seen = drawn(context(base, Path(), seed=3), 0.35)
    places = opened.places(3)
    assert seen.truth.images == tuple(opened.pool.names[place] for place in places)
    assert len(seen.truth) == np.isin(opened.pool.image, places).sum()
    assert (seen.proposals.score >= 0.35).all()
    assert isinstance(starts[1].arm.config, Describe)
    x = np.asarray(seen.truth.features[seen.truth.row], np.float32)
    assert np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-2)
    # Rows follow objects: a feature is that of its own crop.
    from ofds.study.proposed import features
    from ofds.use.nets.lite0 import lite0

    for pool in (seen.truth, seen.proposals):
        which = len(pool) // 2
        image = np.array([opened.pool.names.index(pool.images[pool.image[which]])])
        one = features(
            lite0(), opened.pool.images, image, pool.box[which : which + 1], context(base, Path())
        )
        near = np.asarray(pool.features[pool.row[which]], np.float32) @ one[0].astype(np.float32)
        assert near > 0.999


@pytest.mark.parametrize("selector", ["random", "class-balanced random", "OFDS", "oracle OFDS"])
def test_all_pay_the_same_for_true_objects(base: Any, selector: str) -> None:
    opened = base[0]
    config = Detect(FEW, selector, Budget(20.0))
    bought = bought_by(config, context(base, Path(), seed=1))
    assert set(bought) <= set(opened.places(1).tolist())
    assert 18 <= np.isin(opened.pool.image, bought).sum() <= 20
    assert bought.tolist() == bought_by(config, context(base, Path(), seed=1)).tolist()


def test_shares_are_nested_and_of_objects(base: Any) -> None:
    opened, ctx = base[0], context(base, Path(), seed=1)
    part = np.isin(opened.pool.image, opened.places(1)).sum()
    small, large, all_, none = (
        set(bought_by(Detect(FEW, share=share), ctx).tolist()) for share in (0.3, 0.6, 1.0, 0.0)
    )
    assert none == set()
    assert all_ == set(opened.places(1).tolist())
    count = np.isin(opened.pool.image, list(small)).sum()
    assert 0.3 * part - 3 <= count <= 0.3 * part
    assert len(small & large) >= len(small) - 2  # what did not fit may be added


def test_a_run_from_end_to_end(base: Any, tmp_path: Path) -> None:
    config = Detect(FEW, "OFDS", Budget(20.0), autolabels=0.5, kept=True)
    found = detection.detect(config, context(base, tmp_path))
    assert {"ap", "ap50", "rare_ap50", "images", "objects", "pixels", "covered"} <= set(
        found.metrics
    )
    assert found.metrics["objects"] <= 20
    assert found.samples == 8
    arm = Arm("before", Detect(FEW), detection.detect)
    start = (*base[1], Start(arm, tmp_path))
    (tmp_path / "b").mkdir()
    ctx = replace(context(base, tmp_path / "b"), starts=start)
    assert detection.detect(replace(config, autolabels=0.0), ctx).metrics["ap50"] >= 0


def test_same_initial_weights_for_a_seed() -> None:
    one, two, other = (new_detector(10, 8, seed).state_dict() for seed in (4, 4, 5))
    assert all(bool((one[name] == two[name]).all()) for name in one)
    assert not bool((one["stem.0.weight"] == other["stem.0.weight"]).all())


def test_recipes_name_known_selectors() -> None:
    from ofds.study import detection_recipes as recipes

    named = {*recipes.MAIN, *recipes.IMAGE_LEVEL, *recipes.ABLATIONS, "oracle OFDS"}
    assert named <= set(SELECTORS)


def test_a_retrained_proposer_is_another_one() -> None:
    study = detection_long_tail("cpu")
    assert study.retrain is not None
    here = study.retrain(study)
    assert [arm.name for arm in here.arms[:3]] == ["proposer", "proposals", "features"]
    assert here.arms[0] == proposer_training("cpu").arms[0]
    assert recipe_key(PAPER, here.arm("proposals")) != recipe_key(PAPER, study.arm("proposals"))
    ofds = here.arm("ofds-150-objects"), study.arm("ofds-150-objects")
    assert recipe_key(PAPER, ofds[0]) != recipe_key(PAPER, ofds[1])


def test_exchange_rate() -> None:
    curve, shares = [10.0, 20.0, 40.0], [0.05, 0.2, 0.8]
    assert interpolated(20.0, curve, shares) == pytest.approx(20)
    assert interpolated(30.0, curve, shares) == pytest.approx(40)  # half-way in the logarithm
    assert interpolated(5.0, curve, shares) == pytest.approx(5)
    assert interpolated(50.0, curve, shares) == pytest.approx(80)
    assert interpolated(20.0, [20.0, 20.0, 40.0], shares) == pytest.approx(5)  # the cheapest


def test_recipe_record_and_weights_belong_together() -> None:
    beside = json.loads(committed.FILE.with_suffix(".json").read_text())
    record, study = RunRecord.model_validate(beside["record"]), proposer_training("cpu")
    config = study.arms[0].config
    assert record.config == recipe_hash(config)[:12]
    assert beside["config"] == json.loads(json.dumps(resolved_config(config)))
    assert beside["scenes"] == json.loads(json.dumps(resolved_config(study.data)))
    assert record.notes == f"weights sha256 {committed.DIGITS}"
    assert sha256_file(committed.FILE) == committed.DIGITS
    assert committed.FILE.stat().st_size < 1e6
    assert record.seed == 0
    assert record.origin.method_version <= METHOD_VERSION


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "digits.safetensors"
    other.write_bytes(committed.FILE.read_bytes()[:-1])
    monkeypatch.setattr(committed, "FILE", other)
    with pytest.raises(UserError, match="missing or damaged: restore it, or use --retrain"):
        committed.digits()
