"""Stdout can be piped: what third parties print, warn of or log is not among the results."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from repro_shared.runtime.cli import run
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.output import LOG, keep_log

Capsys = pytest.CaptureFixture[str]
THIRD: dict[str, Any] = {"__name__": "third_party.models"}
exec(
    """
import logging, sys, warnings
def build():
    print('spatial True')
    warnings.warn('deprecated')
    logging.getLogger('third').warning('no weights')
    return logging.StreamHandler(sys.stdout)
""",
    THIRD,
)


@pytest.fixture(autouse=True)
def warnings_are_shown() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield


def score(*, out: str = "", problem: str = "") -> None:
    """Score a model."""
    THIRD["build"]()
    if out:
        keep_log(Path(out))
    if problem == "mistake":
        raise UserError("no such model")
    if problem == "bug":
        raise AssertionError
    THIRD["build"]()
    print(json.dumps({"miou": 1.5}))


def call(*arguments: str) -> int:
    return run("x", "", {"score": score}, ["score", *arguments], version="1")


def test_results_alone_are_on_stdout_and_the_rest_in_the_log(
    tmp_path: Path, capsys: Capsys
) -> None:
    stream, show = sys.stdout, warnings.showwarning
    assert call("--out", str(tmp_path)) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"miou": 1.5}
    assert said.err == ""
    log = (tmp_path / LOG).read_text()
    for part in ("spatial True\n", "UserWarning: deprecated", "no weights\n"):
        assert log.count(part) == 2
    assert (sys.stdout, warnings.showwarning) == (stream, show)


def test_without_an_output_folder_it_is_on_stderr(capsys: Capsys) -> None:
    assert call() == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"miou": 1.5}
    assert said.err.count("spatial True\n") == 2


def test_an_error_is_one_line_and_a_bug_hides_nothing(tmp_path: Path, capsys: Capsys) -> None:
    assert call("--problem", "mistake") == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: no such model\n")
    with pytest.raises(AssertionError):
        call("--problem", "bug")
    assert "spatial True" in capsys.readouterr().err


def test_nothing_said_leaves_no_file(tmp_path: Path, capsys: Capsys) -> None:
    def quiet() -> None:
        """Say nothing."""
        keep_log(tmp_path)
        print("1")

    assert run("x", "", {"quiet": quiet}, ["quiet"], version="1") == 0
    assert capsys.readouterr().out == "1\n"
    assert not list(tmp_path.iterdir())


def test_a_logger_that_kept_the_stream_may_write_later(capsys: Capsys) -> None:
    kept: list[Any] = []

    def build() -> None:
        """Build."""
        kept.append(THIRD["build"]())

    assert run("x", "", {"build": build}, ["build"], version="1") == 0
    kept[0].stream.write("later")
    kept[0].flush()
