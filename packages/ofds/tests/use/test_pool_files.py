"""A pool as a folder and as files one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.select_command import select
from ofds.use.table import write_table
from repro_shared.runtime.cli import run
from repro_shared.runtime.errors import UserError


def test_a_file_named_beside_the_folder_counts(tmp_path: Path) -> None:
    found = PoolFiles(pool=str(tmp_path), proposals="mine.json").found()
    assert found.proposals == "mine.json"
    assert found.images == str(tmp_path / "images.json")
    assert found.features == str(tmp_path / "features.npy")
    assert found.found() == found


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--images is missing; give --pool DIR, or --images"):
        PoolFiles().found()
    with pytest.raises(UserError, match="--proposals is missing"):
        PoolFiles(images="a").found("images", "proposals")
    assert PoolFiles(images="a").found("images").images == "a"
    with pytest.raises(UserError, match="none: no such folder"):
        PoolFiles(pool=str(tmp_path / "none")).found()


def test_a_folder_selects_the_same_as_its_files(files: Any) -> None:
    assert files.select("--budget", "20", out="one") == 0
    data = PoolFiles(images=str(files.folder / "images.json")).dataset(Repairs())
    source = PoolFiles(proposals=str(files.folder / "results.json"))
    objects, total = source.objects(data, Repairs())
    assert total == len(objects)
    write_table(files.folder / "proposals.npz", objects)
    where = ["--pool", str(files.folder), "--out", str(files.folder / "two")]
    assert (
        run("ofds", "", {"select": select}, ["select", *where, "--budget", "20"], version="0") == 0
    )
    one, two = files.made("one"), files.made("two")
    assert [i["name"] for i in one["images"]] == [i["name"] for i in two["images"]]
    assert one["classes"] == two["classes"]
