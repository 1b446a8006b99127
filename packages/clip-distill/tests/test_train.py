"""The loop: it learns, resumes to the bit, is the same with two processes, and stops before NaN."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from clip_distill import train
from clip_distill.method.objective import Objective
from clip_distill.train import fit
from clip_distill.use.lessons import Lessons
from clip_distill.use.pictures import Folder
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.steps import STAGES, Training
from clip_distill.use.students import Student, StudentConfig
from clip_distill.use.views import Views
from repro_shared.runtime.errors import DivergedError, UserError

# Quick; later Pythons warn of it where there are threads.
START = "fork" if sys.version_info < (3, 12) else "spawn"
PREPARED = Preprocessing(32, (0.5,) * 3, (0.25,) * 3)
VIEWS = Views(2, "random-crop", scale=(0.5, 1.0))
SHORT = Training(epochs=4, batch_size=4, learning_rate=2e-3)


def student_of(seed: int = 0, name: str = "test_efficientnet") -> Student:
    torch.manual_seed(seed)
    return Student(StudentConfig(name, 6, PREPARED))


def lessons_of(root: Path, **more: Any) -> Lessons:
    g = np.random.default_rng(0)
    folder = Folder(root)
    features = g.normal(size=(3, 1, 1, 6)).repeat(4, 1).repeat(2, 2).reshape(12, 2, 6)
    features = features + 0.1 * g.normal(size=features.shape)
    given = {
        "features": features.astype(np.float16),
        "class_vectors": g.normal(size=(3, 6)).astype(np.float32),
        "captions": g.normal(size=(5, 6)).astype(np.float32)[np.arange(12) % 5],
    }
    return Lessons(folder, VIEWS, PREPARED, **{**given, **more})


@pytest.fixture
def root(tmp_path: Path, pictures: Callable[..., Path]) -> Path:
    return pictures(tmp_path / "pictures")


def weights(student: Student) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in student.state_dict().items()}


@pytest.mark.parametrize(
    "objective",
    [
        Objective("l2"),
        Objective("vision-language", 0.1, "multi-positive", learned=True),
        Objective("l2", 0.1, other="teacher-logits", alpha=0.5),
        Objective("affinity", 0.1),
        Objective("class", 0.1),
    ],
)
def test_it_learns(root: Path, objective: Objective) -> None:
    made = fit(student_of(), lessons_of(root), objective, replace(SHORT, epochs=10), 0)
    assert made.losses[-1] < 0.95 * made.losses[0]
    assert made.samples == 120
    assert (made.temperature is not None) == objective.learned
    assert not made.student.training


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("objective", [Objective("l2"), Objective("affinity", 0.1, learned=True)])
def test_a_killed_run_goes_on_to_the_same_bits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Objective
) -> None:
    whole = fit(student_of(), lessons_of(root), objective, SHORT, 3)
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    lessons = lessons_of(root)
    real, calls = lessons.batch, 0

    def dying(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KilledError
        return real(*given)

    lessons.batch = dying  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        fit(student_of(), lessons, objective, SHORT, 3, directory=tmp_path / "c", identity="x")
    with pytest.raises(UserError, match="another run"):
        fit(student_of(), lessons_of(root), objective, SHORT, 3, directory=tmp_path / "c")
    again = fit(
        student_of(9), lessons_of(root), objective, SHORT, 3,
        directory=tmp_path / "c", identity="x", workers=1,
    )  # fmt: skip
    expected = weights(whole.student)
    assert all(torch.equal(value, expected[n]) for n, value in again.student.state_dict().items())
    assert again.losses == whole.losses
    assert again.temperature == whole.temperature


def _process(rank: int, root: str, file: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    import os

    os.environ["WORLD_SIZE"] = "2"
    objective = Objective("l2", 0.2, other="vision-language", alpha=0.5)
    made = fit(student_of(name="test_vit"), lessons_of(Path(root)), objective, SHORT, 1)
    if rank == 0:
        torch.save(made.student.state_dict(), out)
    dist.destroy_process_group()


def test_two_processes_make_the_same_student(root: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "two.pt")
    arguments = (str(root), str(tmp_path / "meet"), out)
    mp.start_processes(_process, arguments, nprocs=2, start_method=START)
    objective = Objective("l2", 0.2, other="vision-language", alpha=0.5)
    one = fit(student_of(name="test_vit"), lessons_of(root), objective, SHORT, 1)
    start = weights(student_of(name="test_vit"))
    for name, value in torch.load(out).items():
        moved = (one.student.state_dict()[name] - start[name]).abs().max()
        assert torch.allclose(value, one.student.state_dict()[name], atol=float(moved) * 0.05)


def test_every_view_is_seen_equally_often(root: Path) -> None:
    lessons = lessons_of(root)
    seen = [lessons[(epoch * 12 + 3, 5)][2] for epoch in range(4)]
    assert sorted(seen) == [0, 0, 1, 1]
    first = {lessons[(0, index)][2] for index in range(12)}
    assert first == {0, 1}


def test_decoded_views_change_nothing(root: Path) -> None:
    plain = lessons_of(root)
    pixels = np.stack([
        [plain[((view - plain[(0, i)][2]) % 2 * 12, i)][0] for view in range(2)] for i in range(12)
    ])  # fmt: skip
    one = fit(student_of(), plain, Objective("l2"), SHORT, 0)
    two = fit(student_of(), lessons_of(root, pixels=pixels), Objective("l2"), SHORT, 0)
    assert one.losses == two.losses


def test_c13_nan_stops_before_the_step_and_names_the_batch(root: Path) -> None:
    bad = np.full((12, 2, 6), 0.5, np.float32)
    bad[7] = np.nan
    student = student_of(name="test_vit")
    calls: list[dict[str, Tensor]] = []
    real = torch.optim.AdamW.step

    def noting(self: Any, *given: Any) -> Any:
        made = real(self, *given)
        calls.append(weights(student))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", noting)
        with pytest.raises(DivergedError, match=r"the loss is nan.*\(class ./.\.png, class"):
            fit(student, lessons_of(root, features=bad), Objective("l2"), SHORT, 0)
    assert len(calls) < 3  # the picture comes in the first pass
    assert all(bool(torch.isfinite(value).all()) for value in student.state_dict().values())


def test_c13_a_batch_of_one_is_refused_for_contrast_only(root: Path) -> None:
    one = replace(SHORT, batch_size=1, epochs=0.1)
    with pytest.raises(UserError, match="--batch-size 1: this loss needs at least 2"):
        fit(student_of(), lessons_of(root), Objective("image-to-image", 0.1), one, 0)
    fit(student_of(name="test_vit"), lessons_of(root), Objective("l2"), one, 0)


@pytest.mark.parametrize(
    ("lacking", "objective", "said"),
    [
        ({"features": None}, Objective("l2"), "give --cache"),
        ({"class_vectors": None}, Objective("class", 0.1), "--template"),
        ({"class_vectors": None, "captions": None}, Objective("vision-language", 0.1),
         "--captions"),
    ],
)  # fmt: skip
def test_what_a_loss_lacks(root: Path, lacking: Any, objective: Objective, said: str) -> None:
    with pytest.raises(UserError, match=said):
        fit(student_of(), lessons_of(root, **lacking), objective, SHORT, 0)


def test_amp(root: Path) -> None:
    made = fit(student_of(), lessons_of(root), Objective("l2"), replace(SHORT, amp=True), 0)
    assert made.losses[-1] < made.losses[0]


def test_the_authors_recipe_and_rates() -> None:
    stage = STAGES[2]
    assert (stage.epochs, stage.batch_size, stage.learning_rate) == (96.0, 256, 5e-4)
    assert (stage.weight_decay, stage.schedule, STAGES[1].epochs) == (0.0, "constant", 1.0)
    assert stage.steps(2560) == 960
    falling = Training(schedule="cosine", warmup=2)
    rates = [falling.rate(step, 10) for step in range(10)]
    assert rates[0] < rates[1] < rates[2] == 5e-4
    assert rates[-1] < 2e-5
    with pytest.raises(UserError, match="--learning-rate must be above 0"):
        Training(learning_rate=float("nan"))
