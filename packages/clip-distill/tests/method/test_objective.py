"""Objectives: presets, refusals, and one loss whatever the number of processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clip_distill.method import losses
from clip_distill.method.objective import (
    PRESETS,
    Batch,
    Objective,
    Temperature,
    authors_mix,
)

# Quick; later Pythons warn of it where there are threads.
START = "fork" if sys.version_info < (3, 12) else "spawn"
ALL = (
    Objective("l2"), Objective("fd"), Objective("image-to-image", 0.1),
    Objective("vision-language", 0.1), Objective("vision-language", 0.1, "multi-positive"),
    Objective("logit-rows", 1.0), Objective("affinity", 0.1), Objective("class", 0.1),
    Objective("teacher-logits", 0.1),
    Objective("l2", 0.1, other="vision-language", alpha=0.3),
)  # fmt: skip


def inputs() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    names = ("images", "teacher", "text", "class_text")
    made = {name: torch.randn(8, 6, generator=g) for name in names}
    labels = torch.randint(0, 3, (8,), generator=g)
    return {**made, "labels": labels, "text_ids": labels}


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(6, 6)


def loss_of(model: nn.Module, objective: Objective, own: slice) -> Tensor:
    given = inputs()
    rows = {name: given[name][own] for name in ("teacher", "text", "labels", "text_ids")}
    return objective.value(Batch(model(given["images"][own]), class_text=given["class_text"][:3],
                                 **rows))  # fmt: skip


def _process(rank: int, file: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    found = []
    for objective in ALL:
        model = DistributedDataParallel(network())
        loss = loss_of(model, objective, slice(4 * rank, 4 * rank + 4))
        loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        found.append([total / 2, *(p.grad for p in model.module.parameters())])
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    file, out = str(tmp_path / "meet"), str(tmp_path / "found")
    mp.start_processes(_process, (file, out), nprocs=2, start_method=START)
    for objective, (total, *gradients) in zip(ALL, torch.load(out), strict=True):
        model = network()
        loss = loss_of(model, objective, slice(None))
        loss.backward()
        assert torch.allclose(total, loss, rtol=1e-5), objective
        for ours, theirs in zip(gradients, model.parameters(), strict=True):
            assert theirs.grad is not None
            assert torch.allclose(ours, theirs.grad, rtol=1e-4, atol=1e-6), objective


def test_every_preset_is_its_formula() -> None:
    given = inputs()
    s, t, w = given["images"], given["teacher"], given["text"]
    batch = Batch(s, t, w, given["text_ids"], given["class_text"], given["labels"])
    rows = losses.logit_rows(s, t, w, 1.0)
    expected = {
        "feature": losses.l2(s, t),
        "authors-vision-language": losses.vision_language(s, w, 1.0),
        "vision-language": losses.vision_language(s, w, 0.01),
        "authors-2025-02": rows,
        "authors-2025-02-mixed": (losses.l2(s, t) + rows) / 2,
        "authors-image-to-image": losses.image_to_image(s, t, 1.0),
        "clip-kd-fd": 2000 * losses.mse(s, t),
        "tinyclip-affinity": losses.affinity(s, t, w, 0.01),
    }
    assert expected.keys() == PRESETS.keys()
    for name, value in expected.items():
        assert torch.equal(PRESETS[name].value(batch), value), name


def test_the_meaning_of_alpha_was_turned_round() -> None:
    old, new = (authors_mix(0.2, "vision-language", 1.0, flipped) for flipped in (False, True))
    assert (old.alpha, new.alpha) == (0.8, 0.2)
    assert authors_mix(1.0, "logit-rows", 1.0, flipped=False) == Objective("l2")
    assert authors_mix(1.0, "vision-language", 1.0, flipped=True) == Objective(
        "vision-language", 1.0
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "class"}, "needs a temperature"),
        ({"loss": "l2", "temperature": 0.1}, "has no temperature"),
        ({"loss": "class", "temperature": 0.0}, "must be positive"),
        ({"loss": "l2", "alpha": 0.5}, "belong together"),
        ({"loss": "l2", "other": "class", "temperature": 1.0}, "belong together"),
        ({"loss": "l2", "other": "class", "temperature": 1.0, "alpha": 2.0}, "from 0 to 1"),
        ({"loss": "class", "temperature": 1.0, "targets": "multi-positive"}, "vision-language"),
    ],
)
def test_refusals(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Objective(**settings)  # type: ignore[arg-type]


def test_a_learned_temperature_is_really_clamped() -> None:
    temperature = Temperature(0.07)
    optimiser = torch.optim.SGD(temperature.parameters(), lr=100.0)
    assert temperature().item() == pytest.approx(0.07)
    for sign, end in ((1, 0.01), (-1, 100.0)):
        for _ in range(3):
            optimiser.zero_grad()
            (sign * temperature().log()).backward()
            optimiser.step()
        assert temperature().item() == pytest.approx(end)
    optimiser.zero_grad()
    temperature().log().backward()  # at an end it can still come back
    optimiser.step()
    assert temperature().item() < 100.0
