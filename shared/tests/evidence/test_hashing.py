"""Hashes of recipes are stable, see every change, and nothing else."""

import dataclasses
import hashlib
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from repro_shared.evidence.hashing import UNRECORDED, recipe_hash, resolved_config


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


def test_where_a_file_lies_is_in_no_hash_and_no_record() -> None:
    @dataclasses.dataclass(frozen=True)
    class File:
        sha256: str
        path: str = dataclasses.field(default="", metadata=UNRECORDED)

    assert recipe_hash(File("a", "/home/me/x.pth")) == recipe_hash(File("a"))
    assert recipe_hash(File("a")) != recipe_hash(File("b"))
    assert resolved_config(File("a", "/home/me/x.pth")) == {"type": "File", "sha256": "a"}
