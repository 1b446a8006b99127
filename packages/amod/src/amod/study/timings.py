"""What `amod bench` timed: one JSON file a bench, with every round, and the table made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pydantic

from repro_shared.evidence.cells import slug
from repro_shared.evidence.records import first_problem
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir
from repro_shared.timing.calibrate import Calibration

COMPARED = ("A-MoD", "linear", "fixed tokens")
LEAST_ROUNDS = 15
THREADS = 2  # of a bench on the CPU, unless it is said


class Timing(pydantic.BaseModel):
    """Forward passes of several models, timed in turns.

    Attributes:
        model: the timm model that all are made of.
        batch: images a step.
        device: cpu or cuda.
        compiled: whether all ran through `torch.compile`, or none did.
        routed_only: whether depth-cut models and token merging were left out.
        capacities: of the routed models.
        macs: multiply-accumulates for one image, by model; `dense` is the reference.
        calibration: seconds of every round, by model.
        provenance: see `repro_shared.evidence.records.provenance`.
        finished: when.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    model: str
    batch: pydantic.PositiveInt
    device: str
    compiled: bool
    routed_only: bool = False
    capacities: tuple[float, ...]
    macs: dict[str, pydantic.PositiveInt]
    calibration: Calibration
    provenance: dict[str, Any]
    finished: pydantic.AwareDatetime

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        try:
            Calibration.from_dict(self.calibration.to_dict())
        except UserError as error:
            raise ValueError(str(error)) from error
        wanted = {"dense"} | {f"{r} {c:g}" for c in self.capacities for r in COMPARED}
        if self.macs.keys() != self.calibration.seconds.keys() or not wanted <= self.macs.keys():
            raise ValueError("models are missing")
        return self

    @property
    def name(self) -> str:
        """`deit-small-patch16-224-batch-8`, with what was special, and the GPU if there was one."""
        parts = [self.model, f"batch {self.batch}"]
        parts += ["routed only"] if self.routed_only else []
        parts += ["compiled"] if self.compiled else []
        threads = self.calibration.threads
        parts += [f"threads {threads}"] if self.device == "cpu" and threads != THREADS else []
        parts += [self.calibration.machine.get("gpu", self.device)] if self.device != "cpu" else []
        return slug(" ".join(parts))

    def ratio(self, slow: str, fast: str) -> tuple[float, float, float]:
        """Median, 10 and 90 % points of slow / fast, round by round."""
        seconds = self.calibration.seconds
        ratios = np.divide(seconds[slow], seconds[fast])
        middle, low, high = np.quantile(ratios, (0.5, 0.1, 0.9)).tolist()
        return middle, low, high

    def table(self) -> Table:
        """Speed over the dense model, beside the ceiling by multiply-accumulates."""
        rows: list[tuple[Cell, ...]] = []
        for arm, cost in self.macs.items():
            middle, low, high = self.ratio("dense", arm)
            top = self.macs["dense"] / cost
            rows.append((arm, middle, low, high, top, middle / top))
        calibration, how = self.calibration, "all compiled" if self.compiled else "none compiled"
        cpu = calibration.machine.get("gpu") or calibration.machine.get("cpu", "unknown processor")
        notes = [
            f"{calibration.rounds} interleaved rounds, {calibration.threads} threads, "
            f"{self.device}, {cpu}, torch {calibration.machine.get('torch', '?')}, {how}, random "
            f"weights, float32, inference mode, {self.finished:%Y-%m-%d}. Medians and 10 and 90 % "
            "points of the ratios taken round by round.",
            "Fixed tokens: the same ones in every picture, no scores; what packing alone reaches.",
        ]
        for capacity in self.capacities:
            parts = []
            for rival in COMPARED[1:]:
                middle, low, high = self.ratio(f"{rival} {capacity:g}", f"A-MoD {capacity:g}")
                parts.append(f"over {rival} {middle:.3f} [{low:.3f}, {high:.3f}]")
            notes.append(f"Speed of A-MoD at {capacity:g}: {', '.join(parts)}.")
        if calibration.rounds < LEAST_ROUNDS:
            notes.append(f"Fewer than {LEAST_ROUNDS} rounds: not to be relied on.")
        return Table(
            f"bench-{self.name}",
            f"{self.model}, batch {self.batch}, {how}: images per second over the dense model's",
            (
                Column("model"),
                Column("speed", "x dense", 3),
                Column("10 %", "x dense", 3),
                Column("90 %", "x dense", 3),
                Column("ceiling by MACs", "x dense", 3),
                Column("realised", "of ceiling", 3),
            ),
            tuple(rows),
            tuple(notes),
        )


def write_timing(out: Path | str, timing: Timing) -> Path:
    """Write `<out>/bench/<name>.json` atomically; UserError if it is there. Returns its path."""
    folder = ensure_output_dir(Path(out) / "bench")
    path = folder / f"{timing.name}.json"
    if path.exists():  # several runs are several findings; none takes another's place
        raise UserError(f"{path} is there already: give another --out, or move it")
    atomic_write_json(path, timing.model_dump(mode="json"))
    return path


def read_timings(out: Path | str) -> list[Timing]:
    """All timings below an output folder, by name; UserError names a damaged file."""
    found = []
    for path in sorted((Path(out) / "bench").glob("*.json")):
        try:
            found.append(Timing.model_validate_json(path.read_bytes()))
        except pydantic.ValidationError as error:
            raise UserError(f"{path}: damaged or no timing ({first_problem(error)})") from error
    return found
