"""One line and the right exit code for what is not a bug; a traceback for what is."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from repro_shared.runtime.errors import UserError, exit_code, one_line


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_return_value_is_the_code(returned: int | None, code: int) -> None:
    assert exit_code(lambda: returned) == code


def test_user_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = UserError("no folder x;\n  give --data\tDIR")
    assert exit_code(raising(error)) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: no folder x; give --data DIR\n"
    assert captured.out == ""


def test_control_characters_of_a_file_name_do_not_reach_the_terminal() -> None:
    assert one_line("a\x1b[31mb\r\nc \udcff") == "a?[31mb c ?"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT])
def test_system_errors_are_one_line_with_the_file(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(raising(OSError(number, os.strerror(number), "runs/x"))) == 2
    assert capsys.readouterr().err == f"error: {os.strerror(number)}: runs/x\n"


def test_system_error_without_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(OSError("cannot identify image"))) == 2
    assert capsys.readouterr().err == "error: cannot identify image\n"


def test_interrupt() -> None:
    assert exit_code(raising(KeyboardInterrupt())) == 130


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()))


def test_closed_pipe_is_quiet() -> None:
    script = (
        "import sys; from repro_shared.runtime.errors import exit_code\n"
        "sys.exit(exit_code(lambda: print('line\\n' * 100_000)))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert complaint == b""
