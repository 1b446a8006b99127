"""A bar on a terminal; few plain lines elsewhere; nothing on stdout."""

import contextlib
import io
import sys
from typing import Any

import pytest

from repro_shared.runtime.progress import Progress, say


def progress_on(stream: io.StringIO, *arguments: Any, **options: Any) -> Progress:
    with contextlib.redirect_stderr(stream):
        return Progress(*arguments, **options)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_are_few_and_end_with_the_last_step() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress_on(stream, 100, "student", clock=clock) as progress:
        for step in range(1, 101):
            clock.now += 0.25
            progress.update(step, loss=1 / step, arm="logit")
    assert stream.getvalue().splitlines() == [
        "student: 40/100  loss 0.025  arm logit  4 steps/s, 0:00:15 left",
        "student: 80/100  loss 0.0125  arm logit  4 steps/s, 0:00:05 left",
        "student: 100/100  loss 0.01  arm logit  4 steps/s, 0:00:00 left",
    ]


def test_a_resumed_run_does_not_count_the_old_steps_as_fast() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress_on(stream, 7300, "x", start=90, clock=clock) as progress:
        clock.now = 20.0
        progress.update(100)
    assert stream.getvalue() == "x: 100/7300  0.5 steps/s, 4:00:00 left\n"


def test_no_update_and_an_error() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), progress_on(stream, 3, "x"):
        {}["missing"]
    assert stream.getvalue() == ""


def test_the_last_line_survives_an_error() -> None:
    stream = io.StringIO()
    progress = progress_on(stream, 3, "x", clock=Clock())
    progress.__enter__()
    progress.update(2)
    progress.__exit__(KeyError, KeyError(), None)
    assert stream.getvalue() == "x: 2/3\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal() -> None:
    stream = Terminal()
    with progress_on(stream, 3, "teacher [seed 0]") as progress:
        for step in range(1, 4):
            progress.update(step, loss=0.5)
    shown = stream.getvalue()
    assert "teacher [seed 0]" in shown  # brackets are no markup
    assert "3/3" in shown
    assert "loss 0.5" in shown


def test_a_result_printed_below_a_bar_stays_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    with progress_on(stream, 3, "x") as progress:
        progress.update(1)
        print("result")
    assert capsys.readouterr().out == "result\n"
    assert "result" not in stream.getvalue()


def test_plain_lines_where_rich_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    stream = Terminal()
    with progress_on(stream, 3, "x", clock=Clock()) as progress:
        progress.update(3)
    assert stream.getvalue() == "x: 3/3\n"


def test_results_stay_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    say("calibrating\nnow")
    with Progress(3, "x") as progress:
        progress.update(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("calibrating now\nx: 1/3")
