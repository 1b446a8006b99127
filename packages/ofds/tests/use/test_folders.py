"""Folders that are there complete or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofds.use.folders import new_folder
from repro_shared.runtime.errors import UserError


def test_a_folder_is_there_complete_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "half").write_text("x")
            raise UserError("stopped")

    with pytest.raises(UserError, match="stopped"):
        fail()
    assert not list(tmp_path.iterdir())
    with new_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UserError, match="out is not empty"), new_folder(tmp_path / "out"):
        pass
    with pytest.raises(UserError, match="is a file"), new_folder(tmp_path / "out" / "whole"):
        pass
