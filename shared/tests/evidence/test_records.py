"""Records as lines: read back exactly, appended safely, damage named and kept aside."""

import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from repro_shared.evidence import records as module
from repro_shared.evidence.records import Curve, Origin, RunRecord
from repro_shared.evidence.run_folder import CURVES, DAMAGED, RUNS, SETS, RunFolder
from repro_shared.runtime.errors import UserError

ORIGIN = Origin(
    method_version=1,
    data_name="digit scenes",
    data_fingerprint="f" * 64,
    provenance={"git": {"commit": "a" * 40, "dirty": False}, "cpu": "some processor"},
)
CONFIG = {"type": "Student", "steps": 100}


CURVE: Curve = {"step": [1, 2], "score": [0.5, None]}


def make_record(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "study": "equal_time",
        "curve": True,
        "origin": ORIGIN,
        "arm": "feature-logit",
        "seed": 3,
        "key": "1234-abcd",
        "config": "c0ffee",
        "status": "complete",
        "metrics": {"miou": 61.25, "accuracy": 90.1 / 3},
        "seconds": 12.5,
        "samples": 800,
        "macs": 10,
        "peak_memory_mb": 512.0,
        "started": datetime(2026, 11, 24, 10, 0, 0, 123456, UTC),
        "finished": datetime(2026, 11, 24, 10, 0, 13, tzinfo=UTC),
        "notes": "Grüße",
    }
    return RunRecord(**{**fields, **changes})


def folder_with(path: Path, *records: RunRecord) -> RunFolder:
    folder = RunFolder(path, "equal_time")
    with folder.locked():
        for record in records:
            folder.append(record, CONFIG, CURVE)
    return folder


def test_round_trip_is_exact_and_what_runs_share_is_written_once(tmp_path: Path) -> None:
    made = [make_record(seed=seed) for seed in range(5)]
    folder = folder_with(tmp_path / "study", *made)
    assert folder.read() == made
    sets = json.loads((folder.folder / SETS).read_text())
    assert list(sets["sets"]) == [ORIGIN.id]
    assert sets["configs"] == {"c0ffee": CONFIG}
    lines = (folder.folder / RUNS).read_text().splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) < 600
    assert folder.curves()["feature-logit", 3, "1234-abcd"] == {
        "step": [1, 2],
        "score": [0.5, None],
    }
    assert folder.configs() == {"c0ffee": CONFIG}
    assert RunFolder(tmp_path / "nothing", "x").read() == []


def test_rewriting_orders_and_is_stable(tmp_path: Path) -> None:
    other = Origin(**{**ORIGIN.model_dump(), "data_name": "other"})
    folder = folder_with(
        tmp_path,
        make_record(arm="plain", seed=10),
        make_record(arm="plain", seed=2, origin=other),
        make_record(arm="feature", seed=2),
    )
    folder.rewrite()
    found = [(json.loads(line)["arm"], json.loads(line)["seed"])
             for line in (tmp_path / RUNS).read_text().splitlines()]  # fmt: skip
    assert found == [("feature", 2), ("plain", 2), ("plain", 10)]
    files = [(tmp_path / name).read_bytes() for name in (RUNS, SETS, CURVES)]
    folder.rewrite()
    assert [(tmp_path / name).read_bytes() for name in (RUNS, SETS, CURVES)] == files


def test_a_last_line_that_was_torn_off_is_passed_over_and_cut_away(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, make_record(seed=0), make_record(seed=1))
    whole = (tmp_path / RUNS).read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        (tmp_path / RUNS).write_bytes(whole[:length])
        assert [record.seed for record in folder.read()] == [0]
    with folder.locked():
        folder.append(make_record(seed=1), CONFIG, CURVE)
    assert (tmp_path / RUNS).read_bytes() == whole
    assert not (tmp_path / DAMAGED).exists()


def test_a_run_whose_curve_is_damaged_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_with(tmp_path, make_record(seed=0), make_record(seed=1))
    lines = (tmp_path / CURVES).read_text().splitlines()
    (tmp_path / CURVES).write_text(f"{lines[0]}\n{lines[1][:-9]}\n")
    assert [record.seed for record in folder.read()] == [0]
    assert "line 2 is damaged (its curve is not in curves.jsonl)" in capsys.readouterr().err
    with folder.locked():
        folder.rewrite()
    aside = (tmp_path / DAMAGED).read_text().splitlines()
    assert len(aside) == 2  # the run's line and the curve's, nothing is dropped
    assert lines[1][:-9] in aside
    folder.append(make_record(seed=2), CONFIG)  # a run without a curve needs none
    assert [record.seed for record in folder.read()] == [0, 2]


def test_records_without_their_sets_are_refused_and_stay(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, make_record())
    before = (tmp_path / RUNS).read_bytes()
    (tmp_path / SETS).unlink()
    with pytest.raises(UserError, match=r"sets\.json is gone"), folder.locked():
        pass
    assert (tmp_path / RUNS).read_bytes() == before
    assert not (tmp_path / DAMAGED).exists()


def test_a_damaged_line_is_named_and_kept_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_with(tmp_path, *(make_record(seed=seed) for seed in range(3)))
    lines = (tmp_path / RUNS).read_text().splitlines()
    for bad, complaint in (
        (lines[1][:-20], "no record"),
        ("[]", "no record"),
        ("\x00\x00", "no record"),
        (lines[1].replace('"seed": 1', '"seed": -1'), "seed"),
        (lines[1].replace('"miou": 61.25', '"miou": "high"'), "metrics.miou"),
        (lines[1].replace(ORIGIN.id, "00000000"), "no record"),
        (lines[1].replace('"complete"', '"running"'), "status"),
    ):
        (tmp_path / RUNS).write_text("\n".join([lines[0], bad, lines[2]]) + "\n")
        assert [record.seed for record in folder.read()] == [0, 2]
        said = capsys.readouterr().err
        assert f"{RUNS}, line 2 is damaged ({complaint}" in said
        assert len(said.splitlines()) == 1
    with folder.locked():
        assert "1 damaged lines were moved to damaged.jsonl" in capsys.readouterr().err
        folder.append(make_record(seed=1), CONFIG)
    assert [record.seed for record in folder.read()] == [0, 1, 2]
    assert capsys.readouterr().err == ""
    assert (tmp_path / DAMAGED).read_text() == bad + "\n"


def test_records_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, make_record())
    path = tmp_path / SETS
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(UserError, match=r"version 2; this code reads up to 1: update it"):
        folder.read()
    with pytest.raises(UserError, match="version 2"), folder.locked():
        pass


@pytest.mark.parametrize("content", [b"\xff\xfe", b"null", b"{}", b'{"version": 1, "sets": 3}'])
def test_a_damaged_set_file_is_named(tmp_path: Path, content: bytes) -> None:
    folder = folder_with(tmp_path, make_record())
    (tmp_path / SETS).write_bytes(content)
    with pytest.raises(UserError, match=r"sets\.json: damaged"):
        folder.read()


def hold(path: str, ready: Any, done: Any) -> None:
    with RunFolder(path, "equal_time").locked():
        ready.set()
        done.wait(30)


def test_two_processes_on_one_folder_are_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), ready, done))
    other.start()
    try:
        assert ready.wait(60)
        mine = RunFolder(tmp_path, "equal_time")
        with pytest.raises(UserError, match="another process writes there"), mine.locked():
            pass
    finally:
        done.set()
        other.join(30)
    with RunFolder(tmp_path, "equal_time").locked():  # and is free again
        pass


def test_killed_at_any_moment_of_an_append_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before each write and sync, and half-way through the writes."""

    class Killed(BaseException):
        pass

    steps, stop = -1000, 0
    fsync = os.fsync

    def dying(handle: int) -> None:
        nonlocal steps
        steps += 1
        if steps == stop:
            raise Killed
        fsync(handle)

    monkeypatch.setattr(os, "fsync", dying)
    reached = 0
    while True:
        stop += 1
        path = tmp_path / f"{stop}"
        steps = -1000
        folder = folder_with(path, make_record(seed=0))
        other = Origin(**{**ORIGIN.model_dump(), "data_name": "other"})
        steps = 0
        try:
            with folder.locked():
                folder.append(make_record(seed=1, origin=other, config="beef"), CONFIG, {"a": [1]})
            break
        except Killed:
            reached += 1
        steps = -1000
        found = [record.seed for record in folder.read()]
        assert found in ([0], [0, 1])
        with folder.locked():
            folder.append(make_record(seed=2), CONFIG)
        assert [record.seed for record in folder.read()] == [*found, 2]
    assert reached == 4  # the set file, its folder, the curve, the run


def test_nan_is_refused_wherever_it_hides(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        make_record(metrics={"miou": float("nan")})
    with pytest.raises(ValidationError, match="at least one metric"):
        make_record(metrics={})
    with pytest.raises(ValueError, match="Out of range"):
        module.curve_line(make_record(), {"loss": [float("inf")]})
    with pytest.raises(ValueError, match="one length"):
        module.curve_line(make_record(), {"step": [1, 2], "loss": [1.0]})
    with pytest.raises(ValueError, match="at most 50"):
        module.curve_line(make_record(), {"step": [1.0] * 51})


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "line\n", "-flag", "Upper"])
def test_names_are_ids(name: str) -> None:
    with pytest.raises(ValidationError):
        make_record(arm=name)
