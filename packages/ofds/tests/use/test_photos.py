"""Files of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofds.use.photos import contents
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError


def test_missing_files_are_named_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, content in {"a/1.jpg": b"x", "2.jpg": b"x", "3.jpg": b"y", "4.jpg": b""}.items():
        (tmp_path / name).write_bytes(content)
    names = ["a\\1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6\0.jpg"]
    with pytest.raises(UserError, match=r"3 of 6 images cannot be read, such as '4\.jpg'"):
        contents(tmp_path, names, Repairs())
    repairs = Repairs()
    found, bad = contents(tmp_path, names, repairs, skip=True)
    assert bad == ["4.jpg", "5.jpg", "6\0.jpg"]
    assert found[0] == found[1] != found[2]
    assert sum(int(row["count"]) for row in repairs.rows()) == 3
    with pytest.raises(UserError, match="no such folder"):
        contents(tmp_path / "none", names, Repairs())
