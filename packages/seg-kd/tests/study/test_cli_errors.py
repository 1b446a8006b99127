"""Bad input: one line on stderr, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.runtime import weights
from seg_kd import cli
from seg_kd.use import adapter
from seg_kd.use.models import Model, model_config


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error line of a command that must exit with 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seg-kd", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    captured = capsys.readouterr()
    assert stop.value.code == 2, captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


Capsys = pytest.CaptureFixture[str]


def test_unknown_names(capsys: Capsys, tmp_path: Path) -> None:
    assert "unknown command" in call(capsys, "reproduec")
    assert "unknown study" in call(capsys, "reproduce", "--table", "table1")
    assert "scale" in call(capsys, "reproduce", "--scale", "huge")
    assert "no table" in call(capsys, "table", "table1", "--out", str(tmp_path))
    assert "abstract/" in call(capsys, "cite", "table1/a/b")


def test_data_that_is_missing_or_wrong(capsys: Capsys, folder: Path, tmp_path: Path) -> None:
    recipe = ("reproduce", "--scale", "smoke", "--table", "equal_time_camvid", "--out",
              str(tmp_path / "out"))  # fmt: skip
    assert "--data DIR" in call(capsys, *recipe)
    assert "nowhere" in call(capsys, *recipe, "--data", str(tmp_path / "nowhere"))
    (tmp_path / "empty" / "images" / "train").mkdir(parents=True)
    assert "empty" in call(capsys, *recipe, "--data", str(tmp_path / "empty"))
    label = folder / "labels" / "train" / "train_0.png"
    original = label.read_bytes()
    Image.fromarray(np.full((40, 48), 77, np.uint8)).save(label)
    assert "77" in call(capsys, *recipe, "--data", str(folder))
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(label)
    assert "train_0" in call(capsys, *recipe, "--data", str(folder))
    label.write_bytes(original[: len(original) // 2])
    assert "train_0" in call(capsys, *recipe, "--data", str(folder))
    label.unlink()
    assert "train_0" in call(capsys, *recipe, "--data", str(folder))
    assert not list(tmp_path.rglob("runs.jsonl"))


def test_data_that_no_table_reads_are_refused_before_anything_runs(
    capsys: Capsys, folder: Path, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path / "out"), "--data", str(folder))
    for tables in ((), ("--table", "equal_time_digits"), ("--table", "equal_time_digits_tuning")):
        assert "reads no data" in call(capsys, "reproduce", *tables, *out)
    assert not (tmp_path / "out").exists()


def test_own_data_commands(capsys: Capsys, folder: Path, tmp_path: Path) -> None:
    images = ("--data", str(folder), "--num-classes", "11", "--ignore", "11", "--crop", "32", "32")
    out = ("--out", str(tmp_path / "out"))
    assert "--iterations or --budget-seconds" in call(capsys, "train", *images, *out)
    assert "neither an mmseg config" in call(
        capsys, "train", *images, "--iterations", "1", "--model", "resnet", *out
    )
    assert "no weights" in call(
        capsys, "evaluate", *images, "--model", "pspnet_r18", "--weights", "absent.pth"
    )
    assert "no teacher" in call(capsys, "distill", *images, "--iterations", "1", *out)
    assert "--teacher-weights" in call(
        capsys, "distill", *images, "--iterations", "1", "--teacher", "pspnet_r18", *out
    )
    for amp, said in ((("True",), "--amp needs --device cuda"), ((), "--amp")):
        assert said in call(capsys, "train", *images, "--iterations", "1", *out, "--amp", *amp)
    teacher = ("--teacher", "pspnet_r18", "--teacher-weights", "absent.pth", "--iterations", "1")
    for objective, flag, value, said in (
        ("feature", "--logit-weight", "1", "'feature' takes no --logit-weight"),
        ("feature", "--temperature", "2", "'feature' takes no --temperature"),
        ("logit", "--feature-weight", "5", "'logit' takes no --feature-weight"),
        ("feature+logit", "--logit-weight", "0", "--logit-weight must be above 0, got 0"),
        ("logit", "--temperature", "0", "--temperature must be above 0, got 0"),
        ("feature+logit", "--temperature", "nan", "--temperature must be above 0, got nan"),
    ):
        line = call(capsys, "distill", *images, *teacher, *out, "--objective", objective, flag,
                    value)  # fmt: skip
        assert said in line
    for objective, said in (
        ("cwd", "unknown objective 'cwd': choose one of logit, feature, feature+logit"),
        ("plain", "'plain' has no distillation term (use `seg-kd train`): choose one of logit"),
    ):
        assert said in call(capsys, "distill", *images, *teacher, *out, "--objective", objective)
    other = adapter.build_model(model_config(Model(base_channels=8), 11, (32, 32)))
    weights.save_weights(other, tmp_path / "other.safetensors")
    assert "another architecture" in call(
        capsys, "train", *images, "--iterations", "1", *out, "--weights",
        str(tmp_path / "other.safetensors"),
    )  # fmt: skip
    (tmp_path / "file").write_text("")
    assert "file" in call(
        capsys, "train", *images, "--iterations", "1", "--out", str(tmp_path / "file")
    )


SCHEDULE = (
    ("--learning-rate", ("-1", "0", "nan", "inf")),
    ("--momentum", ("-0.1", "1", "nan")),
    ("--weight-decay", ("-1", "inf")),
    ("--power", ("-1", "nan")),
    ("--minimum-rate", ("-1", "0.5")),
    ("--batch-size", ("1", "-8")),
    ("--iterations", ("0", "-4")),
    ("--budget-seconds", ("0", "-4", "nan", "inf")),
    ("--workers", ("-1",)),
    ("--num-classes", ("1", "255")),
    ("--device", ("cuba",)),
)
TRAINING = (*SCHEDULE, ("--seed", ("-4", str(2**32))), ("--flip", ("2",)), ("--crop", ("8", "8")))
BAD = {
    "train": TRAINING,
    "distill": TRAINING,
    "calibrate": (*SCHEDULE, ("--rounds", ("0", "-1"))),
    "bench": (("--rounds", ("0", "-1")), ("--device", ("cuba",))),
}


@pytest.mark.parametrize("verb", BAD)
def test_numbers_out_of_range(
    capsys: Capsys, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("something began to run")

    monkeypatch.setattr(adapter, "build_model", started)
    weights = tmp_path / "teacher.pth"
    weights.write_bytes(b"never read")
    teacher = ("--teacher", "pspnet_r18", "--teacher-weights", str(weights))
    out = tmp_path / "out"
    given = {
        "train": ("--out", str(out)),
        "distill": (*teacher, "--out", str(out)),
        "calibrate": teacher,
        "bench": ("--out", str(out)),
    }[verb]
    if verb != "bench":
        given += ("--data", str(folder), "--num-classes", "11", "--crop", "32", "32")
    for flag, values in BAD[verb]:
        length = ("--iterations", "1") if verb in ("train", "distill") else ()
        if flag in ("--iterations", "--budget-seconds"):
            length = ()
        for value in [values] if flag == "--crop" else [(value,) for value in values]:
            line = call(capsys, verb, *given, *length, flag, *value)
            assert flag in line, line
            assert not out.exists() or not list(out.iterdir())


def test_several_processes_are_refused(
    capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = call(capsys, "reproduce", "--scale", "smoke", "--out", str(tmp_path / "out"))
    assert "one process" in line


def test_reports_of_nothing(capsys: Capsys, tmp_path: Path) -> None:
    for flags in ((), ("--check",)):
        assert "no such folder" in call(capsys, "report", "--out", str(tmp_path / "no"), *flags)
    assert not (tmp_path / "no").exists()
    assert "seeds must be distinct" in call(capsys, "reproduce", "--plan", "--seeds", "1", "1")


def test_read_only_output(capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permission bits do not stop root, so the file system says no here.
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        line = call(capsys, "reproduce", "--scale", "smoke", "--out", str(out))
    assert str(out) in line
    assert "Read-only" in line
    assert not out.exists()


def test_full_disk(
    capsys: Capsys, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "out" / "model"))

    monkeypatch.setattr(weights, "atomic_write_bytes", full)
    line = call(
        capsys, "train", "--data", str(folder), "--num-classes", "11", "--ignore", "11",
        "--crop", "32", "32", "--iterations", "1", "--batch-size", "2",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert "No space left" in line
    assert not list((tmp_path / "out").glob("model*"))
