"""The rendered world is confounded where it says so, and its teacher is not misled by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clip_distill.study.embedded import Worlds, class_vectors, teach
from clip_distill.study.objects import Domain, World, draw, render, swapped
from clip_distill.use.zero_shot import similarities

WORLD = World(size=24)


@pytest.mark.parametrize("confounding", [0.0, 0.9, 1.0])
def test_cues_go_with_the_class_in_the_synthetic_domain_alone(confounding: float) -> None:
    world = replace(WORLD, confounding=confounding)
    scenes = draw(world, "synthetic", 6000, 100, seen_only=True)
    own = (scenes.cues == scenes.label[:, None]).mean(axis=0)
    expected = confounding + (1 - confounding) / world.classes
    assert np.allclose(own, expected, atol=0.02)
    assert set(scenes.label.tolist()) == set(range(12))
    real = draw(world, "real", 6000, 100)
    assert np.allclose((real.cues == real.label[:, None]).mean(axis=0), 1 / 18, atol=0.02)
    assert set(real.label.tolist()) == set(range(18))
    assert set(draw(world, "generic", 50, 100).label.tolist()) == {-1}


def test_a_seed_gives_the_same_images_and_the_next_one_others() -> None:
    one, two, three = (render(WORLD, draw(WORLD, "real", 4, seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)
    assert one.shape == (4, 24, 24, 3)
    assert one.dtype == np.uint8


def test_the_synthetic_domain_is_cleaner() -> None:
    def roughness(domain: Domain) -> float:
        images = render(WORLD, draw(WORLD, domain, 30, 100)).astype(float)
        corner = images[:, :4, :4]
        return float(np.abs(np.diff(corner, n=2, axis=2)).mean())

    assert roughness("real") > 1.3 * roughness("synthetic")


def test_content_and_each_cue_show_in_the_image() -> None:
    scenes = draw(WORLD, "synthetic", 1, 3)
    image = render(WORLD, scenes)
    for place in range(3):
        cues = scenes.cues.copy()
        cues[:, place] = (cues[:, place] + 5) % 18
        assert np.abs(render(WORLD, replace(scenes, cues=cues)).astype(int) - image).mean() > 0.2
    other = replace(scenes, content=scenes.content + 1)
    assert np.abs(render(WORLD, other).astype(int) - image).mean() > 0.5


def test_the_teacher_knows_the_classes_in_both_domains_and_hardly_heeds_the_cues() -> None:
    vectors, right = class_vectors(WORLD), {}
    synthetic = draw(WORLD, "synthetic", 900, 101)
    for name, scenes in {
        "real": draw(WORLD, "real", 900, 101),
        "swapped": swapped(WORLD, synthetic),
    }.items():
        rows = teach(WORLD, scenes)
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        guess = similarities(rows, vectors).argmax(axis=1)
        right[name] = (guess == scenes.label).mean()
    assert min(right.values()) > 0.6
    assert abs(right["real"] - right["swapped"]) < 0.15


def test_swapped_cues_are_those_of_another_class_with_synthetic_images() -> None:
    scenes = draw(WORLD, "synthetic", 90, 101, seen_only=True)
    cues = swapped(WORLD, scenes).cues
    assert (cues != scenes.label[:, None]).all()
    assert set(cues.ravel().tolist()) == set(scenes.label.tolist())


def test_the_fingerprint_is_that_of_the_generator() -> None:
    one = Worlds(WORLD, "a").open(None).fingerprint
    assert one == Worlds(WORLD, "b").open(None).fingerprint
    assert one != Worlds(replace(WORLD, size=26), "a").open(None).fingerprint
    assert one != Worlds(replace(WORLD, within=0.4), "a").open(None).fingerprint
