"""Weights that a run left are taken into the package with their record."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cg_augment.cli import PAPER
from cg_augment.study import landing
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file

STUDY, ARM = "generator_training", "shapes-97-aligned-3500-steps"


def test_a_file_is_taken_with_the_record_that_speaks_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, into = tmp_path / "generator.safetensors", tmp_path / "into"
    left.write_bytes(b"weights")
    record: Any = SimpleNamespace(notes=f"weights sha256 {sha256_file(left)}",
                                  model_dump_json=lambda: '{"arm": "made"}')  # fmt: skip

    class Session:
        def __init__(self, *_: Any) -> None: ...
        def read(self) -> None: ...
        def made(self, arm: Any, seed: int) -> Any:
            return record if (arm.id, seed) == (ARM, 0) else None

        def work(self, arm: Any, seed: int) -> Path:
            return tmp_path

    monkeypatch.setattr(landing, "Session", Session)

    def land(arm: str = ARM, seed: int = 0, file: str = left.name) -> str:
        return landing.land(PAPER, tmp_path, STUDY, arm, seed, file, "shapes", into)

    assert land() == sha256_file(into / "shapes.safetensors")
    about = json.loads((into / "shapes.json").read_text(encoding="utf-8"))
    assert about["record"] == {"arm": "made"}
    assert about["config"]["steps"] == 3500
    with pytest.raises(UserError, match="no arm 'other': choose one of teacher"):
        land("other")
    for wrong in ({"seed": 1}, {"file": "none.safetensors"}):
        with pytest.raises(UserError, match="has not been run here, or left no"):
            land(**wrong)  # type: ignore[arg-type]
    record.notes = "weights sha256 of another"
    with pytest.raises(UserError, match="not the file that its record speaks of"):
        land()
