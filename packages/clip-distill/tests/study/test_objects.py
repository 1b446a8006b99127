"""The rendered world is confounded where it says so, and its teacher is not misled by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clip_distill.study.objects import Domain, World, angles, draw, render, swapped
from clip_distill.study.rendered import Digits, Objects, objects

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
        clean = replace(WORLD, photographic=0.0)
        images = render(clean, draw(clean, domain, 30, 100)).astype(float)
        corner = images[:, :4, :4]
        return float(np.abs(np.diff(corner, n=2, axis=2)).mean())

    assert roughness("real") > 1.3 * roughness("synthetic")


def test_a_share_of_synthetic_images_looks_real_and_all_real_ones_do() -> None:
    world = replace(WORLD, photographic=0.3)
    assert abs(draw(world, "synthetic", 3000, 100).real.mean() - 0.3) < 0.03
    assert draw(world, "real", 300, 100).real.all()


def test_content_and_each_cue_show_in_the_image() -> None:
    scenes = draw(WORLD, "synthetic", 1, 3)
    image = render(WORLD, scenes)
    for place in range(3):
        cues = scenes.cues.copy()
        cues[:, place] = (cues[:, place] + 5) % 18
        assert np.abs(render(WORLD, replace(scenes, cues=cues)).astype(int) - image).mean() > 0.2
    other = replace(scenes, content=scenes.content + 1)
    assert np.abs(render(WORLD, other).astype(int) - image).mean() > 0.5


def test_swapped_cues_are_those_of_another_class_with_synthetic_images() -> None:
    scenes = draw(WORLD, "synthetic", 90, 101, seen_only=True)
    cues = swapped(WORLD, scenes).cues
    assert (cues != scenes.label[:, None]).all()
    assert set(cues.ravel().tolist()) == set(scenes.label.tolist())


def test_own_cues_never_hide_the_object() -> None:
    """A class's own palette and ground are at least 60 degrees apart."""
    for classes in (6, 18):
        for kind in range(classes):
            ground, palette, _ = angles(np.full(3, kind), classes)
            apart = abs((ground - palette + np.pi) % (2 * np.pi) - np.pi)
            assert apart > np.pi / 3 - 1e-6, (classes, kind)
    scenes = draw(replace(WORLD, size=48), "synthetic", 36, 100)
    for image in render(replace(WORLD, size=48), scenes).astype(float):
        assert np.abs(image[20:28, 20:28].mean((0, 1)) - image[:4].mean((0, 1))).max() > 20


def test_the_fingerprint_is_that_of_the_generator_and_its_settings() -> None:
    def found(world: World, weights: str = "a") -> str:
        return Objects(world, "x", weights).open(None).fingerprint

    assert found(WORLD) == found(WORLD)
    others = {found(replace(WORLD, size=26)), found(replace(WORLD, within=0.4)),
              found(WORLD, "b"), found(replace(WORLD, synthetic=7)),
              found(replace(WORLD, confounding=0.9)),
              Digits(1.0, "x").open(None).fingerprint,
              Digits(0.5, "x").open(None).fingerprint}  # fmt: skip
    assert len(others | {found(WORLD)}) == 8


def test_few_images_are_the_first_of_many_and_captions_go_with_them() -> None:
    small = replace(WORLD, synthetic=40)
    many, few = (objects(replace(small, amount=each), "synthetic", 3) for each in (None, 15))
    assert np.array_equal(many.pixels[:15], few.pixels)
    assert many.targets[:15] == few.targets
    assert many.captions is not None
    assert few.captions is not None
    assert list(many.captions[:15]) == list(few.captions)
    assert len(few) == len(few.captions) == 15
    named = sum(few.classes[t] in few.caption(n) for n, t in enumerate(few.targets))
    assert named > 7  # most captions name the object
