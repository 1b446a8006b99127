"""Errors that a user can act on, printed as one line with exit code 2."""

import os
import sys
from collections.abc import Callable

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE


class UserError(Exception):
    """Something the user can put right: the message says what, where, and what to do.

    Args:
        message: One line. Line breaks are replaced by spaces, so that it stays one.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text on a single line, control characters (say, in a file name) shown as `?`."""
    joined = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in joined)


def exit_code(function: Callable[[], int | None]) -> int:
    """Run a command and turn the errors that are not bugs into one line on stderr.

    Bugs (every other exception) keep their traceback.

    Args:
        function: The command; None means success.

    Returns:
        The function's own code, or 0; 2 for a `UserError` and for the operating system's errors
        (full disk, read-only folder, missing file); 130 for an interrupt; 141 for a closed pipe.
    """
    try:
        code = function()
        sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's shutdown
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return BROKEN_PIPE
    except OSError as error:
        return _fail(_describe(error))
    return 0 if code is None else code


def _fail(message: str) -> int:
    print(f"error: {one_line(message)}", file=sys.stderr)
    return USER_ERROR


def _describe(error: OSError) -> str:
    """`No space left on device: runs/x`, without the number that Python puts in front."""
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{reason}: {os.fsdecode(error.filename)}"


def _discard_stdout() -> None:
    # The interpreter flushes stdout once more on exit and would complain about the closed pipe.
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is not a real file, so nothing is flushed to a pipe
        return
    finally:
        os.close(null)
