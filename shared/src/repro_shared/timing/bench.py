"""A bench: several things timed in turns, every round of it kept as a line of `bench.jsonl`.

A machine that others use changes speed by the minute, so only ratios of things that took turns are
compared, and they are taken round by round.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pydantic

from repro_shared.evidence.records import Id, first_problem
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import append_line, complete_lines, ensure_output_dir
from repro_shared.timing.calibrate import Calibration

BENCHES = "bench.jsonl"
LEAST_ROUNDS = 15  # for a table without a warning
Seconds = pydantic.PositiveFloat


class Bench(pydantic.BaseModel):
    """Seconds of every round by arm, and what they were measured on."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: Id  # with model, sizes, device and what was special: no two lines share one
    settings: dict[str, Any]  # that the name stands for
    seconds: dict[str, list[Seconds]]  # seven digits: five would move tables
    warmup: pydantic.NonNegativeInt
    lead_in: pydantic.NonNegativeInt
    threads: pydantic.PositiveInt
    machine: dict[str, str]
    macs: dict[str, pydantic.PositiveInt] = {}  # multiply-accumulates of one sample, by arm
    provenance: dict[str, Any]
    finished: pydantic.AwareDatetime

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.seconds or len({len(column) for column in self.seconds.values()}) != 1:
            raise ValueError("all arms have the same rounds, at least one arm")
        if not self.rounds:
            raise ValueError("there is no round")
        if self.macs and self.macs.keys() != self.seconds.keys():
            raise ValueError("multiply-accumulates are of other arms than the seconds")
        return self

    @property
    def rounds(self) -> int:
        """How many."""
        return len(next(iter(self.seconds.values())))

    def ratio(self, slow: str, fast: str) -> Interval:
        """Median, and 10 and 90 % points, of slow / fast, round by round."""
        ratios = np.divide(self.seconds[slow], self.seconds[fast])
        return Interval(*np.quantile(ratios, (0.5, 0.1, 0.9)).tolist())

    def line(self) -> str:
        """The bench as a line."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)


def bench_of(
    name: str,
    calibration: Calibration,
    provenance: dict[str, Any],
    macs: dict[str, int] | None = None,
    finished: datetime | None = None,
    **settings: Any,
) -> Bench:
    """What `calibrate` timed, as a bench; finished now, if no other time is given."""
    columns = calibration.seconds.items()
    return Bench(
        name=name,
        settings=settings,
        seconds={arm: [float(f"{s:.7g}") for s in column] for arm, column in columns},
        warmup=calibration.warmup,
        lead_in=calibration.lead_in,
        threads=calibration.threads,
        machine=calibration.machine,
        macs=macs or {},
        provenance=provenance,
        finished=finished or datetime.now(UTC),
    )


def speed_table(bench: Bench, reference: str, title: str, notes: Sequence[str] = ()) -> Table:
    """Speed over a reference's, beside the ceiling by multiply-accumulates where they are known."""
    rows: list[tuple[Cell, ...]] = []
    for arm in bench.seconds:
        speed = bench.ratio(reference, arm)
        row: tuple[Cell, ...] = (arm, speed)
        if bench.macs:
            ceiling = bench.macs[reference] / bench.macs[arm]
            row += (ceiling, speed.mean / ceiling)
        rows.append(row)
    unit, columns = f"x {reference}", [Column("model")]
    columns.append(Column("speed", unit, 3))
    if bench.macs:
        columns += [Column("ceiling by MACs", unit, 3), Column("realised", "of ceiling", 3)]
    few = f"Fewer than {LEAST_ROUNDS} rounds: not to be relied on."
    warning = (few,) if bench.rounds < LEAST_ROUNDS else ()
    return Table(
        f"bench-{bench.name}",
        title,
        tuple(columns),
        tuple(rows),
        (conditions(bench), *notes, *warning),
    )


def conditions(bench: Bench) -> str:
    """Rounds, threads, device and machine, and what the brackets are."""
    processor = bench.machine.get("gpu") or bench.machine.get("cpu", "unknown processor")
    device = bench.settings.get("device", "cpu")
    threads = "1 thread" if bench.threads == 1 else f"{bench.threads} threads"
    return (
        f"{bench.rounds} interleaved rounds, {threads}, {device}, {processor}, torch "
        f"{bench.machine.get('torch', '?')}, {bench.finished:%Y-%m-%d}. Medians of the ratios "
        "taken round by round; brackets: their 10 and 90 % points."
    )


def add_bench(out: Path | str, bench: Bench) -> None:
    """Add it to `<out>/bench.jsonl`; UserError if there is one of this name.

    Several runs are several findings: none takes another's place.
    """
    append_line(place_of(out, bench.name) / BENCHES, bench.line())


def place_of(out: Path | str, name: str) -> Path:
    """The folder for a bench of this name, made if need be; UserError if it has one already."""
    folder = ensure_output_dir(out)
    if any(known.name == name for known in read_benches(folder)):
        problem = f"has a bench {name} already: give another --out"
        raise UserError(f"{folder / BENCHES} {problem}")
    return folder


def read_benches(out: Path | str) -> list[Bench]:
    """All benches of an output folder, by name; UserError for a damaged line."""
    path, found = Path(out) / BENCHES, []
    for number, line in complete_lines(path):
        try:
            found.append(Bench.model_validate_json(line))
        except pydantic.ValidationError as error:
            raise UserError(f"{path}, line {number}: damaged ({first_problem(error)})") from error
    return sorted(found, key=lambda bench: bench.name)
