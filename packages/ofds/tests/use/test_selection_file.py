"""Selections on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ofds.use.selection_file import Selection, continued, read_selection, write_selection
from repro_shared.runtime.errors import UserError

HEADER: dict[str, Any] = {
    "annotated": ["z.jpg"],
    "classes": [{"id": 1, "name": "a"}, {"id": "2", "name": "b"}],
    "fingerprints": {"features": "f", "proposals": "p"},
}
MADE = Selection(HEADER, [{"rank": 1, "name": "猫 1.jpg"}, {"rank": 2, "name": "b.jpg"}])


def test_there_and_back(tmp_path: Path) -> None:
    write_selection(tmp_path / "new" / "out", MADE)
    folder = tmp_path / "new" / "out"
    assert sorted(p.name for p in folder.iterdir()) == ["selection.json", "selection.txt"]
    assert (folder / "selection.txt").read_text(encoding="utf-8") == "猫 1.jpg\nb.jpg\n"
    lines = (folder / "selection.json").read_text(encoding="utf-8").splitlines()
    assert '    {"rank": 1, "name": "猫 1.jpg"},' in lines
    for path in (folder, folder / "selection.json"):
        found = read_selection(path)
        assert found.images == MADE.images
        assert found.annotated == ["z.jpg", "猫 1.jpg", "b.jpg"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


def test_nothing_chosen(tmp_path: Path) -> None:
    write_selection(tmp_path / "out", Selection(HEADER, []))
    assert read_selection(tmp_path / "out").names == []


def test_never_overwritten(tmp_path: Path) -> None:
    write_selection(tmp_path / "out", MADE)
    before = (tmp_path / "out" / "selection.json").read_bytes()
    with pytest.raises(UserError, match="holds a selection, which is never overwritten"):
        write_selection(tmp_path / "out", Selection(HEADER, []))
    assert (tmp_path / "out" / "selection.json").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="is not empty"):
        write_selection(tmp_path / "full", MADE)
    with pytest.raises(UserError, match="is a file"):
        write_selection(tmp_path / "full" / "x", MADE)
    (tmp_path / "empty").mkdir()
    write_selection(tmp_path / "empty", MADE)


def test_made_by_another_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "selection.json").touch()
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(UserError, match="never overwritten"):
        write_selection(tmp_path / "out", MADE)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "selection.json").read_bytes() == b""


def test_going_on(tmp_path: Path) -> None:
    write_selection(tmp_path / "out", MADE)
    classes = HEADER["classes"]
    assert continued(tmp_path / "out", "f", "p", classes).names == MADE.names
    with pytest.raises(UserError, match=r"made from other features; .* --annotated"):
        continued(tmp_path / "out", "g", "p", classes)
    with pytest.raises(UserError, match="made from other proposals"):
        continued(tmp_path / "out", "f", "q", classes)
    other = [classes[0], {"id": "2", "name": "c"}]
    with pytest.raises(UserError, match=r"made with other classes \('b' there, 'c' here\)"):
        continued(tmp_path / "out", "f", "p", other)
    with pytest.raises(UserError, match=r"\('b' there, None here\)"):
        continued(tmp_path / "out", "f", "p", classes[:1])


@pytest.mark.parametrize("content", [[], {}, {"format": 2}, {"format": 1}, {"format": 1, **HEADER}])
def test_other_files(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "selection.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"no selection of this version|a damaged selection"):
        read_selection(path)
