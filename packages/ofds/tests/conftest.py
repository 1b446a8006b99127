"""Small pools for all tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def columns(seed: int = 0, images: int = 60, classes: int = 4, tail: float = 1.0) -> dict[str, Any]:
    """Arguments of `make_pool` for a drawn pool."""
    g = np.random.default_rng(seed)
    share = np.arange(1, classes + 1) ** -tail
    modes = g.normal(size=(classes, 3, 8))
    names = [f"{index:04d}.jpg" for index in range(images)]
    owner = np.repeat(np.arange(images), 1 + g.poisson(2, images))
    label = g.choice(classes, len(owner), p=share / share.sum())
    feature = modes[label, g.integers(3, size=len(owner))] + 0.3 * g.normal(size=(len(owner), 8))
    box = np.concatenate([g.uniform(0, 50, (len(owner), 2)), g.uniform(5, 20, (len(owner), 2))], 1)
    return {
        "images": names,
        "classes": [f"class {index}" for index in range(classes)],
        "image": [names[index] for index in owner],
        "label": label,
        "score": g.uniform(0.3, 1, len(owner)),
        "box": box,
        "features": feature.astype(np.float32),
    }


@pytest.fixture(name="columns", scope="session")
def _columns() -> Any:
    return columns
