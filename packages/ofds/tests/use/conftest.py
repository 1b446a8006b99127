"""Files as people bring them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.use.select_command import select
from repro_shared.runtime.cli import run


@dataclass
class Files:
    """A small pool on disk, and the command on it."""

    folder: Path
    images: list[dict[str, Any]]
    results: list[dict[str, Any]]
    features: np.ndarray
    categories: list[dict[str, Any]]

    def write(self, order: Sequence[int] | None = None, backwards: bool = False) -> None:
        """Write the three files, results in another order if wanted."""
        order = range(len(self.results)) if order is None else order
        images = self.images[::-1] if backwards else self.images
        self.json("images.json", {"images": images, "categories": self.categories})
        self.json("results.json", [self.results[place] for place in order])
        np.save(self.folder / "features.npy", self.features[list(order)])

    def json(self, name: str, content: Any) -> Path:
        """Write a JSON file."""
        path = self.folder / name
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def select(self, *more: str, out: str = "out") -> int:
        """Run the command; returns its exit code."""
        files = [f"--{n.split('.')[0]} {self.folder / n}" for n in ("images.json", "features.npy")]
        given = " ".join([*files, f"--proposals {self.folder / 'results.json'}"]).split()
        arguments = ["select", *given, "--out", str(self.folder / out), *more]
        return run("ofds", "", {"select": select}, arguments, version="0")

    def made(self, out: str = "out") -> dict[str, Any]:
        """The selection.json that was written."""
        made: dict[str, Any] = json.loads((self.folder / out / "selection.json").read_text())
        return made


def drawn(folder: Path, seed: int = 0, images: int = 40) -> Files:
    """Images, results and features by seed; classes 1, 3 and 90, the last one rare."""
    g = np.random.default_rng(seed)
    listed = [
        {"id": 7 * i, "file_name": f"a/{i:03d}.jpg", "width": 100, "height": 100}
        for i in range(images)
    ]
    results = [
        {
            "image_id": 7 * i,
            "category_id": int(g.choice([1, 3, 90], p=[0.7, 0.25, 0.05])),
            "bbox": [float(v) for v in (*g.uniform(0, 50, 2), *g.uniform(5, 50, 2))],
            "score": float(g.uniform(0.2, 1)),
        }
        for i in range(images)
        for _ in range(g.poisson(2.5))
    ]
    features = g.normal(size=(len(results), 6)).astype(np.float16)
    categories = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]
    return Files(
        folder, listed, results, features, [*categories, {"id": 90, "name": "St. Bernard"}]
    )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A drawn pool, written."""
    made = drawn(tmp_path)
    made.write()
    return made


@pytest.fixture(scope="session")
def true_objects() -> Callable[..., dict[str, Any]]:
    """Draws what is really on the images of `Files`, as a COCO file with annotations."""

    def draw(
        files: Files, seed: int = 0, precision: float = 0.8, missed: float = 0.3
    ) -> dict[str, Any]:
        g = np.random.default_rng([seed, 1])
        true = [
            {"image_id": each["image_id"], "category_id": each["category_id"], "bbox": each["bbox"]}
            for each in files.results
            if g.uniform() < precision
        ]
        true += [
            {"image_id": image["id"], "category_id": 1 if g.uniform() < 0.8 else 90,
             "bbox": [float(g.uniform(0, 60)), 70.0, 12.0, 12.0]}
            for image in files.images
            if g.uniform() < missed
        ]  # fmt: skip
        for place, each in enumerate(true):
            each["id"] = place + 1
        images = [{**image, "labelled": True} for image in files.images]
        return {"images": images, "categories": files.categories, "annotations": true}

    return draw


@pytest.fixture(scope="session")
def draw() -> Callable[..., Files]:
    """`drawn`."""
    return drawn
