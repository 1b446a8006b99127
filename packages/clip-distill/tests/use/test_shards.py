"""Shards as the webdataset library writes them, and all that can be wrong with them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image
from webdataset import tariterators

from clip_distill.use.shards import Shards, expand
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import endless_loader


def png(number: int) -> bytes:
    made = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


def write(path: Path, numbers: range, **more: Any) -> Path:
    with webdataset.TarWriter(str(path)) as writer:
        for number in numbers:
            writer.write({"__key__": f"{number:04d}", "png": png(number),
                          "txt": f"caption {number}", "cls": number % 3, **more})  # fmt: skip
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards of 5, 1 and no samples."""
    write(tmp_path / "a-00.tar", range(5))
    write(tmp_path / "a-01.tar", range(5, 6))
    write(tmp_path / "a-02.tar", range(0))
    return tmp_path


def test_what_webdataset_writes(folder: Path) -> None:
    shards = Shards(folder, classes=("x", "y", "z"))
    assert shards.ids[0] == "a-00.tar/0000"
    assert [shards.caption(i) for i in (0, 5)] == ["caption 0", "caption 5"]
    assert shards.targets == (0, 1, 2, 0, 1, 2)
    for index in range(6):
        expected = np.asarray(Image.open(io.BytesIO(png(index))).convert("RGB"))
        assert np.array_equal(shards.read(index), expected)
    theirs = list[str]()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            parts = ({**p, "__url__": path.name} for p in tariterators.tar_file_iterator(file))
            theirs += [each["__key__"] for each in tariterators.group_by_keys(parts)]
    assert [name.split("/")[1] for name in shards.ids] == theirs
    assert Shards(str(folder / "a-{00..01}.tar")).ids == shards.ids
    assert Shards(str(folder / "a-0*.tar")).ids == shards.ids


class Numbers:
    """A view of shards: the number of the sample."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, place: tuple[int, int]) -> int:
        self.shards.read(place[1])
        return place[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_c6_two_processes_with_two_workers_on_three_shards(folder: Path, workers: int) -> None:
    shards = Shards(folder)
    seen = []
    for rank in range(2):
        loader = endless_loader(Numbers(shards), 0, 2, 0, workers, rank, 2)  # type: ignore[arg-type]
        batches = iter(loader)
        seen.append([next(batches).tolist() for _ in range(3)])  # one pass: 6 samples
        del batches, loader
    assert len(seen[0]) == len(seen[1])
    assert sorted(n for rank in seen for batch in rank for n in batch) == list(range(6))


def test_c7_a_truncated_shard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "s.tar", range(10))
    with tarfile.open(path) as tar:
        seventh = [member for member in tar if member.name.startswith("0006")]
    for member in seventh:
        for cut in (member.offset + 100, member.offset + 512, member.offset_data + 3):
            write(path, range(10))
            with path.open("rb+") as file:
                file.truncate(cut)
            with pytest.raises(UserError, match=r"s\.tar: truncated.*6 whole samples.*--skip-bad"):
                Shards(path)
            assert len(Shards(path, skip_bad=True)) == 6
    assert "the rest is left out" in capsys.readouterr().err
    # Cut between two samples: only the end of the archive is missing.
    with tarfile.open(write(path, range(10))) as tar:
        end = tar.getmember("0007.cls").offset
        start = min(member.offset for member in tar if member.name.startswith("0007"))
    assert start <= end
    with path.open("rb+") as file:
        file.truncate(start)
    with pytest.raises(UserError, match="truncated"):
        Shards(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="empty file"):
        Shards(path)


def test_nothing_that_runs_code(tmp_path: Path) -> None:
    for source in ("pipe:cat x.tar", "http://a.b/c.tar"):
        with pytest.raises(UserError, match="commands are never run"):
            Shards(source)
    write(tmp_path / "p.tar", range(2), **{"meta.pyd": {"a": 1}})
    with pytest.raises(UserError, match="is pickled and could run code"):
        Shards(tmp_path / "p.tar")


def test_other_faults(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \.tar files"):
        Shards(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Shards(tmp_path / "none.tar")
    (tmp_path / "x.tar").write_bytes(b"no tar" * 400)
    with pytest.raises(UserError, match="no tar file"):
        Shards(tmp_path / "x.tar")
    (tmp_path / "x.tar").unlink()
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz"):
        pass
    with pytest.raises(UserError, match="unpack it"):
        Shards(tmp_path / "x.tar.gz")
    path = write(tmp_path / "y.tar", range(3))
    with pytest.raises(UserError, match="class 2 is none of 2"):
        Shards(path, classes=("a", "b"))
    with webdataset.TarWriter(str(path)) as writer:
        writer.write({"__key__": "a", "png": png(0), "json": {"x": 1}})
        writer.write({"__key__": "b", "txt": "no picture"})
        writer.write({"__key__": "c", "png": b"no picture"})
    shards = Shards(path)
    assert shards.passed_over == {".json": 1, "samples without a picture": 1}
    with pytest.raises(UserError, match=r"y\.tar/a has no caption.*of 2 samples 0 have one"):
        shards.caption(0)
    with pytest.raises(UserError, match=r"y\.tar/c: truncated or damaged"):
        shards.read(1)
    with webdataset.TarWriter(str(path)) as writer:
        for _ in range(2):
            writer.write({"__key__": "a", "png": png(0)})
    with pytest.raises(UserError, match="two samples are called 'a'"):
        Shards(path)


def test_files_of_macos_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        for number in range(3):
            for name, data in ((f"./._{number}.png", b"mac"), (f"./{number}.png", png(number))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    assert Shards(tmp_path / "m.tar").ids == ("m.tar/0", "m.tar/1", "m.tar/2")
    assert "passed over: 3 hidden files" in capsys.readouterr().err


def test_ranges_of_names() -> None:
    assert expand("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand("{1..2}/{0..1}") == ["1/0", "1/1", "2/0", "2/1"]
