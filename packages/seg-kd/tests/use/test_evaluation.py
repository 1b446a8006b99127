"""Scoring: which images are predicted together, and that it does not change the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seg_kd.use import adapter
from seg_kd.use.data import Samples
from seg_kd.use.evaluation import evaluate, same_size_batches
from seg_kd.use.models import Model, model_config


@pytest.mark.parametrize(
    ("size", "classes", "batch_size", "batches"),
    [
        ((180, 240), 11, None, [16, 16, 8]),  # CamVid, as in the records
        ((64, 64), 7, None, [16, 16, 8]),  # digit scenes
        ((1024, 2048), 19, None, [1] * 40),  # Cityscapes: 16 took 7 GB, one 1.7
        ((512, 683), 21, None, [9] * 4 + [4]),
        ((1024, 2048), 19, 10, [10] * 4),
    ],
)
def test_batches_are_bounded_or_as_asked_for(
    size: tuple[int, int], classes: int, batch_size: int | None, batches: list[int]
) -> None:
    found = same_size_batches([size] * 40, classes, batch_size)
    assert [len(batch) for batch in found] == batches
    assert [i for batch in found for i in batch] == list(range(40))


def test_only_neighbours_of_one_size_are_together() -> None:
    sizes = [(8, 8), (8, 8), (8, 9), (8, 8)]
    assert same_size_batches(sizes, 2) == [[0, 1], [2], [3]]


def test_scores_do_not_depend_on_the_batch_and_progress_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    pictures = [
        (rng.integers(0, 256, (32, 32, 3), np.uint8), rng.integers(0, 3, (32, 32), np.uint8))
        for _ in range(5)
    ]
    source = Samples(pictures, "", [(32, 32)] * 5)
    model = adapter.build_model(model_config(Model(base_channels=8, head_channels=8), 3, (32, 32)))
    first = evaluate(model, source, 3)
    assert "images scored: 5/5" in capsys.readouterr().err
    for size in (1, 2):
        assert evaluate(model, replace(source, batch_size=size), 3).miou == pytest.approx(
            first.miou
        )
