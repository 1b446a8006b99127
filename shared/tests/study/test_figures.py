"""Figures are of runs that were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import Results


def test_no_axes_are_drawn_where_nothing_has_been_run() -> None:
    anything: Any = None
    arm = Arm("an arm", anything, anything)
    study = Study("study", "cpu", anything, (arm,), (0,), figures=(anything,))
    assert Results(anything, study, [], Path()).figures == ()
    assert Results(anything, study, [cast(Any, "a record")], Path()).figures == study.figures
    arithmetic = Study("study", "cpu", anything, (), (), figures=(anything,))
    assert Results(anything, arithmetic, [], Path()).figures == study.figures
