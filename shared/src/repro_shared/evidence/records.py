"""One JSON file for each training run: what ran, on what, and what came out.

A record lies at `<out>/records/<recipe>/<arm>/seed-<n>.json`. It holds no path and no host name, so
that it can be committed as it is.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"  # names become folders: no separator, no leading dot
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]


class RunRecord(BaseModel):
    """One run of one arm of a recipe with one seed.

    Attributes:
        recipe: Name of the recipe function, e.g. `equal_time_digits`.
        recipe_hash: `recipe_hash(...)` of the resolved recipe; the same for all its arms and seeds.
        recipe_config: `resolved_config(...)`: every field of the recipe, defaults included.
        arm: What is compared, e.g. `plain`, `feature`, `feature+logit`.
        method_version: Number in the paper package, raised when a change alters results.
        data_name: Name of the data set, never a path.
        data_fingerprint: sha256 over the data's content.
        metrics: Final numbers, finite; a metric that is not defined is left out.
        curve: One dictionary for each evaluation during training; None for an undefined number.
        seconds: Wall-clock seconds of training.
        samples_seen: Images that went through the trained model.
        flops: Operation counts with the convention that they were counted in.
        peak_memory_mb: Peak memory of the process or device, in 2**20 bytes.
        provenance: `provenance()` at the start of the run.
        status: A `failed` run (diverged, say) is kept: its seed counts as not run.
    """

    # NaN stays NaN on the way out, so that writing refuses it instead of turning it into null.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    schema_version: Literal[1] = 1
    recipe: Name
    recipe_hash: str
    recipe_config: dict[str, Any]
    arm: Name
    seed: NonNegativeInt
    method_version: NonNegativeInt
    data_name: str
    data_fingerprint: str
    metrics: dict[str, FiniteFloat]
    curve: list[dict[str, Any]] = []
    seconds: NonNegativeFloat
    samples_seen: NonNegativeInt
    flops: dict[str, Any] | None = None
    peak_memory_mb: NonNegativeFloat | None = None
    provenance: dict[str, Any]
    started: AwareDatetime
    finished: AwareDatetime
    status: Literal["complete", "failed"]
    notes: str = ""

    @model_validator(mode="after")
    def _complete_has_metrics(self) -> Self:
        if self.status == "complete" and not self.metrics:
            raise ValueError("a complete run needs at least one metric")
        return self


def path_for(out: Path | str, recipe: str, arm: str, seed: int) -> Path:
    """Where the record of this run lies below the output folder."""
    for name in (recipe, arm):
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"{name!r} is no name for a folder: letters, digits and _ . + - only")
    return Path(out) / "records" / recipe / arm / f"seed-{seed}.json"


def write_record(out: Path | str, record: RunRecord) -> Path:
    """Writes the record atomically and returns its path; the same record gives the same bytes."""
    path = path_for(out, record.recipe, record.arm, record.seed)
    try:
        ensure_output_dir(path.parent)
        atomic_write_json(path, record.model_dump(mode="json"))
    except ValueError as error:  # NaN, infinity, or an object that JSON has no form for
        raise UserError(f"{path}: cannot write this record as JSON: {error}") from error
    return path


def read_record(path: Path | str) -> RunRecord:
    """Reads one record.

    Raises:
        UserError: The file is missing, is no JSON, or is no record of this schema version.
    """
    try:
        return RunRecord.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read this record: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(
            f"{path}: damaged or not a run record ({first_problem(error)}); "
            "delete the file and run this seed again"
        ) from error


def read_records(out: Path | str, recipe: str) -> list[RunRecord]:
    """All records of a recipe below the output folder, by arm and seed; none gives []."""
    records = []
    for path in (Path(out) / "records" / recipe).glob("*/seed-*.json"):
        record = read_record(path)
        # A copied or renamed file would count one run twice.
        if path != path_for(out, record.recipe, record.arm, record.seed):
            raise UserError(
                f"{path}: this record is of recipe {record.recipe}, arm {record.arm}, seed "
                f"{record.seed}; move it back to where it belongs"
            )
        records.append(record)
    return sorted(records, key=lambda record: (record.arm, record.seed))


def split_stale(
    records: Iterable[RunRecord], recipe_hash: str, method_version: int
) -> tuple[list[RunRecord], list[RunRecord]]:
    """(current, stale): stale ones were made by an older recipe or method, and are not wrong."""
    current: list[RunRecord] = []
    stale: list[RunRecord] = []
    for record in records:
        same = record.recipe_hash == recipe_hash and record.method_version == method_version
        (current if same else stale).append(record)
    return current, stale


def resolved_config(recipe: Any) -> dict[str, Any]:
    """Every field of a recipe dataclass, nested ones as dictionaries, ready for JSON."""
    config: dict[str, Any] = {
        field.name: _plain(getattr(recipe, field.name), resolved_config)
        for field in dataclasses.fields(recipe)
    }
    return {"type": type(recipe).__name__, **config}


def recipe_hash(recipe: Any) -> str:
    """sha256 of a recipe dataclass, from its class name and the fields that are not at default.

    Leaving defaults out means that a field added later, whose default is the old behaviour, keeps
    old records current. Lists equal tuples and 2.0 equals 2; the order of dictionaries is ignored.

    Raises:
        TypeError: A field holds something other than numbers, text, None, enumerations,
            sequences, dictionaries and dataclasses (a path, say: recipes name data, not folders).
    """
    return hashlib.sha256(_text(_changed_fields(recipe)).encode()).hexdigest()


def first_problem(error: ValidationError) -> str:
    """The first line of a validation error: field and what is wrong with it."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def _changed_fields(recipe: Any) -> dict[str, Any]:
    changed: dict[str, Any] = {"type": type(recipe).__name__}
    for field in dataclasses.fields(recipe):
        value = _plain(getattr(recipe, field.name), _changed_fields)
        if field.default is not dataclasses.MISSING:
            default = _plain(field.default, _changed_fields)
        elif field.default_factory is not dataclasses.MISSING:
            default = _plain(field.default_factory(), _changed_fields)
        else:
            changed[field.name] = value
            continue
        if _text(value) != _text(default):
            changed[field.name] = value
    return changed


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any, of_dataclass: Any) -> Any:
    """The JSON form of a field; `of_dataclass` turns nested dataclasses into dictionaries."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return of_dataclass(value)
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"a recipe field is {value}: recipes hold finite numbers only")
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_plain(item, of_dataclass) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, of_dataclass) for key, item in value.items()}
    raise TypeError(f"a recipe field holds a {type(value).__name__}, which has no stable hash")
