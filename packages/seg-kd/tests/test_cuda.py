"""What has to hold on a GPU as on the CPU: precision, seeds, both losses. Runs on `--device`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from repro_shared.study.paper import Context, Study
from seg_kd.method.losses import feature_distillation, logit_distillation
from seg_kd.method.objectives import FEATURE_LOGIT, PLAIN, Objective
from seg_kd.rivals.adversarial import Adversarial
from seg_kd.rivals.boundary import Boundary
from seg_kd.rivals.cirkd import Memory, MiniBatch
from seg_kd.rivals.generation import OmniContrast
from seg_kd.rivals.ifvd import ClassVariation
from seg_kd.rivals.skd import PairWise
from seg_kd.study import scoring, stages
from seg_kd.study.arms import students, teacher
from seg_kd.study.stages import untrained
from seg_kd.train import Job, Trained, train
from seg_kd.use import adapter
from seg_kd.use.evaluation import evaluate


def trained(
    study: Study, device: str, directory: Path, objective: Objective = FEATURE_LOGIT,
    amp: bool = False,
) -> Trained:  # fmt: skip
    adapter.set_device(device)
    student = students(study, "time")[0].config
    job = Job(
        student_config=student.model.config(student.classes, student.view.crop),
        view=student.view,
        source=study.data.open(None).train,
        optimiser=replace(student.optimiser, amp=amp),
        iterations=6,
        seed=3,
        objective=objective,
        teacher=untrained(teacher(study).config, 0) if objective.needs_teacher else None,
        directory=directory,
    )
    return train(job)


def losses(outcome: Trained) -> list[float]:
    return [point["loss"] for point in outcome.curve]


# Terms with a discriminator, queues, a generator, and the others that take products or edges.
RIVALS = Objective(
    "rivals",
    terms=(
        Adversarial(),
        Memory(pixel_queue=64, region_queue=16, pixels=70, regions=14),
        MiniBatch(),
        OmniContrast(),
        PairWise(),
        ClassVariation(),
        Boundary(edge_weight=1.0, body_weight=1.0),
    ),
)


@pytest.mark.parametrize("amp", [False, pytest.param(True, marks=pytest.mark.cuda)])
@pytest.mark.parametrize("objective", [PLAIN, FEATURE_LOGIT, RIVALS], ids=lambda o: str(o.name))
def test_trains_and_scores(
    tiny: Study, device: str, tmp_path: Path, objective: Objective, amp: bool
) -> None:
    outcome = trained(tiny, device, tmp_path, objective, amp)
    assert len(losses(outcome)) == 6
    assert torch.isfinite(torch.tensor(losses(outcome))).all()
    data = tiny.data.open(None)
    found = evaluate(outcome.student, data.test, len(data.classes))
    assert 0 <= float(found.miou) <= 100


def test_a_seed_gives_the_same_losses(tiny: Study, device: str, tmp_path: Path) -> None:
    one = losses(trained(tiny, device, tmp_path / "one"))
    other = losses(trained(tiny, device, tmp_path / "other"))
    # PSPNet's pooling and resizing have no deterministic backward pass on a GPU.
    assert one == (other if device == "cpu" else pytest.approx(other, rel=5e-3))


@pytest.mark.cuda
def test_the_gpu_learns_what_the_cpu_learns(tiny: Study, tmp_path: Path) -> None:
    here = losses(trained(tiny, "cpu", tmp_path / "cpu"))
    there = losses(trained(tiny, "cuda", tmp_path / "cuda"))
    assert there == pytest.approx(here, rel=2e-2)


def test_a_teacher_is_scored_where_it_is_used(
    tiny: Study, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []

    def scored(model: Any, *args: Any) -> Any:
        places.append({parameter.device.type for parameter in model.parameters()})
        return evaluate(model, *args)

    monkeypatch.setattr(scoring, "evaluate", scored)
    config = replace(teacher(tiny).config, iterations=0)
    stages.teacher(config, Context(tiny.data.open(None), 0, device, tmp_path, key="", label=""))
    assert places == [{device}]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_losses_are_finite_in_every_precision(device: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    shape = (2, 5, 8, 8)
    student = (30 * torch.randn(shape, device=device)).to(dtype).requires_grad_()
    target: Any = (30 * torch.randn(shape, device=device)).to(dtype)
    for loss in (logit_distillation(student, target), feature_distillation(student, target)):
        assert torch.isfinite(loss)
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(gradient).all()
