"""Progress on stderr: a bar on a terminal, now and then a plain line in a log."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from repro_shared.runtime.errors import one_line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_INTERVAL = 10.0


class Progress:
    """How far a loop has come; use as a context manager and call `update` as often as you like.

    Args:
        total: Steps in the whole run.
        label: What runs, e.g. "teacher, seed 0".
        start: Steps done before (a resumed run), so that the remaining time is right.
        stream: Where to write; stderr by default, so that stdout holds results only.
        interval: Least seconds between plain lines.
        clock: Seconds; replaced in tests.
    """

    def __init__(
        self,
        total: int,
        label: str,
        start: int = 0,
        stream: TextIO | None = None,
        interval: float = PLAIN_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.label = label
        self._start = start
        self._stream = sys.stderr if stream is None else stream
        self._interval = interval
        self._clock = clock
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._began = self._printed = 0.0
        self._pending: str | None = None

    def __enter__(self) -> "Progress":
        self._began = self._printed = self._clock()
        if self._stream.isatty():
            self._bar = _rich_bar(self._stream)
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                self.label, total=self.total, completed=self._start, values=""
            )
        return self

    def update(self, step: int, **values: float | str) -> None:
        """Report `step` steps done, and values to show beside, such as loss=0.53."""
        shown = "  ".join(f"{name} {_format(value)}" for name, value in values.items())
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, values=shown)
            return
        now = self._clock()
        self._pending = self._line(step, shown, now - self._began)
        if now - self._printed >= self._interval:
            self._print_pending()
            self._printed = now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._print_pending()

    def _line(self, step: int, shown: str, elapsed: float) -> str:
        line = f"{self.label}: {step}/{self.total}"
        if shown:
            line += f"  {shown}"
        done = step - self._start
        if done > 0 and elapsed > 0:
            remaining = (self.total - step) * elapsed / done
            line += f"  {done / elapsed:.3g} steps/s, {_duration(remaining)} left"
        return line

    def _print_pending(self) -> None:
        if self._pending is not None:
            print(self._pending, file=self._stream, flush=True)
            self._pending = None


def say(message: str) -> None:
    """One line on stderr about what is going on, beside the bars: stdout holds results only."""
    print(one_line(message), file=sys.stderr, flush=True)


def _rich_bar(stream: TextIO) -> "RichProgress | None":
    """A bar with label, count, remaining time and values; None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
    except ImportError:
        return None
    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", markup=False),
        console=Console(file=stream),
        # rich takes over stdout as well while a bar is shown: results sent to a file would end up
        # between the bars. Where stdout is a terminal too, that keeps the two from mixing.
        redirect_stdout=sys.stdout.isatty(),
    )


def _format(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
