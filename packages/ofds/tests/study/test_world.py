"""The drawn world has the faults that it is said to have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ofds.study.world import World, Worlds, draw


def test_a_seed_gives_one_world() -> None:
    world = World(images=80, test=5)
    one, other, third = draw(world, 3), draw(world, 3), draw(world, 4)
    assert np.array_equal(one.proposals.features, other.proposals.features)
    assert np.array_equal(one.test_features, other.test_features)
    assert not np.array_equal(one.image_features, third.image_features)


@pytest.mark.parametrize("zipf", [0.0, 1.3])
def test_frequencies_recall_and_wrong_labels(zipf: float) -> None:
    world = World(zipf=zipf, images=3000)
    drawn = draw(world, 100)
    counts = np.sort(np.bincount(drawn.truth.label))
    assert (counts[-1] / counts[0] > 15) == bool(zipf)
    assert np.bincount(drawn.test_labels).tolist() == [world.test] * world.classes
    true = {tuple(x) for x in np.asarray(drawn.truth.features)}
    every = draw(replace(world, threshold=0.0), 100).proposals
    found = np.array([tuple(x) in true for x in np.asarray(every.features)[every.row]])
    assert found.sum() / len(drawn.truth) == pytest.approx(0.75, abs=0.08)  # small ones are missed
    assert (~found).sum() / world.images == pytest.approx(world.false, abs=0.05)
    label = {tuple(x): drawn.truth.label[i] for i, x in
             enumerate(np.asarray(drawn.truth.features)[drawn.truth.row])}  # fmt: skip
    called = every.label[found]
    right = [label[tuple(x)] for x in np.asarray(every.features)[every.row][found]]
    share = world.wrong * (1 - 1 / world.classes)
    assert np.mean(called != np.array(right)) == pytest.approx(share, abs=0.02)
    assert len(drawn.proposals) < len(every)


def test_the_fingerprint_is_that_of_the_generator() -> None:
    one = Worlds(World(), "a").open(None).fingerprint
    assert one == Worlds(World(), "b").open(None).fingerprint
    assert one != Worlds(World(zipf=1.0), "a").open(None).fingerprint
