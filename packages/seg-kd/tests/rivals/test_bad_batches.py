"""Batches with nothing, or one class, to learn from: every term is finite, and says what it costs.

Terms that read labels have loss 0 and no gradient where nothing is labelled; the others compare
maps whatever the labels are, with a finite gradient.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seg_kd.method.distilled import losses_of, modules_of
from seg_kd.rivals.cirkd import Memory
from seg_kd.rivals.presets import NAMED

SMALL = Memory(pixel_queue=64, region_queue=16, pixels=70, regions=14)
OF_LABELS = {"class-variation", "memory-pixel", "memory-region", "edge"}
PAIR: Any = SimpleNamespace(classes=5, channels=lambda _: (8, 16), need_auxiliary=lambda: None)
DISTILLED = [name for name, each in NAMED.items() if each.needs_teacher]


def network(seed: int, channels: int, learns: bool) -> Any:
    generator = torch.Generator().manual_seed(seed)
    made = {
        name: torch.randn(2, c, 16, 16, generator=generator).requires_grad_(learns)
        for name, c in (("logits", 5), ("beside", 5), ("pre-classifier", channels),
                        ("c4", channels))
    }  # fmt: skip
    return SimpleNamespace(
        logits=lambda: made["logits"], auxiliary=lambda: made["beside"], layer=made.__getitem__,
        leaves=list(made.values()),
    )  # fmt: skip


def losses(name: str, labels: torch.Tensor) -> tuple[dict[str, torch.Tensor], Any]:
    objective = NAMED[name]
    terms = tuple(SMALL if isinstance(term, Memory) else term for term in objective.terms)
    objective = type(objective)(**{**vars(objective), "terms": terms})
    torch.manual_seed(0)
    modules: Any = SimpleNamespace(**modules_of(objective, PAIR))
    own, other = network(0, 8, True), network(1, 16, False)
    return losses_of(objective, modules, own, other, labels), own


@pytest.mark.parametrize("kind", ["one class", "ignored"])
@pytest.mark.parametrize("name", DISTILLED)
def test_every_term_is_finite(name: str, kind: str) -> None:
    labels = torch.full((2, 128, 128), 2 if kind == "one class" else 255)
    found, own = losses(name, labels)
    assert found
    for part, loss in found.items():
        gradients = torch.autograd.grad(loss, own.leaves, allow_unused=True, retain_graph=True)
        there = [g for g in gradients if g is not None]
        assert torch.isfinite(loss), part
        assert all(torch.isfinite(g).all() for g in there), part
        if kind == "ignored" and part.removeprefix("distill.loss_") in OF_LABELS:
            assert loss.item() == 0, part
            assert not any(g.any() for g in there), part
