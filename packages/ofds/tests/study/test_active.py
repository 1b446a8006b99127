"""Active learning: rounds add up, resume from what a round left, and end in an area."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofds.study import active, proposed
from ofds.study.active import LABELLED, Round, area, learn
from ofds.study.active_recipes import ROUNDS, active_learning
from ofds.study.scenes import ScenePools
from ofds.study.world import Drawn
from ofds.train import Training
from repro_shared.study.paper import Arm, Context, Start

POOL = ScenePools("small", "simple", 1.3, images=30, drawn=24, test=6)
FEW = Training(2, batch_size=4)


def unseen(ctx: Context, threshold: float) -> Drawn:
    """What a random start needs: no proposals, no features."""
    part = ctx.data.pool.part(ctx.data.places(ctx.seed)).truth()
    none = np.zeros((24, 4), np.float32)
    return Drawn(part, part, none, none[:0], np.zeros(0, np.int64))


def test_three_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active, "drawn", unseen)
    opened, starts, objects = POOL.open(None), tuple[Start, ...](), list[float]()
    owned = list[set[int]]()
    for number, acquisition in enumerate((None, "entropy", "margin")):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = Round(FEW, 10.0, "random", acquisition)  # type: ignore[arg-type]
        found = learn(config, Context(opened, 1, "cpu", folder, "key", "round", starts))
        objects.append(found.metrics["objects"])
        owned.append(set(json.loads((folder / LABELLED).read_text())["images"]))
        starts = (Start(Arm("round", config, learn), folder),)
    assert all(b - a <= 10 and b > a for a, b in zip([0.0, *objects], objects, strict=False))
    assert owned[0] < owned[1] < owned[2]
    assert found.metrics["images"] == len(owned[2])
    assert "auc" in found.metrics


def test_area_is_a_mean_over_objects() -> None:
    assert area([[100, 10], [200, 20], [400, 20]]) == pytest.approx((15 * 100 + 20 * 200) / 300)
    assert area([[0, 7], [10, 7]]) == 7


def test_uncertain_images_come_first() -> None:
    opened = POOL.open(None)
    places = opened.places(0)
    model = proposed.new_detector(10, 8, 0)
    values = active.uncertainties(model, opened.pool, places, "entropy", "cpu")
    assert values.shape == (24,)
    assert len(np.unique(values)) > 1


def test_rounds_follow_each_other() -> None:
    study = active_learning("cpu")
    rounds = [arm for arm in study.arms if isinstance(arm.config, Round)]
    assert len(rounds) == 2 * (1 + 2 * ROUNDS)
    for arm in rounds:
        if arm.config.acquisition is not None:
            before = arm.starts_from[0].config
            assert before.start == arm.config.start
            assert before.acquisition in (None, arm.config.acquisition)
            assert replace(before, acquisition=arm.config.acquisition) == arm.config
