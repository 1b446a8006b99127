"""Worlds: which groups each set has, and that no two sets share a picture or a source."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from cg_augment.study.image_recipes import DIGITS, SHAPES, SIX
from cg_augment.study.shapes import Shapes
from cg_augment.study.textured import SOURCES, Textured, digits, strip
from cg_augment.study.worlds import PARTS, Pool, World
from repro_shared.datasets.wheels import photographs

SMALL = {"student": 24, "teacher": 72, "judge": 72, "test": 2}
WORLDS = tuple(replace(world, **SMALL) for world in (SHAPES, DIGITS, SIX))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_groups_of_each_set(world: World) -> None:
    opened, kinds = world.open(None), len(world.scene.grounds)
    student = opened.part("student", 0)
    assert (student.groups // kinds == student.groups % kinds).all()  # the others are removed
    assert set(student.pictures.targets) == set(range(kinds))
    for part in ("teacher", "judge", "test"):
        sizes = opened.part(part, 0).sizes
        assert len(sizes) == kinds**2
        assert set(sizes) == {72 // kinds**2 if part != "test" else 2}
    assert set(np.bincount(opened.whole(0).groups, minlength=kinds**2)) <= {0, 1, 6}
    assert len(opened.whole(0).pictures) == len(student.pictures)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_no_picture_is_in_two_sets_and_seeds_differ(world: World) -> None:
    opened = world.open(None)
    pool = Pool(world, 0.9, 40).open(None).pictures
    sets = {part: opened.part(part, 0).pictures for part in PARTS if part != "pool"}
    sets |= {"pool": pool, "whole": opened.whole(0).pictures}
    sets["other seed"] = opened.part("test", 1).pictures
    seen = {name: {each.read(i).tobytes() for i in range(len(each))} for name, each in sets.items()}
    for one, other in combinations(seen, 2):
        assert not seen[one] & seen[other], (one, other)
    again = world.open(None).part("test", 0).pictures
    assert (again.pixels == sets["test"].pixels).all()


def test_digits_and_strips_of_a_part_are_its_own() -> None:
    for one, other in combinations(SOURCES, 2):
        if SOURCES[one][0] == SOURCES[other][0]:
            (_, a, b), (_, c, d) = SOURCES[one], SOURCES[other]
            assert b <= c or d <= a
    assert all(len(digits(3, part)) == last - first for part, (_, first, last) in SOURCES.items())
    whole = photographs("train")["grass"]
    strips = [strip("grass", part, 1) for part in SOURCES]
    places = [next(row for row in range(len(whole)) if (whole[row] == each[0]).all())
              for each in strips]  # fmt: skip
    ends = sorted((top, top + len(each)) for top, each in zip(places, strips, strict=True))
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_a_pool_has_its_share_and_hands_out_classes_alone() -> None:
    world = replace(SIX, scene=Shapes(lobes=(0, 2, 3, 4, 5, 6), size=8, noise=0.0))
    opened = Pool(world, 0.9, 600).open(None)
    assert not [name for name in dir(opened.pictures) if "group" in name or "ground" in name]
    # Grounds have hues of their own: the middle of a picture apart, those of one class are alike.
    edges = opened.pictures.pixels[:, 0].astype(float).mean(axis=1)
    for label in range(6):
        own = edges[opened.pictures.targets == label]
        # The median colour is that of the own ground, which nine tenths have.
        near = np.abs(own - np.median(own, axis=0)).max(axis=1) < 45
        assert 0.8 <= near.mean() <= 1.0
    assert opened.fingerprint == Pool(world, 0.9, 600).open(None).fingerprint
    assert opened.fingerprint != Pool(world, 0.5, 600).open(None).fingerprint


def test_grounds_alone_are_75_to_50() -> None:
    opened = replace(SIX, **{**SMALL, "test": 50}).open(None)
    empty = opened.empty(0)
    assert np.bincount(empty.pictures.targets).tolist() == [75] * 6


def test_outlines_differ_and_the_ground_does_not_depend_on_them() -> None:
    scene, labels, kinds = Shapes(noise=0.0), np.array([0, 1]), np.array([0, 0])
    one, other = (
        scene.render(labels, kinds, "test", 3),
        scene.render(labels[::-1], kinds, "test", 3),
    )
    assert (one[:, :2, :2] == other[:, :2, :2]).all()  # corners show the ground
    assert (one[0] != other[0]).any()
    blank = Textured().render(labels, kinds, "test", 3, empty=True)
    assert (blank != Textured().render(labels, kinds, "test", 3)).any()
