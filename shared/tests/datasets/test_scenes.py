"""Composed scenes: reproducible, consistent, and with the properties that the parameters name."""

import dataclasses
import hashlib
import importlib.metadata
import itertools
import pickle
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_shared.datasets.composing import CLASS_ORDER, Painter, grow
from repro_shared.datasets.ink import digit_images
from repro_shared.datasets.scenes import DigitScenes, Scene, SceneConfig, compose
from repro_shared.datasets.wheels import SPLITS
from repro_shared.runtime.errors import UserError

HARD = SceneConfig(
    size=80,
    min_digits=4,
    max_digits=9,
    min_scale=12,
    max_scale=24,
    class_imbalance=1.0,
    occlusion=0.6,
    min_contrast=0.1,
    max_contrast=0.4,
    colour=0.3,
    texture=0.15,
    clutter=8,
    noise=0.04,
    ignore_border=1,
)


def digest(scenes: list[Scene]) -> str:
    arrays = [array for scene in scenes for array in dataclasses.astuple(scene)]
    return hashlib.sha256(
        b"".join(a.tobytes() + repr(a.shape).encode() for a in arrays)
    ).hexdigest()


# --- reproducible -----------------------------------------------------------------------------


def test_a_scene_does_not_depend_on_order_or_process() -> None:
    scenes = DigitScenes(HARD, "train", 6, seed=3)
    forwards = [scenes[i] for i in range(6)]
    backwards = [scenes[i] for i in reversed(range(6))][::-1]
    assert digest(forwards) == digest(backwards) == digest(list(scenes)) == digest(scenes[:])
    program = (
        "import sys, pickle; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "import test_scenes as t;"
        "s = t.DigitScenes(t.HARD, 'train', 6, seed=3);"
        "s[4]; print(t.digest([s[i] for i in (5, 4, 3, 2, 1, 0)][::-1]), s.fingerprint())"
    )
    folder = __file__.rpartition("/")[0]
    other = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
    )
    assert other.stdout.split() == [digest(forwards), scenes.fingerprint()]


def test_scenes_leave_the_global_generators_alone() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    DigitScenes(HARD, "train", 1)[0]
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


def test_every_part_of_the_key_changes_the_scenes() -> None:
    variants = [
        DigitScenes(SceneConfig(), "train", 9, seed=0),
        DigitScenes(SceneConfig(), "val", 9, seed=0),
        DigitScenes(SceneConfig(), "train", 9, seed=1),
        DigitScenes(SceneConfig(noise=0.03), "train", 9, seed=0),
    ]
    assert len({digest([v[0]]) for v in variants}) == len({v.fingerprint() for v in variants}) == 4
    assert digest([variants[0][0]]) != digest([variants[0][1]])
    longer = DigitScenes(SceneConfig(), "train", 10, seed=0)
    assert digest(longer[:9]) == digest(variants[0][:])
    assert longer.fingerprint() != variants[0].fingerprint()
    # 18 and 18.0 are one configuration.
    same = DigitScenes(SceneConfig(min_scale=18.0, rotation=15.0), "train", 9, seed=0)
    assert same.fingerprint() == variants[0].fingerprint()


def test_golden_scenes() -> None:
    """Raise `SCENES_VERSION` when this changes on purpose: published numbers depend on it."""
    versions = {"numpy": "2.4", "pillow": "13.0", "mlxtend": "0.25", "scikit-image": "0.26"}
    for name, version in versions.items():
        if not importlib.metadata.version(name).startswith(f"{version}."):
            pytest.skip(f"golden values were made with {name} {version}")
    if platform.machine() != "x86_64":
        pytest.skip("golden values were made on x86_64")
    assert (
        digest(DigitScenes(SceneConfig(), "train", 3)[:])
        == "1a06f2f5227d218fecdc228cf2630a8f728e59d00c65f8445fea4d4a795bc263"
    )
    assert (
        digest(DigitScenes(HARD, "test", 3, seed=7)[:])
        == "403d472e6a855cf6bf027348d066e3b3887b28418bdc45c793722faba788eb2d"
    )


def test_sequence() -> None:
    scenes = DigitScenes(SceneConfig(), "val", 3)
    assert len(scenes) == len(list(scenes)) == 3
    assert digest([scenes[-1]]) == digest([scenes[2]]) == digest([scenes[np.int64(2)]])
    assert len(scenes[1:]) == 2
    for index in (3, -4):
        with pytest.raises(IndexError):
            scenes[index]
    assert digest([pickle.loads(pickle.dumps(scenes))[1]]) == digest([scenes[1]])
    assert len(pickle.dumps(scenes)) < 2000  # spawned workers load the sources themselves


# --- consistent -------------------------------------------------------------------------------


def test_splits_share_no_digit() -> None:
    pools = {split: [d.tobytes() for p in digit_images(split) for d in p] for split in SPLITS}
    assert {split: len(pool) for split, pool in pools.items()} == {
        "train": 3000,
        "val": 1000,
        "test": 1000,
    }
    for first, second in itertools.combinations(SPLITS, 2):
        assert not set(pools[first]) & set(pools[second])
    assert [len(pool) for pool in digit_images("val")] == [100] * 10


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    size=st.integers(24, 70),
    digits=st.tuples(st.integers(1, 4), st.integers(0, 6)),
    scales=st.tuples(st.floats(8, 15), st.floats(0, 1)),
    occlusion=st.sampled_from([0.0, 0.4, 1.0]),
    ignore_border=st.integers(0, 3),
    min_visible=st.sampled_from([1, 12, 40]),
    extremes=st.booleans(),
)
def test_labels_masks_boxes_and_classes_agree(
    size: int,
    digits: tuple[int, int],
    scales: tuple[float, float],
    occlusion: float,
    ignore_border: int,
    min_visible: int,
    extremes: bool,
) -> None:
    config = SceneConfig(
        size=size,
        min_digits=digits[0],
        max_digits=sum(digits),
        min_scale=scales[0],
        max_scale=scales[0] + scales[1] * (0.7 * size - scales[0]),
        rotation=45 if extremes else 10,
        shear=0.5 if extremes else 0.1,
        occlusion=occlusion,
        ignore_border=ignore_border,
        min_visible=min_visible,
        clutter=2,
    )
    for scene in DigitScenes(config, "val", 3):
        count = len(scene.classes)
        assert scene.image.shape == (size, size, 3)
        assert scene.label_map.shape == (size, size)
        assert scene.instance_masks.shape == (count, size, size)
        assert scene.boxes.shape == (count, 4)
        dtypes = [a.dtype.name for a in dataclasses.astuple(scene)]
        assert dtypes == ["uint8", "uint8", "bool", "float32", "uint8"]

        assert scene.instance_masks.sum(axis=0).max(initial=0) <= 1  # disjoint
        expected = np.zeros((size, size), int)
        for mask, label in zip(scene.instance_masks, scene.classes, strict=True):
            assert mask.sum() >= min_visible
            assert 1 <= label < len(config.classes)
            expected[mask] = label
        labelled = scene.label_map != 255
        np.testing.assert_array_equal(scene.label_map[labelled], expected[labelled])
        assert labelled[expected > 0].all()  # only background and dropped digits are ignored
        for mask, (left, top, right, bottom) in zip(
            scene.instance_masks, scene.boxes.astype(int), strict=True
        ):
            inside = mask[top:bottom, left:right]
            assert inside.sum() == mask.sum()
            assert inside[[0, -1]].any(axis=1).all()
            assert inside[:, [0, -1]].any(axis=0).all()


def test_hardly_visible_digits_are_dropped_and_ignored() -> None:
    crowded = dataclasses.replace(HARD, occlusion=1.0, ignore_border=0, min_visible=1)
    dropped = 0
    for i in range(10):
        scene = compose(crowded, "train", np.random.default_rng(i))
        visible = scene.instance_masks.sum(axis=(1, 2))
        # The same strokes: `min_visible` is only used after painting. The median is just enough.
        least = int(np.median(visible[visible > 0]))
        strict = dataclasses.replace(crowded, min_visible=least)
        few = compose(strict, "train", np.random.default_rng(i))
        kept = visible >= least
        np.testing.assert_array_equal(few.classes, scene.classes[kept])
        np.testing.assert_array_equal(few.label_map == 255, scene.instance_masks[~kept].any(axis=0))
        dropped += int((~kept).sum())
    assert dropped > 3


# --- what the parameters say ------------------------------------------------------------------


@pytest.mark.parametrize("occlusion", [0.0, 0.25, 0.6])
def test_occlusion_is_bounded_and_reached(
    occlusion: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against an independent painting of the recorded strokes, in order, over each other."""
    painted: list[tuple[np.ndarray, int, int]] = []
    original = Painter.ink

    def record(self: Painter, alpha: np.ndarray, stroke: object, top: int, left: int) -> None:
        painted.append((alpha, top, left))
        original(self, alpha, stroke, top, left)  # type: ignore[arg-type]

    monkeypatch.setattr(Painter, "ink", record)
    config = SceneConfig(
        size=64, min_digits=8, max_digits=8, min_scale=14, max_scale=22, occlusion=occlusion,
        min_visible=1,
    )  # fmt: skip
    worst = 0.0
    for i in range(25):
        painted.clear()
        scene = DigitScenes(config, "train", 25)[i]
        owner = np.full((64, 64), -1)
        for k, (alpha, top, left) in enumerate(painted):
            owner[top : top + alpha.shape[0], left : left + alpha.shape[1]][alpha > 0.5] = k
        visible = [int((owner == k).sum()) for k in range(len(painted))]
        covered = [1 - v / (a > 0.5).sum() for v, (a, _, _) in zip(visible, painted, strict=True)]
        assert max(covered) <= occlusion + 1e-9
        worst = max(worst, *covered)
        masks = [owner == k for k in range(len(painted)) if visible[k]]
        np.testing.assert_array_equal(scene.instance_masks, masks)
    assert worst >= 0.8 * occlusion


def test_imbalance_follows_zipf_in_a_fixed_class_order() -> None:
    assert sorted(CLASS_ORDER) == list(range(10))
    for exponent in (0.0, 1.0):
        config = SceneConfig(class_imbalance=exponent)
        painter = Painter(config, "train", np.random.default_rng(0))
        drawn = np.bincount([s.digit for s in painter.draw_strokes(3000)], minlength=10)
        weights = np.arange(1, 11) ** -exponent
        expected = 3000 * weights / weights.sum()
        deviations = (drawn[list(CLASS_ORDER)] - expected) / np.sqrt(expected)
        assert np.abs(deviations).max() < 3.5


def test_imbalance_shows_in_the_scenes() -> None:
    config = dataclasses.replace(HARD, class_imbalance=2.0, clutter=0)
    classes = np.concatenate([s.classes for s in DigitScenes(config, "test", 40)]) - 1
    counts = np.bincount(classes, minlength=10)
    assert counts.argmax() == CLASS_ORDER[0]
    assert counts[CLASS_ORDER[0]] > 0.4 * counts.sum()


def test_clutter_is_background_that_changes_pixels() -> None:
    plain = SceneConfig(noise=0, min_digits=1, max_digits=1, min_scale=30)
    cluttered = dataclasses.replace(plain, clutter=30)
    for config, least in ((plain, 0), (cluttered, 200)):
        rng = np.random.default_rng(5)
        painter = Painter(config, "train", rng)
        untouched = np.rint(painter.canvas).astype(np.uint8)
        scene = compose(config, "train", np.random.default_rng(5))
        # The soft rim of a digit is background too: look outside it.
        away = ~grow(scene.instance_masks.any(axis=0), 3)
        changed = (untouched != scene.image).any(axis=2) & away
        assert (scene.label_map[changed] == 0).all()
        assert changed.sum() >= least
        assert least or not changed.any()


def test_ignore_border_is_a_band_outside_the_digits() -> None:
    for width in (1, 3):
        config = SceneConfig(ignore_border=width, min_visible=1)
        for scene in DigitScenes(config, "train", 5):
            digits = scene.instance_masks.any(axis=0)
            rows, columns = np.nonzero(digits)
            down = np.abs(np.arange(96)[:, None, None] - rows)
            right = np.abs(np.arange(96)[None, :, None] - columns)
            near = np.maximum(down, right).min(axis=2) <= width
            np.testing.assert_array_equal(scene.label_map == 255, near & ~digits)


def test_chosen_digits_take_the_labels_in_their_order() -> None:
    config = SceneConfig(digits=(4, 0, 7), min_visible=1, occlusion=0)
    assert config.classes == ("background", "digit 4", "digit 0", "digit 7")
    scenes = DigitScenes(config, "train", 60)
    counts = np.bincount(np.concatenate([scene.classes for scene in scenes]), minlength=4)
    assert counts[0] == 0
    assert len(counts) == 4
    assert counts[1:].min() > 0.7 * counts[1:].max()
    # The same draws with one digit only: every instance is that digit, whatever its place.
    only = DigitScenes(dataclasses.replace(config, digits=(7,)), "train", 3)
    assert {int(c) for scene in only for c in scene.classes} == {1}
    other = DigitScenes(dataclasses.replace(config, digits=(0, 4, 7)), "train", 60)
    assert other.fingerprint() != scenes.fingerprint()


def test_brighter_ink_on_a_dimmed_backdrop_is_lighter_in_every_channel() -> None:
    config = SceneConfig(
        brighter=True, backdrop=0.4, colour=0, noise=0, min_contrast=0.4, max_contrast=0.5
    )
    for scene in DigitScenes(config, "train", 10):
        ground = scene.image[~grow(scene.label_map > 0, 2)]  # clear of the soft rims
        assert ground.max() <= round(0.4 * 255)
        for mask in scene.instance_masks:
            core = scene.image[mask & ~grow(~mask, 1)]
            assert len(core) == 0 or (core.mean(axis=0) > ground.mean(axis=0) + 40).all()


def test_margin_gives_the_band_around_the_ink_to_the_digit() -> None:
    thin = SceneConfig(occlusion=0, min_visible=1)
    wide = dataclasses.replace(thin, margin=2)
    for seed in range(8):
        # Unlike two sets, two configurations share the random numbers of one generator.
        narrow, band = (compose(c, "train", np.random.default_rng(seed)) for c in (thin, wide))
        np.testing.assert_array_equal(narrow.image, band.image)
        np.testing.assert_array_equal(narrow.classes, band.classes)
        assert band.instance_masks.sum(axis=0).max() <= 1
        ink = narrow.instance_masks.any(axis=0)
        np.testing.assert_array_equal(band.label_map[ink], narrow.label_map[ink])
        np.testing.assert_array_equal(band.label_map > 0, grow(ink, 2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"digits": ()},
        {"digits": (3, 3)},
        {"digits": (3, 10)},
        {"backdrop": 1.5},
        {"margin": 17},
        {"min_digits": 0},
        {"min_digits": 6},
        {"min_scale": 4},
        {"min_scale": 50},
        {"max_scale": 90},
        {"rotation": 90},
        {"shear": -0.1},
        {"class_imbalance": -1},
        {"occlusion": 1.5},
        {"min_contrast": 0.9},
        {"max_contrast": 1.2},
        {"colour": 2},
        {"texture": -1},
        {"clutter": -1},
        {"noise": float("nan")},
        {"ignore_border": 99},
        {"min_visible": 0},
    ],
)
def test_bad_configurations_name_the_field(wrong: dict[str, object]) -> None:
    (field,) = wrong
    stem = field.split("_")[-1]
    with pytest.raises(UserError, match=rf"SceneConfig: \w*{stem} must be .*, got"):
        SceneConfig(**wrong)  # type: ignore[arg-type]


def test_bad_split_and_length() -> None:
    with pytest.raises(UserError, match="unknown split 'all'"):
        DigitScenes(SceneConfig(), "all", 3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="at least 0, got -1"):
        DigitScenes(SceneConfig(), "train", -1)
    assert not len(DigitScenes(SceneConfig(), "train", 0))
