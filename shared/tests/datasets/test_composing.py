"""Strokes of composed scenes: size, contrast, fragments, noise and texture."""

import dataclasses
import itertools

import numpy as np
import pytest

from repro_shared.datasets.composing import Painter, gaussian_noise, grow, paint
from repro_shared.datasets.ink import OPAQUE, cut_fragment, digit_images, digit_pools, warp_digit
from repro_shared.datasets.scenes import DigitScenes, SceneConfig


def test_contrast_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    alpha = (rng.random((12, 12)) > 0.3).astype(np.float32)
    inked = alpha > OPAQUE
    for level in (5.0, 120.0, 250.0):
        region = np.clip(rng.normal(level, 3, (12, 12, 3)), 0, 255).astype(np.float32)
        before = region[inked].mean(axis=0)
        paint(region, alpha, (40.0, -20.0, 0.0), np.zeros((1, 1, 3), np.float32))
        after = region[inked].mean(axis=0)
        np.testing.assert_allclose(np.abs(after - before), [40, 20, 0], atol=0.51)
        assert (region[~inked] >= 0).all()
        assert region.min() >= 0
        assert region.max() <= 255


@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_shifts_keep_to_the_contrast_range_and_colour(colour: float) -> None:
    config = SceneConfig(min_contrast=0.2, max_contrast=0.4, colour=colour)
    strokes = Painter(config, "train", np.random.default_rng(0)).draw_strokes(400)
    shifts = np.array([s.shift for s in strokes])
    strength = np.abs(shifts).max(axis=1) / 255
    assert 0.2 <= strength.min() < 0.22
    assert 0.38 < strength.max() <= 0.4
    gray = np.ptp(shifts, axis=1) < 1e-9
    assert gray.all() if colour == 0 else not gray.any()


@pytest.mark.parametrize("scale", [8.0, 10.0, 20.0, 33.0, 60.0])
def test_warped_digits_have_the_scale(scale: float) -> None:
    opaque_sides = []
    for digit in itertools.chain(*(pool[:15] for pool in digit_pools("val"))):
        alpha = warp_digit(digit, scale, 0, 0)
        assert alpha.max() == 1
        # The soft rim of bilinear sampling adds less than two pixels on each side.
        assert scale - 1 <= max(alpha.shape) <= scale + 4
        rows, columns = np.nonzero(alpha > OPAQUE)
        opaque_sides.append(max(np.ptp(rows), np.ptp(columns)) + 1)
    assert np.median(opaque_sides) == pytest.approx(scale, abs=0.07 * scale)


def test_unwarped_digits_are_the_originals() -> None:
    for pool, images in zip(digit_pools("val"), digit_images("val"), strict=True):
        for digit, image in zip(pool, images, strict=True):
            rows, columns = image.any(axis=1).nonzero()[0], image.any(axis=0).nonzero()[0]
            ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            np.testing.assert_allclose(
                warp_digit(digit, 20, 0, 0), ink / ink.max(), atol=0.5 / 255 + 1e-6
            )


def test_rotation_and_shear_move_ink_as_named() -> None:
    one = min(digit_pools("train")[1], key=lambda d: abs(_lean(warp_digit(d, 40, 0, 0))))
    upright = _lean(warp_digit(one, 40, 0, 0))
    assert _lean(warp_digit(one, 40, 30, 0)) - upright == pytest.approx(30, abs=3)
    assert _lean(warp_digit(one, 40, -30, 0)) - upright == pytest.approx(-30, abs=3)
    shear = np.degrees(np.arctan(0.3))
    assert _lean(warp_digit(one, 40, 0, 0.3)) - upright == pytest.approx(shear, abs=3)
    # Sheared, then rotated by as much to the other side: upright again.
    assert _lean(warp_digit(one, 40, -shear, 0.3)) == pytest.approx(upright, abs=3)


def _lean(alpha: np.ndarray) -> float:
    """Angle of the main axis of the ink to the vertical, in degrees, clockwise."""
    rows, columns = np.nonzero(alpha > OPAQUE)
    _, vectors = np.linalg.eigh(np.cov(np.stack([rows, columns])))
    down, right = vectors[:, -1] * np.sign(vectors[0, -1])
    return float(np.degrees(np.arctan2(-right, down)))


def test_fragments_are_shorter_than_any_digit() -> None:
    rng = np.random.default_rng(0)
    alpha = warp_digit(digit_pools("train")[1][0], 40, 0, 0)
    for diameter in (4.2, 7.0, 11.0):
        for where in rng.random(20):
            piece = cut_fragment(alpha, diameter, where)
            rows, columns = np.nonzero(piece > OPAQUE)
            assert len(rows)
            assert max(np.ptp(rows), np.ptp(columns)) + 1 <= diameter + 1


def test_noise() -> None:
    noise = gaussian_noise((200, 200, 3), np.random.default_rng(0))
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert (noise < -1).mean() == pytest.approx(0.1587, abs=0.003)
    assert (noise > 2).mean() == pytest.approx(0.0228, abs=0.002)


def test_texture_puts_a_pattern_on_the_ink() -> None:
    smooth = SceneConfig(noise=0, min_digits=1, max_digits=1, min_scale=40, max_scale=40)
    rough = dataclasses.replace(smooth, texture=0.2)
    spread = {}
    for config in (smooth, rough):
        scenes = DigitScenes(config, "train", 12)
        core = [s.image[s.instance_masks[0] & ~grow(~s.instance_masks[0], 1)] for s in scenes]
        spread[config] = np.median([pixels.std(axis=0).mean() for pixels in core if len(pixels)])
    assert spread[rough] > 2 * spread[smooth] + 5
