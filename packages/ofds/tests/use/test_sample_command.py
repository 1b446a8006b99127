"""The command `ofds sample`: at random, longer if need be, and a selection as others are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ofds.use.export_command import export
from ofds.use.sample_command import sample
from ofds.use.selection_file import read_selection
from repro_shared.runtime.cli import run


def command(files: Any, *arguments: str) -> int:
    given = f"--images {files.folder}/images.json --proposals {files.folder}/results.json".split()
    verbs = {"sample": sample, "export": export}
    return run("ofds", "", verbs, [arguments[0], *given, *arguments[1:]], version="0")


def test_a_sample_is_random_and_can_be_made_longer(files: Any) -> None:
    drawn = []
    for count in (5, 20, 40):
        out = str(files.folder / f"sample-{count}")
        assert command(files, "sample", "--count", str(count), "--seed", "3", "--out", out) == 0
        drawn.append(read_selection(out).names)
        assert len(set(drawn[-1])) == count
    assert drawn[0] == drawn[1][:5] == drawn[2][:5]
    names = {image["file_name"] for image in files.images}
    assert set(drawn[2]) == names  # images without proposals, too
    files.write(backwards=True)
    again = str(files.folder / "again")
    assert command(files, "sample", "--count", "5", "--seed", "3", "--out", again) == 0
    assert read_selection(again).names == drawn[0]


def test_a_sample_leaves_out_what_is_annotated(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [image["file_name"] for image in files.images]
    annotated = files.json("annotated.json", names[:30])
    out = str(files.folder / "sample")
    some = ("--annotated", str(annotated), "--out", out)
    assert command(files, "sample", "--count", "11", *some) == 2
    assert "--count 11: there are 10 images to draw from" in capsys.readouterr().err
    assert not Path(out).exists()
    assert command(files, "sample", "--count", "10", *some) == 0
    made = read_selection(out)
    assert set(made.names) == set(names[30:])
    assert made.header["sample"] == {"population": 10, "without": sorted(names[:30])}
    assert made.header["annotated"] == names[:30]


def test_a_sample_can_be_exported_and_gone_on_from(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, features = files.folder, ("--features", f"{files.folder}/features.npy")
    assert command(files, "sample", "--count", "9", "--out", f"{folder}/sample", *features) == 0
    given = ("--selection", f"{folder}/sample", "--format", "list", "--out", f"{folder}/list")
    assert command(files, "export", *given) == 0
    drawn = read_selection(folder / "sample").names
    assert (folder / "list" / "images.txt").read_text().splitlines() == drawn
    assert files.select("--budget", "20", "--continue", f"{folder}/sample", out="next") == 0
    assert files.made("next")["annotated"] == drawn
    assert not set(drawn) & set(read_selection(folder / "next").names)
    assert command(files, "sample", "--count", "9", "--out", f"{folder}/plain") == 0
    capsys.readouterr()
    assert files.select("--budget", "20", "--continue", f"{folder}/plain", out="other") == 2
    assert "was made from other features" in capsys.readouterr().err


def test_what_is_said_and_refused(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", f"{files.folder}/sample")
    for arguments, message in (
        ((), "--out is missing"),
        ((*out, "--count", "0"), "--count must be at least 1"),
        ((*out, "--seed", "-1"), "--seed must be 0 or more"),
        ((*out, "--threshold", "2"), "--threshold must be 0 to 1"),
        ((*out, "--count", "41"), "there are 40 images to draw from"),
    ):
        assert command(files, "sample", *arguments) == 2
        assert message in capsys.readouterr().err
    assert command(files, "sample", "--count", "6", *out) == 0
    printed = capsys.readouterr().out
    assert "6 of 40 images at random" in printed
    assert "on fewer than 5 images drawn, so that little will be known of them" in printed
    assert command(files, "sample", "--count", "6", *out) == 2
    assert "never overwritten" in capsys.readouterr().err
