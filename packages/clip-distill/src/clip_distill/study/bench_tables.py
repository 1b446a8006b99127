"""Tables of the benches."""

from __future__ import annotations

import numpy as np

from clip_distill.study.bench_arms import CACHED, LABELS, ONLINE, OPEN_CLIP
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.runtime.errors import UserError
from repro_shared.timing.bench import LEAST_ROUNDS, Bench, conditions

ENCODED, CLASSIFIED = "encoding a batch", "classifying all images"
TEACHER, BUILD = "teacher alone", "making the cache"
AIMS = {
    ("tiny_vit_11m_224", 224, "ViT-B-32"): 1.25,
    ("tiny_vit_11m_224", 224, "ViT-L-14"): 4.5,
}  # of cached over online
MOST_OVER_LABELS = 0.05  # that a cached step may take longer than one of labels alone
LEAST_SPEED = 1.0  # of making the cache, against the teacher alone


def table(made: Bench) -> Table:
    """Of a line of `bench.jsonl`; UserError for one that is none of ours."""
    kinds = {"distillation": _distillation, "scoring": _scoring, "caching": _caching}
    kind = kinds.get(made.settings.get("bench", ""))
    if kind is None:
        raise UserError(f"the bench {made.name} is none of this package")
    return kind(made)


def _distillation(made: Bench) -> Table:
    s = made.settings
    aim = AIMS.get((s["backbone"], s["image"], s["teacher"]))
    bars = {LABELS: f"{1 / (1 + MOST_OVER_LABELS):.3f} or more"}
    if aim is not None:
        bars[ONLINE] = f"{aim:g} or more"
    rows = tuple(
        (name, made.macs[name] / 1e9, made.ratio(name, CACHED),
         made.macs[name] / made.macs[CACHED], bars.get(name, ""))
        for name in (LABELS, CACHED, ONLINE, OPEN_CLIP)
    )  # fmt: skip
    columns = (
        Column("step"), Column("arithmetic", "GMAC an image", 2),
        Column("time", "x cached", 3), Column("time by MACs", "x cached", 2), Column("aim"),
    )  # fmt: skip
    title = f"A training step of {s['backbone']} with {s['teacher']} as teacher"
    note = (
        f"Random weights, {s['image']} pixels, {s['batch']} images a step, decoded views in "
        "memory for all. Labels alone: the same network and cross-entropy, no distillation. "
        "open_clip: its own training function, which also trains a text tower as large as the "
        f"teacher's. Aim: a cached step takes at most {100 * MOST_OVER_LABELS:g} % longer than one "
        "of labels alone."
    )
    return _table(made, title, columns, rows, note)


def _scoring(made: Bench) -> Table:
    s = made.settings
    encoding = np.array(made.seconds[ENCODED]) * s["scored"] / s["encoded"]
    share = np.quantile(100 * np.array(made.seconds[CLASSIFIED]) / encoding, (0.5, 0.1, 0.9))
    columns = (Column("images", "", 0), Column("classes", "", 0),
               Column("classifying", "% of encoding", 3), Column("aim", "%", 0))  # fmt: skip
    rows: tuple[tuple[Cell, ...], ...] = (
        (s["scored"], s["classes"], Interval(*share.tolist()), 2.0),
    )
    title = f"What zero-shot classification adds to the encoder {s['backbone']}"
    note = (
        f"{s['image']} pixels, {s['width']} features; encoding is timed on {s['encoded']} images. "
        "The texts' vectors are made once for a set of classes and are not in it."
    )
    return _table(made, title, columns, rows, note)


def _caching(made: Bench) -> Table:
    s = made.settings
    columns = (
        Column("speed of making the cache", "of the teacher's", 3),
        Column("aim", "of the teacher's", 2),
        Column("a view on disk", "bytes", 0),
    )
    rows: tuple[tuple[Cell, ...], ...] = (
        (made.ratio(TEACHER, BUILD), LEAST_SPEED, s["bytes_of_a_view"]),
    )
    title = f"Making a cache of {s['teacher']}, against its teacher alone"
    note = (
        f"{s['views']} views of {s['image']} pixels, batches of {s['batch']}, {s['width']} "
        "features in float16. With crops, resizing, hashes, canaries and writing, from pictures "
        "in memory: decoding files is not in it."
    )
    return _table(made, title, columns, rows, note)


def _table(
    made: Bench, title: str, columns: tuple[Column, ...], rows: tuple[tuple[Cell, ...], ...],
    note: str,
) -> Table:  # fmt: skip
    few = f"Fewer than {LEAST_ROUNDS} rounds: not to be relied on."
    notes = (conditions(made), note, *((few,) if made.rounds < LEAST_ROUNDS else ()))
    return Table(f"bench-{made.name}", title, columns, rows, notes)
