"""Errors that a user can act on, printed as one line with exit code 2."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress


class UserError(Exception):
    """Something the user can put right: one line says what, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class DivergedError(UserError):
    """A loss that is not finite: the run cannot go on, others can."""


def one_line(text: str) -> str:
    """The text on a single line, control characters (say, in a file name) shown as `?`."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def exit_code(command: Callable[[], int | None]) -> int:
    """The exit code of a command; errors that are not bugs become one line on stderr.

    2 for a `UserError` or the operating system's, 130 for an interrupt, 141 for a closed pipe.
    """
    try:
        code = command()
        sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's shutdown
        return code or 0
    except UserError as error:
        message = str(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # 128 + the signal's number, as shells report it
    except BrokenPipeError:
        # The interpreter flushes stdout once more on exit and would complain about the pipe.
        with open(os.devnull, "wb") as null, suppress(OSError, ValueError):
            os.dup2(null.fileno(), sys.stdout.fileno())
        return 141
    except OSError as error:
        # `No space left on device: runs/x`, without the number that Python puts in front.
        message = error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            message += f": {os.fsdecode(error.filename)}"
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 2
