"""Time and memory of a selection by the number of objects, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from ofds.method.budget import Budget
from ofds.method.coverage import select_covering
from ofds.method.objects import Pool, make_pool
from ofds.method.selection import Settings
from ofds.use.features import read_features
from repro_shared.runtime.errors import UserError

AN_IMAGE = 4  # objects, in the mean
BLOCK = 100_000  # rows that are drawn together
MINIMUM = 20  # objects of each class that the contract asks for
EVERY = 0.02  # seconds between two looks at the memory


def draw_features(path: Path, objects: int, width: int, classes: int) -> None:
    """Write (objects, width) float16 rows, each near one of 50 looks of its class."""
    looks = np.random.default_rng(1).standard_normal((classes, 50, width), np.float32)
    file = np.lib.format.open_memmap(path, "w+", np.float16, (objects, width))
    for start in range(0, objects, BLOCK):
        stop = min(start + BLOCK, objects)
        g = np.random.default_rng([2, start])
        label = np.arange(start, stop) % classes
        look = looks[label, g.integers(50, size=len(label))]
        file[start:stop] = look + g.standard_normal((len(label), width), np.float32)
    file.flush()


def draw_pool(objects: int, classes: int, features: Any) -> Pool:
    """Objects on images by chance, so many of each class, with features as `draw_features`."""
    g = np.random.default_rng(3)
    images = max(1, objects // AN_IMAGE)
    box = g.uniform(0, 99, (objects, 4)).astype(np.float32)
    return make_pool(
        [f"{number:08d}" for number in range(images)],
        [f"class {number}" for number in range(classes)],
        np.sort(g.integers(images, size=objects)), np.arange(objects, dtype=np.int64) % classes,
        g.uniform(size=objects).astype(np.float32), box, features=features,
    )  # fmt: skip


class Peak:
    """The highest memory of this process while it runs, in MiB: its own, and mapped files'."""

    def __init__(self) -> None:
        self.own = self.mapped = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            own, mapped = resident()
            self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)
            if self._ended.wait(EVERY):
                return


def resident() -> tuple[float, float]:
    """RssAnon and RssFile of this process in MiB; zeros where the system does not tell."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    own, mapped = (int(found.get(name, 0)) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def measured(
    folder: Path, objects: int, width: int, classes: int, budget: int, threads: int
) -> dict[str, Any]:
    """What `main` prints, run in a process of its own on features that are drawn first."""
    path = folder / "features.npy"
    draw_features(path, objects, width, classes)
    given = [str(path), *map(str, (objects, classes, budget, threads))]
    made = subprocess.run(
        [sys.executable, "-m", __name__, *given], capture_output=True, text=True, check=False
    )
    path.unlink()
    if made.returncode:
        last = made.stderr.strip().splitlines()[-1:] or [f"exit code {made.returncode}"]
        raise UserError(f"the selection from {objects:,} objects failed: {last[0]}")
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def main(path: str, objects: int, classes: int, budget: int, threads: int) -> dict[str, Any]:
    """Open features, make a pool, select with minima: seconds of each, and the highest memory."""
    marks = [time.perf_counter()]
    with Peak() as peak:
        features = read_features(path, objects, unit=False)
        marks.append(time.perf_counter())
        pool = draw_pool(objects, classes, features)
        marks.append(time.perf_counter())
        costs = Budget(budget).costs(pool)
        minimum = np.full(classes, MINIMUM)
        chosen, _ = select_covering(pool, costs, budget, minimum, Settings(threads=threads))
        marks.append(time.perf_counter())
    opened, made, selected = np.diff(marks).round(3).tolist()
    return {
        "objects": objects,
        "chosen": len(chosen),
        "seconds": round(opened + made + selected, 3),
        "features_seconds": opened,
        "pool_seconds": made,
        "selection_seconds": selected,
        "own_mib": round(peak.own, 1),
        "mapped_mib": round(peak.mapped, 1),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:6]))))
