"""The record of a run, and what a set of runs shares: what goes into a line, and what does not."""

import json
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import FiniteFloat, NonNegativeFloat, NonNegativeInt

from repro_shared.evidence.hashing import text_of
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    sha256_bytes,
)

MOST_POINTS = 50  # of a curve
Id = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class Origin(pydantic.BaseModel):
    """What a set of runs shares: method version, data (never a path), code and machine."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    method_version: NonNegativeInt  # of the paper package, raised when a change alters results
    data_name: str
    data_fingerprint: str
    provenance: dict[str, Any]  # `evidence.provenance.provenance()` at the start of the runs

    @property
    def id(self) -> str:
        """Eight hexadecimal digits of its content."""
        return sha256_bytes(text_of(self.model_dump(mode="json")).encode())[:8]


class RunRecord(pydantic.BaseModel):
    """One run of one arm of a study with one seed."""

    # NaN stays NaN on the way out, so that writing refuses it instead of turning it into null.
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    study: str
    origin: Origin
    arm: Id
    seed: NonNegativeInt
    key: str  # see `study.keys`: `<what was to be run>-<on what data, with which seed>`
    config: str  # names the arm's resolved config in `sets.json`
    status: Literal["complete", "failed"]  # failed (diverged, say): its seed counts as not run
    metrics: dict[str, FiniteFloat]  # final; one that is not defined is left out
    seconds: NonNegativeFloat  # wall-clock, of training
    samples: NonNegativeInt  # seen in training
    macs: NonNegativeInt | None = None  # of a forward pass on one sample
    peak_memory_mb: NonNegativeFloat | None = None  # of the process or device, in 2**20 bytes
    curve: bool = False  # whether `curves.jsonl` has one of it
    started: pydantic.AwareDatetime
    finished: pydantic.AwareDatetime
    notes: str = ""

    @pydantic.model_validator(mode="after")
    def _complete_has_metrics(self) -> Self:
        if self.status == "complete" and not self.metrics:
            raise ValueError("a complete run needs at least one metric")
        return self

    @property
    def method_version(self) -> int:
        """Of the paper package."""
        return self.origin.method_version

    @property
    def data_name(self) -> str:
        """What it was trained and scored on."""
        return self.origin.data_name

    @property
    def data_fingerprint(self) -> str:
        """Of training and test data."""
        return self.origin.data_fingerprint

    @property
    def provenance(self) -> dict[str, Any]:
        """Code and machine."""
        return self.origin.provenance

    @property
    def recipe(self) -> str:
        """The part of the key that says what was to be run, without data and seed."""
        return self.key.partition("-")[0]

    def line(self) -> str:
        """The record as a line of `runs.jsonl`; UserError for what JSON has no form for."""
        form = self.model_dump(mode="json", exclude={"study", "origin"}, exclude_defaults=True)
        try:
            return json.dumps({**form, "set": self.origin.id}, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise UserError(
                f"{self.study}, {self.arm}: cannot be written as JSON: {error}"
            ) from None


Curve = dict[str, list[float | None]]  # columns of equal length


def curve_line(record: RunRecord, curve: Curve) -> str:
    """A curve as a line of `curves.jsonl`; ValueError for unequal columns, or too many points."""
    lengths = {len(column) for column in curve.values()}
    if len(lengths) != 1 or max(lengths) > MOST_POINTS:
        raise ValueError(f"a curve has columns of one length, at most {MOST_POINTS}: {lengths}")
    form = {"arm": record.arm, "seed": record.seed, "key": record.key, "columns": curve}
    return json.dumps(form, allow_nan=False)


def first_problem(error: pydantic.ValidationError) -> str:
    """The first line of a validation error: field and what is wrong with it."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))
