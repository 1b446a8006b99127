"""Tables and figures of the benches."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from repro_shared.evidence.figures import caption, new_figure
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.runtime.errors import UserError
from repro_shared.timing.bench import LEAST_ROUNDS, Bench, conditions


def table(made: Bench) -> Table:
    """Of a line of `bench.jsonl`; UserError for one that is none of ours."""
    kinds = {"kmeans": _kmeans, "assignment": _assignment, "million": _million, "growth": _growth}
    kind = kinds.get(made.settings.get("bench", ""))
    if kind is None:
        raise UserError(f"the bench {made.name} is none of this package")
    return kind(made)


def _kmeans(made: Bench) -> Table:
    s = made.settings
    least, same = s["inertia"]["scikit-learn"], s["same_on_one_thread"]
    rows = tuple(
        (name, made.ratio("scikit-learn", name), s["inertia"][name] / least,
         "yes" if same[name] else "no")
        for name in made.seconds
    )  # fmt: skip
    columns = (
        Column("library"), Column("speed", "x scikit-learn", 2),
        Column("inertia", "of scikit-learn's", 4), Column("the same on one thread"),
    )  # fmt: skip
    title = (
        f"k-means of {s['objects']:,} objects in {s['classes']} classes, {s['k']} clusters a class"
    )
    note = (
        f"{s['width']} features, float32; the same first centres, {s['iterations']} iterations of "
        "Lloyd's algorithm, no tolerance, nothing sampled. Inertia is counted alike for all."
    )
    return _table(made, title, columns, rows, note)


def _assignment(made: Bench) -> Table:
    s, rows = made.settings, list[tuple[Cell, ...]]()
    for k in s["k"]:
        flop, bare = 2e-9 * s["rows"] * s["width"] * k, f"products, k {k}"
        for what in ("products", "assignment", "first pass"):
            name = f"{what}, k {k}"
            rate = Interval(*np.quantile(flop / np.array(made.seconds[name]), (0.5, 0.1, 0.9)))
            rows.append((what, k, rate, made.ratio(bare, name)))
    columns = (Column("what"), Column("clusters", "", 0), Column("rate", "GFLOP/s", 1),
               Column("of the products' rate", "", 2))  # fmt: skip
    title = f"Nearest centres of {s['rows']:,} rows, against the matrix products alone"
    note = (
        f"{s['width']} features, float32, {s['tile']} rows a product. First pass: with the sums of "
        "all clusters, as rows are that have no cluster yet."
    )
    return _table(made, title, columns, tuple(rows), note)


def _million(made: Bench) -> Table:
    s = made.settings
    ours = np.array(made.seconds["OFDS, whole selection"])
    one, three = (
        np.array(made.seconds[f"scikit-learn, {n}"]) for n in ("1 iteration", "3 iterations")
    )
    theirs = one + (three - one) / 2 * (s["iterations"] - 1)
    rows: list[tuple[Cell, ...]] = [
        (name, float(np.median(seconds)), _ratios(np.array(seconds) / ours))
        for name, seconds in made.seconds.items()
    ]
    name = f"scikit-learn, {s['iterations']} iterations, extrapolated"
    rows.append((name, float(np.median(theirs)), _ratios(theirs / ours)))
    columns = (Column("what"), Column("seconds", "", 1), Column("times the selection's", "", 1))
    title = f"{s['chosen']:,} images from {s['objects']:,} objects, against clustering them all"
    note = (
        f"{s['width']} features, {s['classes']} classes of one size. scikit-learn clusters all "
        f"objects at once into {s['budget']:,}; what its second and third iterations cost is taken "
        "for all that follow. The gain is of clustering each class alone, not of faster code."
    )
    return _table(made, title, columns, tuple(rows), note)


def _growth(made: Bench) -> Table:
    s = made.settings
    keys = ("objects", "chosen", "seconds", "features_seconds", "pool_seconds",
            "selection_seconds", "own_mib", "mapped_mib")  # fmt: skip
    rows = tuple(tuple(each[key] for key in keys) for each in s["found"])
    columns = (
        Column("objects", "", 0), Column("images chosen", "", 0), Column("time", "s", 1),
        Column("looking at features", "s", 1), Column("making the pool", "s", 1),
        Column("selection", "s", 1), Column("own memory, highest", "MiB", 0),
        Column("mapped file, highest", "MiB", 0),
    )  # fmt: skip
    title = f"A selection of {s['budget']:,} objects by the number of objects to choose from"
    note = (
        f"{s['width']} features, {s['classes']} classes of one size; a process each. Own memory is "
        "RssAnon, which the mapped file of features (RssFile) is no part of. Pools are drawn in "
        "memory: reading a data set comes on top."
    )
    return _table(made, title, columns, rows, note)


def figure(made: Bench) -> tuple[str, Figure] | None:
    """Growth of time and memory, axes by powers of ten; None for a bench of something else."""
    if made.settings.get("bench") != "growth":
        return None
    found = made.settings["found"]
    objects = [each["objects"] for each in found]
    drawn = new_figure(7.0, 3.4)
    left, right = drawn.subplots(1, 2)
    for key, name in (("seconds", "all"), ("selection_seconds", "selection")):
        left.plot(objects, [each[key] for each in found], "o-", label=name)
    for key, name in (("own_mib", "own memory"), ("mapped_mib", "mapped file")):
        right.plot(objects, [each[key] for each in found], "o-", label=name)
    for panel, title, unit in ((left, "Time", "seconds"), (right, "Highest memory", "MiB")):
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(title)
        panel.set_xlabel("objects")
        panel.set_ylabel(unit)
        panel.legend()
    drawn.suptitle("A selection by the number of objects")
    s, machine = made.settings, made.machine["cpu"]
    caption(drawn, f"{s['width']} drawn features, {s['classes']} classes, a budget of "
                   f"{s['budget']:,} objects; {made.threads} threads, {machine}.")  # fmt: skip
    return f"bench-{made.name}", drawn


def _ratios(values: np.ndarray) -> Interval:
    return Interval(*np.quantile(values, (0.5, 0.1, 0.9)).tolist())


def _table(
    made: Bench, title: str, columns: tuple[Column, ...], rows: tuple[tuple[Cell, ...], ...],
    note: str,
) -> Table:  # fmt: skip
    few = f"Fewer than {LEAST_ROUNDS} rounds: not to be relied on to the last digit."
    short = made.rounds < LEAST_ROUNDS and made.settings["bench"] != "growth"
    notes = (conditions(made), note, *((few,) if short else ()))
    return Table(f"bench-{made.name}", title, columns, rows, notes)
