"""The loop: it learns by every row's way, resumes to the bit, is one with two processes, stops."""

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

from cg_augment import train
from cg_augment.method.losses import FEATURE_WEIGHT
from cg_augment.rivals.adversarial import Adversarial
from cg_augment.train import fit
from cg_augment.use.classifiers import Classifier
from cg_augment.use.distillation import Distillation
from cg_augment.use.grouped import Grouped
from cg_augment.use.lessons import View
from cg_augment.use.pictures import Arrays
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.errors import DivergedError, UserError

# Quick; later Pythons warn of it where there are threads.
START = "fork" if sys.version_info < (3, 12) else "spawn"
SHIFT = View("shift", pixels=1)
SHORT = Distillation(steps=12, batch_size=8, learning_rate=5e-3, view=SHIFT)
Make = Callable[..., Any]


@pytest.fixture
def pictures(grouped_of: Make) -> Any:
    return grouped_of().pictures


def weights(student: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in student.state_dict().items()}


def apart(student: Classifier, teacher: Classifier, pictures: Any) -> float:
    """Mean KL of teacher to student over all pictures."""
    images = torch.from_numpy(pictures.pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        ours, theirs = (each.eval()(images).log_softmax(1) for each in (student, teacher))
    return float((theirs.exp() * (theirs - ours)).sum(1).mean())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 4.0, "labels": 0.5},
        {"features": FEATURE_WEIGHT},
        {"mixing": "mixup"},
        {"mixing": "cutmix"},
        {"attack": Adversarial()},
        {"view": View("shift", augment="randaugment")},
        {"view": View("crop")},
        {"optimiser": "SGD", "learning_rate": 0.1},
        {"amp": True},
    ],
    ids=lambda changes: " ".join(changes) or "plain",
)
def test_it_learns_by_every_way(
    changes: dict[str, Any], classifier_of: Make, pictures: Any
) -> None:
    teacher = classifier_of(1, 12)
    with torch.no_grad():
        teacher.head.weight.mul_(20)  # sure of itself
    config = replace(SHORT, steps=60, **changes)
    student = classifier_of(2)
    before = apart(student, teacher, pictures)
    made = fit(student, teacher, pictures, config, seed=0)
    assert apart(made.student, teacher, pictures) < 0.8 * before
    assert made.images == 60 * 8
    assert len(made.losses) == 10
    assert not made.student.training


class KilledError(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classifier_of: Make, pictures: Any
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    config = replace(SHORT, features=1.0, mixing="mixup", generated=0.25)
    extra = Arrays(pictures.pixels[::-1].copy(), pictures.targets[::-1].copy(), pictures.classes)

    def run(folder: Path) -> Any:
        return fit(
            classifier_of(2), classifier_of(1, 12), pictures, config, 3, extra,
            directory=folder, identity="it",
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    save = CheckpointStore.save

    def dying(store: CheckpointStore, step: int, state: dict[str, Any]) -> None:
        save(store, step, state)
        if step == 5:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointStore, "save", dying)
        with pytest.raises(KilledError):
            run(tmp_path / "killed")
    resumed = run(tmp_path / "killed")
    one, other = weights(whole.student), weights(resumed.student)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert resumed.losses == whole.losses
    # And a finished one is not trained a second time.
    again = run(tmp_path / "killed")
    assert all(torch.equal(value, weights(again.student)[name]) for name, value in one.items())
    with pytest.raises(UserError, match="holds another run"):
        fit(
            classifier_of(2), classifier_of(1, 12), pictures, config, 3, extra,
            directory=tmp_path / "whole", identity="another",
        )  # fmt: skip


def test_without_a_teacher_the_classes_teach(classifier_of: Make, grouped_of: Make) -> None:
    pictures = grouped_of((40, 40, 40, 40)).pictures
    config = replace(SHORT, steps=80, batch_size=32, learning_rate=2e-2)
    made = fit(classifier_of(2, 16), None, pictures, config, 0)
    images = torch.from_numpy(pictures.pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        right = made.student(images).argmax(1).numpy() == pictures.targets
    assert right.mean() > 0.8
    with pytest.raises(UserError, match="without a teacher there are no features"):
        fit(classifier_of(2), None, pictures, replace(SHORT, mixing="mixup"), 0)


def test_seed_and_teacher_decide(classifier_of: Make, pictures: Any) -> None:
    def run(seed: int, teacher: int) -> Tensor:
        made = fit(classifier_of(2), classifier_of(teacher, 12), pictures, SHORT, seed)
        return made.student.head.weight.clone()

    assert torch.equal(run(0, 1), run(0, 1))
    assert not torch.equal(run(0, 1), run(1, 1))
    assert not torch.equal(run(0, 1), run(0, 3))


def test_the_teacher_stays_as_it_was(classifier_of: Make, pictures: Any) -> None:
    teacher = classifier_of(1, 12)
    before = weights(teacher)
    fit(classifier_of(2), teacher, pictures, SHORT, 0)
    assert all(torch.equal(value, before[name]) for name, value in weights(teacher).items())


def test_history_has_each_picture_once_a_pass(classifier_of: Make, pictures: Any) -> None:
    config = replace(SHORT, steps=9)  # 72 of 32 pictures: two whole passes and a part of a third
    found = fit(classifier_of(2), classifier_of(1, 12), pictures, config, 0, history=True).history
    assert found is not None
    assert found.shape == (2, 32)
    assert (found > 0).all()


def test_generated_images_are_seen_in_their_share(
    monkeypatch: pytest.MonkeyPatch, classifier_of: Make, pictures: Any
) -> None:
    white = Arrays(np.full((5, 16, 16, 3), 255, np.uint8), np.array([0, 1, 0, 1, 0]),
                   pictures.classes)  # fmt: skip
    seen = list[float]()

    def watch(images: Tensor, *rest: Any) -> Tensor:
        seen.append(float((images.mean(dim=(1, 2, 3)) > 0.99).float().mean()))
        return images

    monkeypatch.setattr(train, "mixed", watch)
    fit(classifier_of(2), classifier_of(1), pictures, replace(SHORT, generated=0.25), 0, white)
    assert seen == [0.25] * 12
    seen.clear()
    fit(classifier_of(2), classifier_of(1), pictures, replace(SHORT, steps=37), 0, white)
    # The union: 5 of 37 images, 8 passes over all of them.
    assert np.mean(seen) == pytest.approx(5 / 37)


def test_it_stops_before_a_step_that_is_not_finite(classifier_of: Make, pictures: Any) -> None:
    teacher = classifier_of(1)
    with torch.no_grad():
        teacher.head.bias.fill_(float("nan"))
    student = classifier_of(2)
    before = weights(student)
    with pytest.raises(DivergedError, match=r"at step 1 .*picture"):
        fit(student, teacher, pictures, SHORT, 0)
    assert torch.equal(student.head.weight, before["head.weight"])


def test_other_classes_are_refused(classifier_of: Make, pictures: Any) -> None:
    other = classifier_of(1, classes=("bar", "ring"))
    with pytest.raises(
        UserError, match=r"student has 2 \(bar, cross\), the teacher 2 \(bar, ring\)"
    ):
        fit(classifier_of(2), other, pictures, SHORT, 0)
    more = classifier_of(1, classes=("bar", "cross", "ring"))
    with pytest.raises(UserError, match=r"student has 2 .*, the teacher 3"):
        fit(classifier_of(2), more, pictures, SHORT, 0)
    with pytest.raises(UserError, match=r"student has 3 .*, the pictures 2"):
        fit(more, more, pictures, SHORT, 0)


def test_settings_that_cannot_be(classifier_of: Make, pictures: Any) -> None:
    for changes, said in (
        ({"steps": 0}, "--steps"), ({"temperature": 0.0}, "--temperature"),
        ({"generated": 1.0}, "--share"), ({"learning_rate": float("nan")}, "--learning-rate"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"{said} must be"):
            replace(SHORT, **changes)
    config = replace(SHORT, generated=0.01)
    with pytest.raises(UserError, match=r"a batch of 8 has no share of 0\.01"):
        fit(classifier_of(2), classifier_of(1), pictures, config, 0, pictures)


def test_the_rate_rises_and_falls() -> None:
    config = replace(SHORT, steps=100, warmup=0.1, learning_rate=1.0)
    rates = [config.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001


def _process(rank: int, folder: str, made: tuple[Any, Any, Grouped]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    student, teacher, grouped = made
    import os

    os.environ["WORLD_SIZE"] = "2"
    config = replace(SHORT, steps=8, mixing="none", view=View("shift", pixels=1))
    student.network.eval()
    got = fit(student, teacher, grouped.pictures, config, 0, history=True)
    torch.save({"weights": weights(got.student), "history": torch.from_numpy(got.history)},
               f"{folder}/{rank}.pt")  # fmt: skip
    dist.destroy_process_group()


def test_two_processes_see_one_stream_and_end_with_one_student(
    tmp_path: Path, classifier_of: Make, grouped_of: Make
) -> None:
    made = (classifier_of(2), classifier_of(1, 12), grouped_of())
    mp.start_processes(_process, (str(tmp_path), made), nprocs=2, start_method=START)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, value in one["weights"].items():
        if "running" not in name:  # batch norm's statistics on a CPU are each process's own
            assert torch.allclose(value, other["weights"][name]), name
    # Each saw half of every batch, and both know all losses.
    assert torch.equal(one["history"], other["history"])
    assert bool((one["history"] > 0).all())
