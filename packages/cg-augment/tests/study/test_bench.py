"""`bench`: every measure is there, rounds are kept, and tables say what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from cg_augment.study.bench import ALL, Sizes, alive_bytes, run, task_of
from cg_augment.study.bench_tables import MOST_STEPWISE, table
from cg_augment.study.image_worlds import CHANNELS
from repro_shared.runtime.errors import UserError
from repro_shared.timing.bench import read_benches

SMALL = Sizes(batch=2, steps=3, candidates=2, rounds=1, side=4, channels=(8, 8, 8, 8))


def test_all_benches_keep_their_rounds(tmp_path: Path) -> None:
    made = run(SMALL, ALL, 1, 1, str(tmp_path))
    assert {bench.name for bench in read_benches(tmp_path)} == set(ALL)
    engines = {row[0]: row for row in table(made[0]).rows}
    assert engines["unguided"][1:4] == (3, 0, 1.0)
    assert engines["stepwise, last 60 %, one view"][1:4] == (3, 2, 5 / 3)
    assert engines["stepwise, last 60 %, one view"][-1] == f"at most {MOST_STEPWISE:g}"
    assert engines["chain, checkpoints"][1:4] == (9, 3, 4.0)
    assert any("not to be relied on" in note for note in table(made[0]).notes)
    assert len(made[1].seconds) == len(made[0].seconds)
    assert {"full decoder", "tiny decoder", "unguided"} == set(made[3].seconds)
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {
        f"bench-{name}" for name in ALL
    }
    with pytest.raises(UserError, match="bench"):  # several runs are several findings
        run(SMALL, ALL[:1], 1, 1, str(tmp_path))


def test_checkpoints_keep_less_alive() -> None:
    task = task_of(SMALL, CHANNELS)
    assert alive_bytes(task, True) < alive_bytes(task, False) / 1.5
