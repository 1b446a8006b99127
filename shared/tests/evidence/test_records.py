"""Run records: what is written is read back, what is damaged is named, hashes are stable."""

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from repro_shared.evidence.records import (
    RunRecord,
    path_for,
    read_record,
    read_records,
    recipe_hash,
    resolved_config,
    write_record,
)
from repro_shared.runtime.errors import UserError


def make_record(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "recipe": "equal_time_digits",
        "recipe_hash": "abc",
        "recipe_config": {"type": "Recipe", "steps": 100},
        "arm": "feature+logit",
        "seed": 3,
        "method_version": 1,
        "data_name": "digit scenes",
        "data_fingerprint": "f" * 64,
        "metrics": {"miou": 61.25, "accuracy": 90.1},
        "curve": [{"step": 50, "miou": 40.0}, {"step": 100, "miou": None}],
        "seconds": 12.5,
        "samples_seen": 800,
        "flops": {"macs": 10, "convention": "MAC"},
        "peak_memory_mb": 512.0,
        "provenance": {"git": {"commit": "a" * 40, "dirty": False}},
        "started": datetime(2026, 11, 24, 10, 0, 0, 123456, UTC),
        "finished": datetime(2026, 11, 24, 10, 0, 13, tzinfo=UTC),
        "status": "complete",
        "notes": "Grüße",
    }
    return RunRecord(**{**fields, **changes})


def test_round_trip_is_exact_and_stable_byte_for_byte(tmp_path: Path) -> None:
    record = make_record()
    path = write_record(tmp_path, record)
    assert path == tmp_path / "records/equal_time_digits/feature+logit/seed-3.json"
    first = path.read_bytes()
    assert read_record(path) == record
    write_record(tmp_path, read_record(path))
    assert path.read_bytes() == first
    assert [child.name for child in path.parent.iterdir()] == ["seed-3.json"]


def test_records_come_by_arm_and_seed_and_only_of_the_recipe(tmp_path: Path) -> None:
    for arm, seed in (("plain", 10), ("plain", 2), ("feature", 2)):
        write_record(tmp_path, make_record(arm=arm, seed=seed))
    write_record(tmp_path, make_record(recipe="other"))
    found = [(r.arm, r.seed) for r in read_records(tmp_path, "equal_time_digits")]
    assert found == [("feature", 2), ("plain", 2), ("plain", 10)]
    assert read_records(tmp_path, "nothing") == []


def test_a_copied_record_does_not_count_twice(tmp_path: Path) -> None:
    path = write_record(tmp_path, make_record(seed=3))
    path.with_name("seed-4.json").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"seed-4\.json.*seed 3"):
        read_records(tmp_path, "equal_time_digits")


def test_every_truncation_is_a_user_error_that_names_the_file(tmp_path: Path) -> None:
    path = write_record(tmp_path, make_record())
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"seed-3\.json.*damaged"):
            read_records(tmp_path, "equal_time_digits")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"seed": -1}, "seed"),
        ({"unknown": 1}, "unknown"),
        ({"metrics": {"miou": "high"}}, "metrics.miou"),
        ({"metrics": {}}, "at least one metric"),
        ({"status": "running"}, "status"),
        ({"started": "2026-11-24T10:00:00"}, "started"),
    ],
)
def test_a_file_that_is_no_record_says_which_field(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    path = write_record(tmp_path, make_record())
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(UserError, match=complaint) as caught:
        read_record(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 100_000, b"null", b"[]"])
def test_bytes_that_are_no_json_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seed-0.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"seed-0\.json"):
        read_record(path)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"seed-0\.json: cannot read"):
        read_record(tmp_path / "seed-0.json")


def test_nan_is_refused_wherever_it_hides(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        make_record(metrics={"miou": float("nan")})
    with pytest.raises(UserError, match="cannot write"):
        write_record(tmp_path, make_record(curve=[{"loss": float("inf")}]))
    assert not list(tmp_path.rglob("*.json*"))


def test_what_has_no_json_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_record(tmp_path, make_record(recipe_config={"model": object()}))


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "line\n", "-flag"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        make_record(arm=name)
    with pytest.raises(ValueError, match="no name"):
        path_for(tmp_path, "recipe", name, 0)


class Kind(Enum):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Loss:
    weight: float = 1.0
    kind: Kind = Kind.A


@dataclasses.dataclass(frozen=True)
class Recipe:
    steps: int
    loss: Loss = Loss()
    rates: tuple[float, ...] = (0.1, 0.01)
    arms: dict[str, Loss] = dataclasses.field(default_factory=dict)


def test_hash_is_the_same_on_every_machine_and_in_every_process() -> None:
    assert recipe_hash(Recipe(100)) == (
        "5f6d43d614d114bf004cc282e8c10becc6adc85cb15e80bd7459b63edce8a9f1"
    )
    canonical = b'{"steps":100,"type":"Recipe"}'
    assert recipe_hash(Recipe(100)) == hashlib.sha256(canonical).hexdigest()


def test_hash_sees_every_change_and_nothing_else() -> None:
    recipes = [
        Recipe(100),
        Recipe(101),
        Recipe(100, loss=Loss(2.0)),
        Recipe(100, loss=Loss(kind=Kind.B)),
        Recipe(100, rates=(0.01, 0.1)),
        Recipe(100, arms={"a": Loss(), "b": Loss(3)}),
        Recipe(100, arms={"a": Loss(3), "b": Loss()}),
    ]
    assert len({recipe_hash(recipe) for recipe in recipes}) == len(recipes)
    assert recipe_hash(Recipe(100, Loss(1, Kind.A), (0.1, 0.01), {})) == recipe_hash(Recipe(100))
    assert recipe_hash(recipes[5]) == recipe_hash(
        dataclasses.replace(recipes[5], arms={"b": Loss(3.0), "a": Loss()})
    )


def test_hash_survives_a_new_field_at_its_default() -> None:
    grown = dataclasses.make_dataclass(
        "Recipe",
        [("steps", int), ("loss", Loss, Loss()), ("new", bool, False)],
        frozen=True,
    )
    assert recipe_hash(grown(100)) == recipe_hash(Recipe(100))
    assert recipe_hash(grown(100, Loss(), True)) != recipe_hash(Recipe(100))


def test_a_nested_default_that_differs_from_its_class_is_seen() -> None:
    @dataclasses.dataclass(frozen=True)
    class Outer:
        loss: Loss = Loss(5.0)

    assert recipe_hash(Outer()) != recipe_hash(Outer(Loss()))


@pytest.mark.parametrize("value", [Path("/data"), float("nan"), {1: 2}, {"a", "b"}, print])
def test_what_has_no_stable_form_has_no_hash(value: Any) -> None:
    with pytest.raises(TypeError, match="recipe field"):
        recipe_hash(Recipe(value))


def test_resolved_config_holds_the_defaults() -> None:
    assert resolved_config(Recipe(100)) == {
        "type": "Recipe",
        "steps": 100,
        "loss": {"type": "Loss", "weight": 1, "kind": "A"},
        "rates": [0.1, 0.01],
        "arms": {},
    }
