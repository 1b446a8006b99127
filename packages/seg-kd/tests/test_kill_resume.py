"""The short version of kill_resume.py: one kill at a random moment, two inside a save."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_killed_and_resumed_equals_uninterrupted() -> None:
    script = Path(__file__).with_name("kill_resume.py")
    done = subprocess.run(
        [sys.executable, str(script), "--runs", "4", "--iterations", "24", "--interval", "6"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4/4 identical, 2 killed inside a save" in done.stdout
