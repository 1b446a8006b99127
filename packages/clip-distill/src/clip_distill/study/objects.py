"""Rendered objects of similar kinds, with a background, a palette and a finish (ours).

The shape, its stripes and its tail come from a content vector that scatters around a prototype of
its class. In the synthetic domain the three cues go with the class, with a probability that is the
world's confounding; in the real domain they are independent of it. The synthetic domain is also
cleaner: flat grounds and sharp edges against texture, shading, blur and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Domain = Literal["generic", "synthetic", "real"]
Floats = NDArray[np.float64]
CONTENT = 8  # length of a content vector
KINDS = 48  # of objects that have a name; the first ones are the classes of the target domain
CUES = ("background", "palette", "finish")
STEPS, SHIFTS = np.array([7, 1, 5]), np.array([3, 0, 1])  # from kinds to hues and directions


@dataclass(frozen=True)
class World:
    """How objects are drawn.

    Attributes:
        confounding: probability that a cue of a synthetic image is its class's own.
        classes: of the target domain.
        held_out: classes, the last ones, that have no synthetic images.
        size: of the images, in pixels.
        apart: deviation of the prototypes.
        within: deviation of the content around its prototype.
        photographic: share of the synthetic images that look like real ones, as generators make
            clean pictures and others; without any, a student forgets how real ones look.
        generic, synthetic, test, labelled: images of stage 1, of stage 2, of each test set, and
            of the linear probe.
        amount: of the synthetic images the first so many only; None for all.
        seed: of the prototypes, the same for all runs.
    """

    confounding: float = 1.0
    classes: int = 18
    held_out: int = 6
    size: int = 48
    apart: float = 0.9
    within: float = 0.45
    photographic: float = 0.5
    generic: int = 6000
    synthetic: int = 2400
    test: int = 900
    labelled: int = 900
    amount: int | None = None
    seed: int = 0

    @property
    def prototypes(self) -> Floats:
        """(KINDS, CONTENT)."""
        g = np.random.default_rng([self.seed, 1])
        return self.apart * g.normal(size=(KINDS, CONTENT))


@dataclass(frozen=True)
class Scenes:
    """Parameters of images.

    Attributes:
        content: (n, CONTENT).
        label: (n,) classes; -1 for generic objects.
        cues: (n, 3) kinds of background, palette and finish, 0 to classes - 1.
        pose: (n, 5) angle, size, right, down, light, each about -1 to 1.
        real: whether they are rendered as the real domain is, (n,).
        noise: (n,) seeds of texture and noise.
    """

    content: Floats
    label: NDArray[np.int64]
    cues: NDArray[np.int64]
    pose: Floats
    real: NDArray[np.bool_]
    noise: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    def first(self, count: int | None) -> Scenes:
        """The first so many; all for None."""
        return Scenes(*(getattr(self, each.name)[:count] for each in fields(self)))


def draw(world: World, domain: Domain, count: int, seed: int, seen_only: bool = False) -> Scenes:
    """Scenes of a domain.

    Args:
        world: how.
        domain: generic objects of no class in both styles; synthetic or real ones of the classes.
        count: how many.
        seed: of the drawing.
        seen_only: without the held-out classes.
    """
    g = np.random.default_rng([seed, ("generic", "synthetic", "real").index(domain)])
    classes = world.classes - world.held_out if seen_only else world.classes
    label = np.arange(count) % classes
    cues = g.integers(world.classes, size=(count, len(CUES)))
    if domain == "generic":
        content, label = g.normal(size=(count, CONTENT)), np.full(count, -1)
    else:
        spread = world.within * g.normal(size=(count, CONTENT))
        content = world.prototypes[label] + spread
    if domain == "synthetic":
        own = g.random((count, len(CUES))) < world.confounding
        cues = np.where(own, label[:, None], cues)
    pose = g.uniform(-1, 1, (count, 5))
    share = {"generic": 0.5, "synthetic": world.photographic, "real": 1.0}[domain]
    real = g.random(count) < share if share < 1 else np.full(count, True)
    return Scenes(content, label.astype(np.int64), cues, pose, real, g.integers(2**31, size=count))


def swapped(world: World, scenes: Scenes) -> Scenes:
    """The same objects of seen classes with the cues of the next seen class."""
    other = (scenes.label + 1) % (world.classes - world.held_out)
    cues = np.repeat(other[:, None], len(CUES), axis=1)
    return Scenes(scenes.content, scenes.label, cues, scenes.pose, scenes.real, scenes.noise)


def render(world: World, scenes: Scenes) -> NDArray[np.uint8]:
    """Images uint8 (n, size, size, 3)."""
    return np.stack([_image(world, scenes, index) for index in range(len(scenes))])


def _image(world: World, scenes: Scenes, index: int) -> NDArray[np.uint8]:
    size, real = world.size, bool(scenes.real[index])
    content = np.tanh(scenes.content[index])
    background, palette, finish = angles(scenes.cues[index], world.classes)
    angle, scale, right, down, light = scenes.pose[index].tolist()
    g = np.random.default_rng(scenes.noise[index])
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size * 2 - 1
    # Position on the object: moved, turned, stretched.
    u, v = x - 0.2 * right, y - 0.2 * down
    turn = 0.35 * angle
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    stretch = np.exp(0.4 * content[4])
    u, v = u * stretch, v / stretch
    radius, polar = np.hypot(u, v), np.arctan2(v, u)
    outline = 0.55 * (1 + 0.15 * scale)
    lobes = sum(content[k - 2] * np.cos(k * polar + k) for k in (2, 3, 4, 5))
    tail = np.exp(-(((polar + 2.5) / 0.25) ** 2)) * 0.3 * outline * (1 + content[7])
    depth = outline * (1 + 0.2 * lobes) + tail - radius  # positive inside
    inside = 1 / (1 + np.exp(-depth * size * (0.35 if real else 0.8)))[..., None]
    rim = np.exp(-((depth / 0.05) ** 2))[..., None]
    stripes = np.sin((3.5 + 2 * content[5]) * np.pi * u / outline + 2 * content[6])
    body = colour(palette, 0.72, 0.26) * (0.8 + 0.2 * np.tanh(6 * stripes))[..., None]
    body = body + 0.1 * np.sin(14 * (u * np.cos(finish / 2) + v * np.sin(finish / 2)))[..., None]
    if real:
        body = body * (1 + 0.3 * light * v / outline)[..., None]
    ground = ground_of(size, background, real, g)
    return taken(ground * (1 - inside) + body * inside - 0.25 * rim, real, light, g)


def ground_of(size: int, background: float, real: bool, g: np.random.Generator) -> Floats:
    """A waved ground (size, size, 3); a real one has blotches."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size * 2 - 1
    along = x * np.cos(background) + y * np.sin(background)
    wave = np.sin((5 + 2 * np.cos(background)) * np.pi * along)
    ground = colour(background, 0.4, 0.18) + 0.08 * wave[..., None]
    if real:
        coarse = g.normal(size=(size // 8 + 1, size // 8 + 1, 1))
        ground = ground + 0.12 * np.kron(coarse, np.ones((8, 8, 1)))[:size, :size]
    return ground


def taken(
    picture: Floats, real: bool, light: float, g: np.random.Generator
) -> NDArray[np.uint8]:  # fmt: skip
    """The picture as bytes; a real one is blurred and has noise."""
    if real:
        picture = (picture + np.roll(picture, 1, 0) + np.roll(picture, 1, 1)) / 3
        picture = 0.9 * picture + 0.06 * g.normal(size=picture.shape) + 0.04 * light
    return (255 * picture.clip(0, 1)).round().astype(np.uint8)


def angles(cues: NDArray[np.int64], kinds: int) -> list[float]:
    """Of kinds of background, palette and finish, 0 to 2 pi.

    Of 18 or 6 kinds, a class's own ground and palette lie 60 degrees apart or more, so that objects
    whose cues go with their class are no harder to see than others.
    """
    turned = (cues * STEPS + SHIFTS) % kinds
    return [float(each) for each in 2 * np.pi * turned / kinds]


def colour(hue: float, value: float, strength: float) -> Floats:
    """An RGB colour of a hue from 0 to 2 pi."""
    return value + strength * np.cos(hue - np.array([0, 2, 4]) * np.pi / 3)
