"""Hashes of frozen dataclasses that stay the same while a recipe's result does."""

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any


def resolved_config(recipe: Any) -> dict[str, Any]:
    """Every field of a recipe dataclass, nested ones as dictionaries, ready for JSON."""
    return _fields(recipe, lambda field, form: True)


def recipe_hash(recipe: Any) -> str:
    """sha256 of a recipe dataclass, from its class name and the fields that are not at default.

    So a field added later keeps old records current. Lists equal tuples, 2.0 equals 2. TypeError
    for other than plain types (a path, say: recipes name data, not folders).
    """
    return hashlib.sha256(text_of(_fields(recipe, _is_changed)).encode()).hexdigest()


UNRECORDED: dict[str, Any] = {"recorded": False}
"""`field(metadata=UNRECORDED, ...)`: where something lies, not what it is; in no hash or record."""

_Keep = Callable[[dataclasses.Field[Any], Any], bool]


def _fields(recipe: Any, keep: _Keep) -> dict[str, Any]:
    """The class name and those fields, in their JSON form, that `keep(field, form)` wants."""
    fields = [f for f in dataclasses.fields(recipe) if f.metadata.get("recorded", True)]
    forms = [(f, _plain(getattr(recipe, f.name), keep)) for f in fields]
    kept = {field.name: form for field, form in forms if keep(field, form)}
    return {"type": type(recipe).__name__, **kept}


def _is_changed(field: dataclasses.Field[Any], form: Any) -> bool:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        return True
    return text_of(form) != text_of(_plain(default, _is_changed))


def text_of(form: Any) -> str:
    """The one JSON text of plain values: keys sorted, no spaces."""
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
