"""Several processes: the first one reads for all; without torchrun there is one."""

from typing import Any

import pytest

from repro_shared.runtime import distributed


def test_one_process_without_torchrun() -> None:
    assert distributed.processes() == (0, 1)
    assert distributed.from_first(lambda: "found", "cpu") == "found"


def test_the_first_process_reads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def broadcast(box: list[Any]) -> None:
        box[0] = "told"

    monkeypatch.setattr(distributed.dist, "broadcast_object_list", broadcast)
    asked: list[int] = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "processes", lambda device, rank=rank: (rank, 2))
        assert distributed.from_first(lambda rank=rank: asked.append(rank), "cpu") == "told"
    assert asked == [0]
