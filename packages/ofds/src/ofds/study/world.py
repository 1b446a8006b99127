"""A world without pictures: objects are points in a feature space, as a detector would see them.

Truth, proposals with the faults that detectors have, a feature for each image, and a balanced test
set. Cheap enough for many seeds; what it cannot show is pictures (ours; no such study is in the
paper's abstract).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Pool, make_pool
from repro_shared.datasets.fingerprint import fingerprint_arrays

SIDE = 256.0  # pixels of an image


@dataclass(frozen=True)
class World:
    """How a pool is drawn.

    Attributes:
        zipf: exponent of the class frequencies; 0 for a balanced pool.
        images: in the pool.
        classes: target classes.
        modes: appearances of a class, themselves with Zipf frequencies.
        width: features an object.
        apart: deviation of class centres, and of appearances around them; noise is 0.5 to 1.
        scenes: kinds of images, each with a mix of classes of its own.
        crowding: shape of the number of objects an image; smaller is more heavy-tailed.
        recall: chance that a large object is proposed; a small one's is half of it.
        wrong: share of the proposals with the label of another class.
        false: proposals an image without an object.
        threshold: proposals of a lower score are dropped.
        scene: weight of the scene, beside the objects, in an image's feature.
        test: test objects a class.
    """

    zipf: float = 0.0
    images: int = 2000
    classes: int = 12
    modes: int = 6
    width: int = 24
    apart: float = 0.45
    scenes: int = 6
    crowding: float = 2.5
    recall: float = 0.8
    wrong: float = 0.12
    false: float = 0.3
    threshold: float = 0.4
    scene: float = 1.0
    test: int = 100


@dataclass(frozen=True)
class Drawn:
    """A pool with its truth.

    Attributes:
        proposals: what selection may look at.
        truth: the true objects of the same images, with their features.
        image_features: (images, width), of whole images.
        test_features, test_labels: of test objects, all classes alike.
    """

    proposals: Pool
    truth: Pool
    image_features: NDArray[np.float32]
    test_features: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Worlds:
    """The data source of the studies in feature space: a world, drawn anew for every seed."""

    world: World
    name: str
    title = "feature space"

    @property
    def sentence(self) -> str:
        """What the data are."""
        kind = f"Zipf exponent {self.world.zipf:g}" if self.world.zipf else "balanced"
        return (
            f"drawn points in a feature space, no pictures: {self.world.images} images, "
            f"{self.world.classes} classes ({kind}); scored on a balanced test set"
        )

    def missing(self, folder: Any) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Any) -> Opened:
        """Its generator."""
        return Opened(self.world)


class Opened:
    """Draws pools; the fingerprint is that of a small one, so that a changed generator shows."""

    def __init__(self, world: World) -> None:
        self.world = world
        few = draw(replace(world, images=50, test=5), 100)
        self.fingerprint = fingerprint_arrays({
            "box": few.proposals.box, "label": few.proposals.label,
            "features": np.asarray(few.truth.features), "test": few.test_features,
        })  # fmt: skip


def draw(world: World, seed: int) -> Drawn:
    """A pool, its truth and a test set."""
    g = np.random.default_rng([seed, 7])
    centres = world.apart * g.normal(size=(world.classes, 1, world.width))
    modes = centres + world.apart * g.normal(size=(world.classes, world.modes, world.width))
    spread = g.uniform(0.5, 1.0, (world.classes, world.modes))
    rank = g.permutation(world.classes) + 1.0
    frequency = rank**-world.zipf / (rank**-world.zipf).sum()
    mix = np.stack([g.dirichlet(4 * world.classes * frequency + 0.05) for _ in range(world.scenes)])
    share = np.arange(1, world.modes + 1) ** -1.0
    share /= share.sum()
    scene_vectors = g.normal(size=(world.scenes, world.width))

    def points(labels: NDArray[np.int64], mode: NDArray[np.int64]) -> NDArray[np.float32]:
        noise = spread[labels, mode][:, None] * g.normal(size=(len(labels), world.width))
        return (modes[labels, mode] + noise).astype(np.float32)

    scene = g.integers(world.scenes, size=world.images)
    count = np.minimum(1 + np.floor(5.0 * g.pareto(world.crowding, world.images)), 40).astype(int)
    owner = np.repeat(np.arange(world.images), count)
    total = np.cumsum(mix, axis=1)
    total[:, -1] = 1.0
    label = (g.random(len(owner))[:, None] > total[scene[owner]]).sum(axis=1)
    mode = g.choice(world.modes, len(owner), p=share)
    feature, side = points(label, mode), np.exp(g.normal(3.4, 0.6, len(owner))).clip(6, 120)
    box = np.stack([*g.uniform(0, SIDE - side, (2, len(owner))), side, side], axis=1)

    # Proposals: some objects are missed, small ones more often, some get another label.
    chance = world.recall * np.where(side < 20, 0.5, 1.0)
    seen = g.random(len(owner)) < chance
    called = np.where(
        g.random(len(owner)) < world.wrong, g.integers(world.classes, size=len(owner)), label
    )
    ghosts = g.poisson(world.false, world.images)
    haunted = np.repeat(np.arange(world.images), ghosts)
    extra = {
        "label": g.choice(world.classes, len(haunted), p=frequency),
        "feature": (1.3 * g.normal(size=(len(haunted), world.width))).astype(np.float32),
        "box": np.stack([*g.uniform(0, SIDE - 30, (2, len(haunted))),
                         *np.full((2, len(haunted)), 30.0)], axis=1),
    }  # fmt: skip
    score = np.concatenate([g.beta(6, 3, seen.sum()), g.beta(3, 4, len(haunted))])

    names = [f"{index:05d}" for index in range(world.images)]
    classes = [f"class {index}" for index in range(world.classes)]
    at = np.concatenate([owner[seen], haunted])
    proposals = make_pool(
        names, classes, [names[i] for i in at], np.concatenate([called[seen], extra["label"]]),
        score, np.concatenate([box[seen], extra["box"]]),
        features=np.concatenate([feature[seen], extra["feature"]]),
    )  # fmt: skip
    truth = make_pool(
        names, classes, [names[i] for i in owner], label, np.ones(len(owner)), box, features=feature
    )
    weight = side**2
    pooled = np.zeros((world.images, world.width))
    np.add.at(pooled, owner, feature * weight[:, None])
    pooled /= np.bincount(owner, weight, world.images)[:, None]
    pooled += world.scene * scene_vectors[scene] + 0.3 * g.normal(size=pooled.shape)
    test = np.repeat(np.arange(world.classes), world.test)
    return Drawn(
        proposals.above(world.threshold),
        truth,
        pooled.astype(np.float32),
        points(test, g.choice(world.modes, len(test), p=share)),
        test,
    )
