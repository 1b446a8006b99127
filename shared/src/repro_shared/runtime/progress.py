"""Progress on stderr: a bar on a terminal, now and then a plain line in a log."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from repro_shared.runtime.errors import one_line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


PLAIN_INTERVAL = 10.0


class Progress:
    """How far a loop of `total` steps has come, `start` of them in an earlier run.

    Use it as a context manager and call `update` as often as you like.
    """

    def __init__(
        self, total: int, label: str, start: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.label = total, label
        self._start, self._clock = start, clock
        self._stream = sys.stderr
        self._bar: RichProgress | None = None
        self._began = self._printed = 0.0
        self._pending = ""

    def __enter__(self) -> "Progress":
        self._began = self._printed = self._clock()
        self._bar = _rich_bar(self._stream) if self._stream.isatty() else None
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task(self.label, total=self.total, completed=self._start, values="")
        return self

    def update(self, step: int, **values: float | str) -> None:
        """Report `step` steps done, and values to show beside, such as loss=0.53."""
        shown = "  ".join(
            f"{name} {value}" if isinstance(value, str) else f"{name} {value:.4g}"
            for name, value in values.items()
        )
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, values=shown)
            return
        now = self._clock()
        line = f"{self.label}: {step}/{self.total}" + (f"  {shown}" if shown else "")
        done, elapsed = step - self._start, now - self._began
        if done > 0 and elapsed > 0:
            left = timedelta(seconds=round((self.total - step) * elapsed / done))
            line += f"  {done / elapsed:.3g} steps/s, {left} left"
        self._pending = line
        if now - self._printed >= PLAIN_INTERVAL:
            self._print_pending()
            self._printed = now

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._print_pending()

    def _print_pending(self) -> None:
        if self._pending:
            print(self._pending, file=self._stream, flush=True)
            self._pending = ""


def say(message: str) -> None:
    """One line on stderr about what is going on, beside the bars: stdout holds results only."""
    print(one_line(message), file=sys.stderr, flush=True)


def _rich_bar(stream: TextIO) -> "RichProgress | None":
    """A bar with label, count, remaining time and values; None where rich is not installed."""
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        return None
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[values]}", markup=False),
        console=Console(file=stream),
        # rich takes over stdout as well while a bar is shown: results sent to a file would end up
        # between the bars. Where stdout is a terminal too, that keeps the two from mixing.
        redirect_stdout=sys.stdout.isatty(),
    )
