"""Tables of the benches."""

from __future__ import annotations

from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.errors import UserError
from repro_shared.timing.bench import LEAST_ROUNDS, Bench, conditions

PLAIN = "unguided"
TOGETHER, ONE = "together", "one at a time"
FULL, TINY = "full decoder", "tiny decoder"
MOST_STEPWISE = 2.4  # times an unguided image: last 60 % of the steps, one view
LEAST_BATCHED = 3.0  # times faster together, at 16


def table(made: Bench) -> Table:
    """Of a line of `bench.jsonl`; UserError for one that is none of ours."""
    kinds = {"engines": _engines, "wide": _engines, "batches": _batches, "decoders": _decoders}
    kind = kinds.get(made.settings.get("bench", ""))
    if kind is None:
        raise UserError(f"the bench {made.name} is none of this package")
    return kind(made)


def _engines(made: Bench) -> Table:
    s = made.settings
    rows = tuple[tuple[Cell, ...], ...](
        (name, *s["passes"][name], s["arithmetic"][name], made.ratio(name, PLAIN),
         f"at most {MOST_STEPWISE:g}" if name.endswith("one view") else "")
        for name in made.seconds
    )  # fmt: skip
    columns = (
        Column("images"), Column("network, forward"), Column("network, backward"),
        Column("passes", "x unguided", 2), Column("time", "x unguided", 2), Column("aim"),
    )  # fmt: skip
    note = (
        f"UNet2DModel of {', '.join(map(str, s['channels']))} channels on 16 x 16 x 12, random "
        f"weights, {s['steps']} steps of DDIM, {s['batch']} images at once; teacher and student of "
        f"the studies. Chains make {s['rounds']} rounds, none stops early. Passes count forward "
        "and backward alike; time has classifiers and views in it."
    )
    return _table(made, "A guided over an unguided image", columns, rows, note)


def _batches(made: Bench) -> Table:
    s = made.settings
    rows: list[tuple[Cell, ...]] = [
        (f"{ONE} over {TOGETHER}, {s['batch']} images", made.ratio(ONE, TOGETHER),
         f"at least {LEAST_BATCHED:g}" if s["batch"] == 16 else ""),
    ]  # fmt: skip
    for name, (with_, without) in s["alive"].items():
        rows.append((f"memory without checkpoints over with, {name}", without / with_, ""))
    few, more = (s["alive"][name][0] for name in s["alive"])
    steps = s["steps"]  # that the second has more
    rows.append(("memory a further step adds with checkpoints, over a latent's",
                 (more - few) / steps / s["latent"], "about 1"))  # fmt: skip
    columns = (Column("what"), Column("ratio", "", 2), Column("aim"))
    note = (
        "One round of `chain` without early stop. Memory: bytes of tensors alive at once in a "
        f"gradient through {s['steps']} and {2 * s['steps']} steps."
    )
    return _table(made, "Chains in batches, and their memory", columns, tuple(rows), note)


def _decoders(made: Bench) -> Table:
    s = made.settings
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, made.ratio(name, PLAIN), made.ratio(FULL, name)) for name in (FULL, TINY, PLAIN)
    )
    columns = (Column("gradients through"), Column("time", "x unguided", 2),
               Column("full decoder", "x this", 2))  # fmt: skip
    note = (
        f"`stepwise` over the last 60 % of {s['steps']} steps, {s['batch']} images of {s['image']} "
        f"pixels, AutoencoderKL of {', '.join(map(str, s['channels']))} channels and an "
        "AutoencoderTiny of its first level's, random weights. The image that is kept is decoded "
        "in full in every row."
    )
    return _table(made, "Tiny decoder against the full one", columns, rows, note)


def _table(
    made: Bench, title: str, columns: tuple[Column, ...], rows: tuple[tuple[Cell, ...], ...],
    note: str,
) -> Table:  # fmt: skip
    few = f"Fewer than {LEAST_ROUNDS} rounds: not to be relied on."
    warning = (few,) if made.rounds < LEAST_ROUNDS else ()
    return Table(f"bench-{made.name}", title, columns, rows, (conditions(made), note, *warning))
