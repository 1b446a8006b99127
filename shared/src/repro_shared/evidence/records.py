"""One JSON file for each training run: what ran, on what, where it comes from, what came out.

A record, `<out>/records/<recipe>/<arm>/seed-<n>.json`, names no path, host or user.
"""

import dataclasses
import enum
import hashlib
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import torch
from pydantic import FiniteFloat, NonNegativeFloat, NonNegativeInt

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir, sha256_file
from repro_shared.timing.calibrate import cpu_model

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"  # names become folders: no separator, no leading dot
Name = Annotated[str, pydantic.Field(pattern=f"^{_NAME}$")]
_CORE = ("numpy", "torch", "repro-shared")
# Records are written below results/ while a series of runs goes on: they are no change of code.
_NOT_CODE = ":(top,exclude,glob)packages/*/results/**"


class RunRecord(pydantic.BaseModel):
    """One run of one arm of a recipe with one seed."""

    # NaN stays NaN on the way out, so that writing refuses it instead of turning it into null.
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    schema_version: Literal[1] = 1
    recipe: Name
    recipe_hash: str
    recipe_config: dict[str, Any]
    arm: Name
    seed: NonNegativeInt
    method_version: NonNegativeInt  # of the paper package, raised when a change alters results
    data_name: str
    data_fingerprint: str
    metrics: dict[str, FiniteFloat]  # final; one that is not defined is left out
    curve: list[dict[str, Any]] = []  # one entry for each evaluation; None for what is undefined
    seconds: NonNegativeFloat  # wall-clock, of training
    samples_seen: NonNegativeInt
    flops: dict[str, Any] | None = None  # with the convention that they were counted in
    peak_memory_mb: NonNegativeFloat | None = None  # of the process or device, in 2**20 bytes
    provenance: dict[str, Any]  # `provenance()` at the start of the run
    started: pydantic.AwareDatetime
    finished: pydantic.AwareDatetime
    status: Literal["complete", "failed"]  # failed (diverged, say): its seed counts as not run
    notes: str = ""

    @property
    def study(self) -> str:
        """The recipe's name."""
        return self.recipe

    @pydantic.model_validator(mode="after")
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
    """Write the record atomically and return its path; the same record gives the same bytes."""
    path = path_for(out, record.recipe, record.arm, record.seed)
    try:
        ensure_output_dir(path.parent)
        atomic_write_json(path, record.model_dump(mode="json"))
    except ValueError as error:  # NaN, infinity, or an object that JSON has no form for
        raise UserError(f"{path}: cannot write this record as JSON: {error}") from error
    return path


def read_record(path: Path | str) -> RunRecord:
    """Read one record; UserError if it is missing, no JSON, or not of this schema version."""
    try:
        return RunRecord.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read this record: {error.strerror}") from error
    except pydantic.ValidationError as error:
        problem = f"damaged or not a run record ({first_problem(error)})"
        raise UserError(f"{path}: {problem}; delete it and run this seed again") from error


def read_records(out: Path | str, recipe: str) -> list[RunRecord]:
    """All records of a recipe below the output folder, by arm and seed; none gives []."""
    records = []
    for path in (Path(out) / "records" / recipe).glob("*/seed-*.json"):
        record = read_record(path)
        # A copied or renamed file would count one run twice.
        if path != path_for(out, record.recipe, record.arm, record.seed):
            where = f"recipe {record.recipe}, arm {record.arm}, seed {record.seed}"
            raise UserError(f"{path}: this record is of {where}; move it back")
        records.append(record)
    return sorted(records, key=lambda record: (record.arm, record.seed))


def first_problem(error: pydantic.ValidationError) -> str:
    """The first line of a validation error: field and what is wrong with it."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))


def resolved_config(recipe: Any) -> dict[str, Any]:
    """Every field of a recipe dataclass, nested ones as dictionaries, ready for JSON."""
    return _fields(recipe, lambda field, form: True)


def recipe_hash(recipe: Any) -> str:
    """sha256 of a recipe dataclass, from its class name and the fields that are not at default.

    So a field added later keeps old records current. Lists equal tuples, 2.0 equals 2. TypeError
    for other than plain types (a path, say: recipes name data, not folders).
    """
    return hashlib.sha256(_text(_fields(recipe, _is_changed)).encode()).hexdigest()


_Keep = Callable[[dataclasses.Field[Any], Any], bool]


def _fields(recipe: Any, keep: _Keep) -> dict[str, Any]:
    """The class name and those fields, in their JSON form, that `keep(field, form)` wants."""
    forms = [(f, _plain(getattr(recipe, f.name), keep)) for f in dataclasses.fields(recipe)]
    kept = {field.name: form for field, form in forms if keep(field, form)}
    return {"type": type(recipe).__name__, **kept}


def _is_changed(field: dataclasses.Field[Any], form: Any) -> bool:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        return True
    return _text(form) != _text(_plain(default, _is_changed))


def _text(form: Any) -> str:
    return json.dumps(form, sort_keys=True, separators=(",", ":"))


def _plain(value: Any, keep: _Keep) -> Any:
    """The JSON form of a field's value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value, keep)
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_plain(item, keep) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, keep) for key, item in value.items()}
    raise TypeError(f"a recipe field is {value!r}, which has no stable hash")


def provenance(dists: Iterable[str] = (), anchor: Path | str = __file__) -> dict[str, Any]:
    """The provenance of a run that starts now, ready for JSON.

    With the versions of further `dists`; `git` and `lock_sha256` are None unless a checkout tracks
    `anchor`, a source file of the code that runs; `gpu` is None without one.
    """
    git: dict[str, Any] | None = None
    lock: str | None = None
    source = Path(anchor).resolve()
    # A wheel installed below somebody's own repository lies in a checkout, yet is not of it.
    if _git(source.parent, "ls-files", "--error-unmatch", "--", source.name) is not None:
        root = Path(_git(source.parent, "rev-parse", "--show-toplevel") or "")
        changes = _git(root, "status", "--porcelain", "--", ".", _NOT_CODE)
        git = {"commit": _git(root, "rev-parse", "HEAD"), "dirty": changes != ""}
        lock = sha256_file(root / "uv.lock") if (root / "uv.lock").is_file() else None
    system = (platform.system(), platform.machine(), *platform.libc_ver())
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return {
        "git": git,
        "lock_sha256": lock,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in sorted({*_CORE, *dists})},
        "platform": " ".join(filter(None, system)),
        "cpu": cpu_model(),
        "cpus": cpus,
        "torch_threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gpu": _gpu(),
    }


def commit_label(record: dict[str, Any]) -> str:
    """Short commit, with `-dirty` where the checkout had changes; "" outside a checkout."""
    git = record.get("git")
    if not git or not git.get("commit"):
        return ""
    return str(git["commit"])[:12] + ("-dirty" if git["dirty"] else "")


def _git(directory: Path, *arguments: str) -> str | None:
    """Standard output of a git command, or None where git is absent or says no."""
    # A hook's GIT_DIR would point git at another repository than the one that holds this code.
    environment = {key: text for key, text in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
