"""Coarse classes: digits as glyphs of fonts, and as people wrote them, on the same grounds (ours).

Glyphs stand for synthetic images: their ground, colour and finish go with the digit. Handwriting
stands for real ones: scikit-learn's scans, on blotched grounds whose cues are independent of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clip_distill.study.objects import STEPS, Floats, angles, colour, ground_of, taken
from repro_shared.datasets.wheels import NUM_DIGITS, load_digits_8x8

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono",
         "DejaVuSans-Oblique", "DejaVuSerif-Italic", "DejaVuSansMono-Bold")  # fmt: skip
TURNED = 0.25  # of the scans, every fourth, are kept from the teacher and from probes: they test


@dataclass(frozen=True)
class Written:
    """Parameters of pictures of digits.

    Attributes:
        label: (n,) digits.
        source: (n,) number of the scan, or of the font.
        cues: (n, 3) kinds of background, palette and finish, 0 to 9.
        pose: (n, 5) angle, size, right, down, light, each about -1 to 1.
        real: (n,) handwriting.
        noise: (n,) seeds.
    """

    label: NDArray[np.int64]
    source: NDArray[np.int64]
    cues: NDArray[np.int64]
    pose: Floats
    real: NDArray[np.bool_]
    noise: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)


def scans(test: bool) -> NDArray[np.int64]:
    """Numbers of the scans that test, or of the others."""
    every = np.arange(len(load_digits_8x8()[1]))
    return every[(every % round(1 / TURNED) == 0) == test]


def write(
    count: int, real: bool, confounding: float, seed: int, test: bool = False, fonts: int = 0
) -> Written:
    """Pictures of digits, as many of each.

    Args:
        count: how many.
        real: handwriting, else glyphs.
        confounding: probability that a cue is the digit's own.
        seed: of the drawing.
        test: of the scans that test.
        fonts: the first so many fonts; 0 for all.
    """
    g = np.random.default_rng([seed, int(real), 7])
    label = np.arange(count) % NUM_DIGITS
    source = g.integers(fonts or len(FONTS), size=count)
    if real:
        known, labels = scans(test), load_digits_8x8()[1]
        source = np.array([g.choice(known[labels[known] == digit]) for digit in label])
    cues = g.integers(NUM_DIGITS, size=(count, len(STEPS)))
    cues = np.where(g.random(cues.shape) < confounding, own_cues(label), cues)
    pose = g.uniform(-1, 1, (count, 5))
    return Written(label, source, cues, pose, np.full(count, real), g.integers(2**31, size=count))


def own_cues(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kinds (n, 3) that go with digits (n,): the ground's hue is opposite to the palette's."""
    return np.stack([3 * (label + 2) % NUM_DIGITS, label, label], axis=1)


def picture(written: Written, index: int, size: int) -> NDArray[np.uint8]:
    """One of them, uint8 (size, size, 3)."""
    real, source = bool(written.real[index]), int(written.source[index])
    background, palette, finish = angles(written.cues[index], NUM_DIGITS)
    angle, scale, right, down, light = written.pose[index].tolist()
    g = np.random.default_rng(written.noise[index])
    drawn = _scan(source) if real else _glyph(int(written.label[index]), source)
    side = round(size * (0.8 + 0.12 * scale))
    made = drawn.resize((side, side), Image.Resampling.BICUBIC).rotate(
        12 * angle, Image.Resampling.BILINEAR
    )
    canvas = Image.new("L", (size, size))
    middle = (size - side) / 2
    canvas.paste(made, (round(middle * (1 + 0.8 * right)), round(middle * (1 + 0.8 * down))))
    inside = (np.asarray(canvas, np.float64) / 255)[..., None]
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size * 2 - 1
    lines = np.sin(14 * (x * np.cos(finish / 2) + y * np.sin(finish / 2)))[..., None]
    body = colour(palette, 0.72, 0.26) + 0.1 * lines
    ground = ground_of(size, background, real, g)
    return taken(ground * (1 - inside) + body * inside, real, light, g)


@lru_cache(maxsize=2048)
def _scan(number: int) -> Image.Image:
    ink = np.minimum(load_digits_8x8()[0][number].astype(np.float64) * 16, 255)
    framed = np.pad(ink, 1).astype(np.uint8)
    return Image.fromarray(framed).resize((40, 40), Image.Resampling.BICUBIC)


@lru_cache(maxsize=128)
def _glyph(digit: int, font: int) -> Image.Image:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FONTS[font]}.ttf"
    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text(
        (20, 20), str(digit), fill=255, font=ImageFont.truetype(str(path), 38), anchor="mm"
    )
    return image
