"""`ofds bench`: clustering against scikit-learn and faiss, assignment against bare matrix products,
selection against clustering everything at once, and how time and memory grow.

What is compared takes turns in one process. Features are drawn.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ofds.method.clustering import TILE, Kept, Lloyd, kmeans, one_thread, seeds, tiles
from ofds.method.objects import Pool
from ofds.method.selection import Settings, select
from ofds.study import bench_growth
from ofds.study.bench_growth import draw_features, draw_pool
from ofds.study.bench_tables import figure, table
from repro_shared.evidence.cells import slug
from repro_shared.evidence.figures import save_figure
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import write_tables
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.timing.bench import Bench, add_bench, bench_of, place_of
from repro_shared.timing.calibrate import Calibration, calibrate, cpu_model

Name = Literal["kmeans", "assignment", "million", "growth"]
ALL: tuple[Name, ...] = ("kmeans", "assignment", "million", "growth")
ITERATIONS = 25
PACKAGES = ("ofds", "numpy", "scipy", "scikit-learn", "faiss-cpu")


@dataclass(frozen=True)
class Sizes:
    """How large the benches are.

    Attributes:
        width: features an object.
        classes: of objects, all alike.
        groups: classes in the bench of k-means, large enough for what depends on threads to show.
        objects: there.
        k: clusters a class there.
        tiles: of the bench of assignment.
        many: objects of the bench against clustering everything.
        budget: in images, there; and clusters.
        growth: objects of each step of growth.
        rounds: of the first two benches.
        slow_rounds: of the third.
    """

    width: int = 256
    classes: int = 20
    groups: int = 4
    objects: int = 200_000
    k: int = 100
    tiles: int = 24
    many: int = 1_000_000
    budget: int = 2_000
    growth: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    rounds: int = 15
    slow_rounds: int = 3


USUAL = Sizes()


def command(
    *,
    only: tuple[Name, ...] = ALL,
    threads: int = 2,
    out: str | None = None,
    scratch: str | None = None,
    device: Literal["cpu"] = "cpu",
) -> None:
    """Speed of clustering and selection as ratios, interleaved, and how time and memory grow.

    Args:
        only: some of kmeans, assignment, million, growth.
        threads: of everything.
        out: keep the times of all rounds below this folder, and the tables.
        scratch: folder for drawn features, up to 5 GB; by default the system's for such files.
        device: cpu.
    """
    run(USUAL, only, threads, out, scratch)


def run(
    sizes: Sizes, only: tuple[Name, ...], threads: int, out: str | None, scratch: str | None
) -> list[Bench]:
    """`command`, of other sizes if wanted."""
    if threads < 1:
        raise UserError(f"--threads must be at least 1, got {threads}")
    _libraries()
    made = list[Bench]()
    for name in only:
        if out:
            place_of(out, name_of(name, threads))
        with tempfile.TemporaryDirectory(dir=scratch) as folder, ExitStack() as stack:
            usual = torch.get_num_threads()
            stack.callback(torch.set_num_threads, usual)
            torch.set_num_threads(threads)
            stack.enter_context(threadpool_limits(threads))
            say(f"bench {name}")
            found = _BENCHES[name](sizes, threads, Path(folder))
        made.append(found)
        print(table(found).to_terminal())
        if out:
            add_bench(out, found)
            write_tables(Path(out) / "tables", [table(found)])
        if out and (drawn := figure(found)):
            save_figure(drawn[1], Path(out) / "figures" / drawn[0])
    return made


def name_of(name: str, threads: int) -> str:
    """Of a bench, with the threads if they are not two."""
    return slug(f"{name} threads {threads}" if threads != 2 else name)


def _libraries() -> tuple[Any, Any]:
    try:
        import faiss
        import sklearn.cluster
    except ImportError:
        raise UserError("bench needs scikit-learn and faiss: pip install 'ofds[bench]'") from None
    return sklearn.cluster, faiss


def _made(name: str, threads: int, timed: Calibration, **settings: Any) -> Bench:
    origin = provenance(PACKAGES, __file__)
    return bench_of(name_of(name, threads), timed, origin, bench=name, device="cpu", **settings)


def points(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Rows near a surface of few dimensions, on which Lloyd's algorithm takes long to settle."""
    g = np.random.default_rng(seed)
    surface = g.standard_normal((6, width), np.float32)
    found = g.standard_normal((count, 6), np.float32) @ surface
    found += 0.3 * g.standard_normal((count, width), np.float32)
    return found


def bench_kmeans(sizes: Sizes, threads: int, folder: Path) -> Bench:
    """k-means of every class: the same rows, first centres and iterations for three libraries."""
    each = sizes.objects // sizes.groups
    rows = np.arange(each)
    x = [points(each, sizes.width, label) for label in range(sizes.groups)]
    start = [seeds(one, rows, sizes.k, 0) for one in x]
    found = dict[str, list[NDArray[np.float32]]]()

    def step(name: str, cluster: Callable[..., NDArray[np.float32]]) -> Callable[[], None]:
        def timed() -> None:
            found[name] = [cluster(a, b, threads) for a, b in zip(x, start, strict=True)]

        return timed

    arms = {"ofds": _ours, "scikit-learn": _scikit, "faiss": _faiss}
    steps = {name: step(name, cluster) for name, cluster in arms.items()}
    timed = calibrate(steps, warmup=1, rounds=sizes.rounds, lead_in=0)
    inertia = {
        name: sum(_inertia(a, centres) for a, centres in zip(x, found[name], strict=True))
        for name in arms
    }
    same = {
        name: all(
            np.array_equal(cluster(a, b, 1), centres)
            for a, b, centres in zip(x, start, found[name], strict=True)
        )
        for name, cluster in arms.items()
    }
    return _made("kmeans", threads, timed, objects=each * sizes.groups, classes=sizes.groups,
                 width=sizes.width, k=sizes.k, iterations=ITERATIONS, inertia=inertia,
                 same_on_one_thread=same)  # fmt: skip


def _ours(x: NDArray[np.float32], start: NDArray[np.float32], threads: int) -> Any:
    rows, k = np.arange(len(x)), len(start)
    return kmeans(x, rows, k, 0, ITERATIONS, threads, start=start).centres


def _scikit(x: NDArray[np.float32], start: NDArray[np.float32], threads: int) -> Any:
    cluster, _ = _libraries()
    with threadpool_limits(threads):
        made = cluster.KMeans(len(start), init=start, n_init=1, max_iter=ITERATIONS, tol=0)
        return made.fit(x).cluster_centers_


def _faiss(x: NDArray[np.float32], start: NDArray[np.float32], threads: int) -> Any:
    _, faiss = _libraries()
    faiss.omp_set_num_threads(threads)
    made = faiss.Kmeans(
        x.shape[1], len(start), niter=ITERATIONS, min_points_per_centroid=1,
        max_points_per_centroid=len(x),
    )  # fmt: skip
    made.train(x, init_centroids=start)
    return made.centroids.copy()


def _inertia(x: NDArray[np.float32], centres: NDArray[np.float32]) -> float:
    squares = (x * x).sum(axis=1, dtype=np.float64)
    best = ((centres * centres).sum(axis=1) - 2 * x @ centres.T).min(axis=1)
    return float((best + squares).sum())


def bench_assignment(sizes: Sizes, threads: int, folder: Path) -> Bench:
    """Taking rows to their nearest centres, against the matrix products alone, tile by tile."""
    x = points(sizes.tiles * TILE, sizes.width, 0)
    kept, parts, scratch = Kept(x, None), list(tiles(len(x))), threading.local()
    steps = dict[str, Callable[[], Any]]()

    def products(twice: NDArray[np.float32], part: slice) -> None:
        if not hasattr(scratch, "found"):
            scratch.found = np.empty((TILE, 10 * sizes.k), np.float32)
        np.matmul(x[part], twice, out=scratch.found[:, : twice.shape[1]])

    with ThreadPoolExecutor(threads) as pool, one_thread():

        def state(k: int) -> Lloyd:
            return Lloyd(kept, np.full(len(x), -1, np.int64), k, pool.map)

        for k in (sizes.k, 10 * sizes.k):
            centres = np.ascontiguousarray(x[:k])
            bare = partial(products, np.ascontiguousarray(-2 * centres.T))
            settled = state(k)
            steps[f"products, k {k}"] = lambda bare=bare: list(pool.map(bare, parts))  # type: ignore[misc]
            steps[f"assignment, k {k}"] = partial(settled.assign, centres)
            steps[f"first pass, k {k}"] = lambda k=k, c=centres: state(k).assign(c)  # type: ignore[misc]
        timed = calibrate(steps, warmup=1, rounds=sizes.rounds, lead_in=1)
    return _made("assignment", threads, timed, rows=len(x), width=sizes.width, tile=TILE,
                 k=[sizes.k, 10 * sizes.k])  # fmt: skip


def bench_million(sizes: Sizes, threads: int, folder: Path) -> Bench:
    """A selection, against scikit-learn's k-means over all objects with a cluster for each image.

    Of that, one and three iterations are timed: the others cost what the second and third do.
    """
    path = folder / "features.npy"
    draw_features(path, sizes.many, sizes.width, sizes.classes)
    mapped = np.load(path, mmap_mode="r")
    pool: Pool = draw_pool(sizes.many, sizes.classes, mapped)
    costs, whole = np.ones(len(pool.images)), np.asarray(mapped, np.float32)
    start = whole[np.random.default_rng(0).choice(len(whole), sizes.budget, replace=False)]
    cluster, _ = _libraries()
    counted = list[int]()

    def ours() -> None:
        counted[:] = [len(select(pool, costs, sizes.budget, Settings(threads=threads)))]

    def theirs(iterations: int) -> Callable[[], None]:
        def timed() -> None:
            made = cluster.KMeans(sizes.budget, init=start, n_init=1, max_iter=iterations, tol=0)
            made.fit(whole)

        return timed

    steps = {"OFDS, whole selection": ours, "scikit-learn, 1 iteration": theirs(1),
             "scikit-learn, 3 iterations": theirs(3)}  # fmt: skip
    timed = calibrate(steps, warmup=0, rounds=sizes.slow_rounds, lead_in=0)
    return _made("million", threads, timed, objects=sizes.many, classes=sizes.classes,
                 width=sizes.width, budget=sizes.budget, chosen=counted[0],
                 iterations=ITERATIONS)  # fmt: skip


def bench_growth_of(sizes: Sizes, threads: int, folder: Path) -> Bench:
    """Time and memory of a selection by the number of objects, each in a process of its own."""
    found = {}
    for objects in sizes.growth:
        say(f"{objects:,} objects")
        found[objects] = bench_growth.measured(
            folder, objects, sizes.width, sizes.classes, sizes.budget, threads
        )
    seconds = {f"{objects:,} objects": [each["seconds"]] for objects, each in found.items()}
    machine = {"cpu": cpu_model(), "torch": torch.__version__}
    timed = Calibration(seconds, seconds, 1, 0, 0, threads, machine)
    return _made("growth", threads, timed, classes=sizes.classes, width=sizes.width,
                 budget=sizes.budget, found=list(found.values()))  # fmt: skip


_BENCHES: dict[Name, Callable[[Sizes, int, Path], Bench]] = {
    "kmeans": bench_kmeans,
    "assignment": bench_assignment,
    "million": bench_million,
    "growth": bench_growth_of,
}
