"""The command line as a user calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from amod import cli

Call = Callable[..., int]


@pytest.fixture
def call() -> Call:
    """Runs `amod` with arguments; returns its exit code."""

    def run(*arguments: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["amod", *arguments])
            with pytest.raises(SystemExit) as stop:
                cli.main()
        assert isinstance(stop.value.code, int)
        return stop.value.code

    return run
