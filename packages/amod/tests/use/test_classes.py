"""Class maps in their forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from timm.data.readers.class_map import load_class_map

from amod.use.classes import read_class_map
from repro_shared.runtime.errors import UserError


def test_forms_of_class_maps(tmp_path: Path) -> None:
    lines = tmp_path / "names.txt"
    lines.write_text("zebra\nant hill\n10\n")
    assert (
        read_class_map(lines) == {"zebra": 0, "ant hill": 1, "10": 2} == load_class_map(str(lines))
    )
    forms: list[tuple[Any, dict[str, int]]] = [
        (["b", "a"], {"b": 0, "a": 1}),
        ({"n2": 6, "n1": 990, "n3": 6}, {"n2": 6, "n1": 990, "n3": 6}),
        ({"0": "cat", "5": "dog"}, {"cat": 0, "dog": 5}),
        ({"0": ["n1", "tench"], "1": ["n2", "goldfish"]}, {"n1": 0, "n2": 1}),  # Keras's
    ]
    for content, expected in forms:
        (tmp_path / "map.json").write_text(json.dumps(content))
        assert read_class_map(tmp_path / "map.json") == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.txt", ""),
        ("map.txt", "cat\n"),
        ("map.txt", "cat\n\ndog\n"),
        ("map.txt", "cat\ndog\ncat\n"),
        ("map.json", "cat\ndog"),
        ("map.json", "3"),
        ("map.json", "{}"),
        ("map.json", '{"cat": 0, "dog": -1}'),
        ("map.json", '{"cat": 0, "dog": 1.5}'),
        ("map.json", '{"0": ["cat"], "1": []}'),
        ("map.json", '[["cat"], "dog", 3]'),
    ],
)
def test_other_files_are_no_class_maps(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"class map .*{name}: give a name a line"):
        read_class_map(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read"):
        read_class_map(tmp_path / "gone.txt")
