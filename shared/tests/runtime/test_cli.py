"""Every mistake on the command line is one line and exit code 2; help is readable."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import tyro

from repro_shared.runtime.cli import run
from repro_shared.runtime.errors import UserError

calls: list[dict[str, Any]] = []


def reproduce(
    scale: Literal["smoke", "cpu", "paper"] = "cpu",
    table: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    data: Path | None = None,
    plan: bool = False,
    lr: float = 0.1,
) -> int:
    """Run what is missing for these tables.

    Finished runs are skipped.

    Args:
        scale: Which scale of the recipe to run.
        table: Ids of tables; all by default.
        seeds: Seeds to run.
        data: Folder of the data set.
        plan: List runs and cost, and stop.
        lr: Learning rate.
    """
    calls.append(dict(locals()))
    return 3


def table(id: str, markdown: bool = False) -> None:
    """Print one table.

    Args:
        id: Id of the table.
        markdown: As Markdown.
    """
    calls.append(dict(locals()))
    if id == "exit":
        sys.exit(7)
    if id == "bug":
        raise ZeroDivisionError


def check(folder: Path) -> None:
    """Verify a data folder.

    Args:
        folder: The folder.
    """
    raise UserError(f"{folder} is empty;\nput images there")


COMMANDS = {"reproduce": reproduce, "table": table, "data check": check}


def main(*argv: str) -> int:
    calls.clear()
    return run("seg-kd", "Distillation at equal time.", COMMANDS, argv, version="1.2.3")


def test_arguments_arrive_typed() -> None:
    assert main("reproduce") == 3
    assert calls == [
        {
            "scale": "cpu",
            "table": (),
            "seeds": (0, 1, 2),
            "data": None,
            "plan": False,
            "lr": 0.1,
        }
    ]
    flags = "--scale smoke --table a b --seeds 4 5 --data d --plan --lr 1e-3"
    assert main("reproduce", *flags.split()) == 3
    assert calls == [
        {
            "scale": "smoke",
            "table": ("a", "b"),
            "seeds": (4, 5),
            "data": Path("d"),
            "plan": True,
            "lr": 0.001,
        }
    ]
    assert main("reproduce", "--lr=2") == 3
    assert calls[0]["lr"] == 2.0


def test_positional_arguments_and_success() -> None:
    assert main("table", "cost-card", "--markdown") == 0
    assert calls == [{"id": "cost-card", "markdown": True}]


def test_exit_and_bugs_of_a_command_are_its_own() -> None:
    with pytest.raises(SystemExit) as stop:
        main("table", "exit")
    assert stop.value.code == 7
    with pytest.raises(ZeroDivisionError):
        main("table", "bug")


@pytest.mark.parametrize("utf8_boxes", [False, True])
@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ("reprodce", ["unknown command `reprodce`", "did you mean `reproduce`?", "data check"]),
        ("--flag", ["unknown command `--flag`"]),
        ("data", ["`seg-kd data` needs one of: check"]),
        ("data chek x", ["`seg-kd data` needs one of: check"]),
        ("reproduce --scale big", ["'big'", "--scale", "'smoke', 'cpu', 'paper'"]),
        ("reproduce --scal cpu", ["--scal", "perhaps you meant --scale"]),
        ("reproduce --seeds 0 x", ["--seeds", "'x'"]),
        ("reproduce --lr fast", ["--lr", "'fast'"]),
        ("reproduce --lr", ["--lr"]),
        ("reproduce --plan yes", ["yes"]),
        ("reproduce --no-plan", ["--no-plan"]),
        ("reproduce stray", ["stray"]),
        ("table", ["missing"]),
        ("table a b", ["b"]),
        ("data check x", ["x is empty; put images there"]),
    ],
)
def test_mistakes_are_one_line(
    argv: str,
    parts: list[str],
    utf8_boxes: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # tyro draws its frames by the encoding of stdout.
    monkeypatch.setattr(tyro._fmtlib, "_should_use_utf8_drawing_chars", lambda: utf8_boxes)
    assert main(*argv.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert not set(captured.err) & set("╭│╰─")
    assert "---" not in captured.err
    assert "helptext" not in captured.err
    for part in parts:
        assert part in captured.err
    assert not calls


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["data", "--help"], ["data", "-h"]])
def test_overview(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(*argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: seg-kd ")
    assert "Distillation at equal time." in lines
    assert "  reproduce   Run what is missing for these tables." in lines
    assert "  data check  Verify a data folder." in lines


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("reproduce", "--help") == 0
    text = capsys.readouterr().out
    for part in ("seg-kd reproduce", "Finished runs are skipped.", "{smoke,cpu,paper}"):
        assert part in text
    assert "Which scale of the recipe to run. (default: cpu)" in text
    assert "--no-plan" not in text
    assert not calls


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--version") == 0
    assert capsys.readouterr().out == "seg-kd 1.2.3\n"


def test_arguments_of_the_process() -> None:
    script = (
        "import sys; from repro_shared.runtime.cli import run\n"
        "def greet(name: str) -> int:\n    'Say it.'\n    print(name); return 4\n"
        "sys.exit(run('x', '', {'greet': greet}, version='1'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "greet", "you"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (4, "you\n", "")
