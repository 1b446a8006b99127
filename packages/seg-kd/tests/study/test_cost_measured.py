"""`seg-kd cost --measure`: every objective's whole step is timed, kept and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError
from repro_shared.timing.bench import read_benches
from seg_kd.rivals.presets import NAMED
from seg_kd.study import bench, cost, cost_measured
from seg_kd.study.cost_measured import Shape, measure, random_batch
from seg_kd.train import Distiller
from seg_kd.use.models import Model

SMALL: dict[str, Any] = {
    "student": Model(base_channels=8, head_channels=8, auxiliary_channels=8),
    "teacher": Model(base_channels=8, head_channels=16, auxiliary_channels=8),
}


def test_whole_steps_are_timed_and_kept(
    tmp_path: Path, device: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        cost_measured, "Shape", lambda *given: Shape(*given, **SMALL)
    )  # the networks of the paper are for other machines
    steps = []
    train_step = Distiller.train_step

    def noted(self: Distiller, data: Any, wrapper: Any) -> Any:
        before = [p.detach().clone() for p in self.student.parameters()]
        made = train_step(self, data, wrapper)
        moved = any(
            not torch.equal(a, b) for a, b in zip(before, self.student.parameters(), strict=True)
        )
        steps.append((self.objective.name, moved))
        return made

    monkeypatch.setattr(Distiller, "train_step", noted)
    cost.command(measure=True, device=device, arms=("plain", "skd", "af-dcd"), crop=(32, 64),
                 images=2, classes=5, rounds=2, out=str(tmp_path))  # type: ignore[arg-type]  # fmt: skip
    (made,) = read_benches(tmp_path)
    assert [*made.seconds] == ["logit", "plain", "skd", "af-dcd"]
    assert {*steps} == {(name, True) for name in made.seconds}
    found = bench.table(made)
    rows = {row[0]: row for row in found.rows}
    assert rows["logit"][2] == Interval(1.0, 1.0, 1.0)
    assert all(row[1] > 0 for row in rows.values())  # type: ignore[operator]
    shown = capsys.readouterr().out
    assert "2 images of 32 x 64, 5 classes, float32" in shown
    peaks = [row[3] for row in rows.values()]
    assert peaks == [None] * 4 if device == "cpu" else all(p and p > 0 for p in peaks)


def test_the_batch_is_of_the_shape() -> None:
    batch = random_batch(Shape((40, 64), images=3, classes=4, **SMALL))
    assert [image.shape for image in batch["inputs"]] == [(3, 40, 64)] * 3
    labels = batch["data_samples"][0].gt_sem_seg.data
    assert labels.shape == (1, 40, 64)
    assert labels.max() < 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 1}, "--images must be at least 2"),
        ({"crop": (16, 64)}, "--crop must be at least 32 x 32"),
        ({"classes": 255}, "--classes must be 2 to 254"),
    ],
)
def test_shapes_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Shape(**change)


def test_mixed_precision_needs_a_gpu() -> None:
    with pytest.raises(UserError, match="--amp needs --device cuda"):
        measure(Shape(amp=True), [NAMED["skd"]], "cpu", 1)
