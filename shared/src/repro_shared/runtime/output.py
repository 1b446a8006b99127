"""Stdout holds a command's results alone: what third parties print or warn of goes to a log."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from repro_shared.runtime.errors import UserError

LOG = "third-parties.log"


class Log:
    """What third parties said: held until a folder is named, then appended to its `LOG`."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.path: Path | None = None

    def write(self, text: str) -> int:
        """Keep it."""
        self.held.append(text)
        self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what is held, if it is known where to; a folder without need gets no file."""
        if self.path is not None and self.held:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(self.held)
            self.held.clear()


_logs: list[Log] = []  # of the commands that are running: one, but in tests


def keep_log(folder: Path) -> None:
    """From now on, what third parties say in this command goes to the file `LOG` of a folder."""
    for log in _logs[-1:]:
        log.path = folder / LOG
        log.flush()


@contextmanager
def results_only(packages: Collection[str]) -> Iterator[None]:
    """Let only these packages print to stdout; what others print, warn of or log goes to a log.

    Without a call of `keep_log` it is shown on stderr at the end, unless the command is refused
    with an error of one line.

    Args:
        packages: top-level names of the modules whose prints are results.
    """
    log, stdout, show = Log(), sys.stdout, warnings.showwarning
    handler = logging.StreamHandler(log)  # without one, logging writes warnings to stderr

    def logged(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        log.write(warnings.formatwarning(message, category, filename, lineno, line))

    _logs.append(log)
    logging.getLogger().addHandler(handler)
    sys.stdout, warnings.showwarning = _Results(stdout, log, packages), logged
    refused = False
    try:
        yield
    except (UserError, OSError):
        refused = True
        raise
    finally:
        sys.stdout, warnings.showwarning = stdout, show
        logging.getLogger().removeHandler(handler)
        _logs.remove(log)
        if not refused:
            sys.stderr.write("".join(log.held))
        log.held.clear()


class _Results:
    """Stdout that looks at who writes: an import or a model that prints knows no better place."""

    def __init__(self, stream: TextIO, log: Log, packages: Collection[str]) -> None:
        self._stream, self._log, self._packages = stream, log, packages

    def write(self, text: str) -> int:
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        own = caller.partition(".")[0] in self._packages
        return (self._stream if own else self._log).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
