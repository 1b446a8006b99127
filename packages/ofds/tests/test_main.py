"""The command starts without what only studies need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ofds.cli import PAPER
from ofds.verbs import VERBS

SHOWN = """
import sys
sys.argv = ["ofds", *sys.argv[1:]]
from ofds.__main__ import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print([name for name in ("torch", "matplotlib", "transformers") if name in sys.modules])
"""


@pytest.mark.parametrize("verb", ["select", "propose"])
def test_a_verb_on_own_data_starts_without_torch(verb: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOWN, verb, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n"), done.stdout[-300:]


def test_every_light_verb_is_one_of_the_whole_command() -> None:
    assert VERBS.items() <= PAPER.verbs.items()
