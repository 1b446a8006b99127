"""The loop looks at the losses now and then, and at every one of them in the end."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from repro_shared.runtime.errors import DivergedError
from repro_shared.study.paper import Study
from seg_kd.method.objectives import LOGIT, PLAIN
from seg_kd.study.arms import students, teacher
from seg_kd.study.stages import untrained
from seg_kd.train import Job, start, train
from seg_kd.use.data import LabelMaps
from seg_kd.use.loop import ExactLoop


@pytest.fixture
def job(tiny: Study, tmp_path: Path) -> Job:
    student = students(tiny, "time")[0].config
    return Job(
        student_config=student.model.config(student.classes, student.view.crop),
        view=student.view,
        source=tiny.data.open(None).train,
        optimiser=student.optimiser,
        iterations=400,
        seed=3,
        objective=PLAIN,
        teacher=None,
        directory=tmp_path,
    )


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a device: a number taken out of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_step_takes_no_number_out_of_a_loss(job: Job) -> None:
    loop = start(job)
    loop.step()
    with HostReads() as reads:
        for _ in range(5):
            loop.step()
    assert reads.count == 5 * 2  # mmseg's cross-entropy counts labelled pixels, once a head


def test_the_curve_does_not_depend_on_when_losses_are_read(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, iterations=11)
    monkeypatch.setattr(ExactLoop, "_every", 4)
    expected = train(job).curve
    monkeypatch.setattr("seg_kd.use.loop.READ_EVERY", 1)
    assert train(job).curve == expected
    assert [point["iteration"] for point in expected] == [4, 8, 11]


@pytest.mark.parametrize("iteration", [1, 7, 20])
def test_a_loss_that_is_not_finite_is_found_with_its_iteration(
    job: Job, iteration: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = start(job).bare_model
    forward, calls = type(model).forward, iter(range(1, 10**6))

    def broken(self: Any, *args: Any, **settings: Any) -> Any:
        losses = forward(self, *args, **settings)
        scale = float("inf") if next(calls) == iteration else 1.0
        return {**losses, "decode.loss_ce": losses["decode.loss_ce"] * scale}

    monkeypatch.setattr(type(model), "forward", broken)
    saved = replace(job, checkpoint_interval=10)
    with pytest.raises(DivergedError, match=rf"in iteration {iteration} \(decode.loss_ce\): lower"):
        train(saved)
    assert next(calls) <= 21  # found in the twentieth iteration at the latest
    kept = [path.name[:14] for path in (job.directory / "checkpoints").glob("step-*")]
    assert kept == (["step-000000010"] if iteration == 20 else [])


def test_no_step_is_made_with_a_loss_that_is_not_finite(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = start(job)
    loop.step()
    model = loop.bare_model
    weights = {name: value.clone() for name, value in model.named_parameters()}
    momenta = [state["momentum_buffer"].clone()
               for state in loop.runner.optim_wrapper.optimizer.state.values()]  # fmt: skip
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda *_, **__: {"loss_ce": next(model.parameters()).sum() * float("nan")},
    )
    with pytest.raises(DivergedError) as raised:
        loop.step()
    found = re.fullmatch(
        r"loss is not finite in iteration 2 \(loss_ce\): lower the learning rate; "
        r"its images: ((number \d+(, )?)+)", str(raised.value),
    )  # fmt: skip
    assert found is not None
    assert len(found[1].split(", ")) == job.optimiser.batch_size
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    after = loop.runner.optim_wrapper.optimizer.state.values()
    assert all(torch.equal(s["momentum_buffer"], m) for s, m in zip(after, momenta, strict=True))


def test_a_batch_is_named_by_its_files(job: Job, folder: Path, tmp_path: Path) -> None:
    source = LabelMaps("mine", tuple("abcdefghijk"), ignore_values=(11, 255)).open(folder).train
    part = replace(job, source=source, directory=tmp_path / "named")
    data = next(start(part)._batches)
    names = [sample.img_path for sample in data["data_samples"]]
    assert {*names} <= {f"train_{index}" for index in range(6)}


def test_a_teacher_that_is_not_finite_is_named(tiny: Study, job: Job) -> None:
    network = untrained(teacher(tiny).config, 0).requires_grad_(False)
    network.decode_head.conv_seg.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"\(distill.loss_logit\): .*check the teacher"):
        train(replace(job, iterations=2, objective=LOGIT, teacher=network))


def test_a_step_has_its_time(job: Job) -> None:
    loop: ExactLoop = start(job)
    loop.step()
    first = loop.seconds
    loop.step()
    assert 0 < first < loop.seconds
