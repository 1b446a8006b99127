"""Every term hands its settings to its equation, and each part is multiplied by its weight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_kd.method.distilled import losses_of, modules_of
from seg_kd.method.objectives import Objective
from seg_kd.rivals.adversarial import Discriminator
from seg_kd.rivals.attention import Attention, attention_transfer
from seg_kd.rivals.boundary import Boundary, body_distillation, class_edges, edge_distillation
from seg_kd.rivals.cirkd import Memory, MiniBatch, pixel_to_pixel
from seg_kd.rivals.cwd import ChannelWise, ChannelWiseFeatures, channel_wise
from seg_kd.rivals.dist import Correlation, correlations
from seg_kd.rivals.generation import MaskedGeneration, OmniContrast, generation, omni_contrast
from seg_kd.rivals.ifvd import ClassVariation, class_variation
from seg_kd.rivals.queues import class_pixels, class_regions
from seg_kd.rivals.skd import PairWise, pair_wise


def network(seed: int) -> Any:
    """Maps of a pass: five classes, eight channels in the features, another auxiliary map."""
    generator = torch.Generator().manual_seed(seed)
    made = {
        name: torch.randn(2, channels, 8, 8, generator=generator)
        for name, channels in (("logits", 5), ("beside", 5), ("pre-classifier", 8), ("c4", 8))
    }
    return SimpleNamespace(
        logits=lambda: made["logits"], auxiliary=lambda: made["beside"], layer=made.__getitem__
    )


OWN, OTHER = network(0), network(1)
LABELS = torch.randint(6, (2, 16, 16), generator=torch.Generator().manual_seed(2))
LABELS = LABELS.masked_fill(LABELS == 5, 255)
PAIR: Any = SimpleNamespace(classes=5, channels=lambda _: (8, 8), need_auxiliary=lambda: None)


def made(term: Any) -> tuple[dict[str, float], Any]:
    """The weighted losses of an objective of one term, by part, and the term's module."""
    objective = Objective("one", terms=(term,))
    torch.manual_seed(0)
    modules: Any = SimpleNamespace(**modules_of(objective, PAIR))
    torch.manual_seed(1)
    losses = losses_of(objective, modules, OWN, OTHER, LABELS)
    found = {name.removeprefix("distill.loss_"): loss.item() for name, loss in losses.items()}
    return found, modules.terms["0"]


def both(name: str) -> tuple[Tensor, Tensor]:
    return OWN.layer(name), OTHER.layer(name)


SCORES = (OWN.logits(), OTHER.logits())
BESIDE = (OWN.auxiliary(), OTHER.auxiliary())
EDGES = class_edges(LABELS, (8, 8), classes=5, window=3)
(INTER, INTRA), (INTER_2, INTRA_2) = (correlations(*z, tau=3.0) for z in (SCORES, BESIDE))
CASES: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "skd": (PairWise(2.0, pool=3), {"pair-wise": 2 * pair_wise(*both("pre-classifier"), pool=3)}),
    "ifvd": (
        ClassVariation(3.0),
        {"class-variation": 3 * class_variation(*both("pre-classifier"), LABELS, classes=5)},
    ),
    "at": (Attention(7.0), {"attention": 7 * attention_transfer(*both("pre-classifier"))}),
    "cwd": (
        ChannelWise(2.0, temperature=3.0, reduction="batch_sum"),
        {"channel-wise": 2 * channel_wise(*SCORES, temperature=3.0, reduction="batch_sum")},
    ),
    "cwd on features": (
        ChannelWiseFeatures(2.0, temperature=3.0),
        {"channel-wise-features": 2 * channel_wise(*both("pre-classifier"), temperature=3.0)},
    ),
    "dist": (
        Correlation(2.0, 5.0, tau=3.0, auxiliary=0.4),
        {"inter-class": 2 * (INTER + 0.4 * INTER_2), "intra-class": 5 * (INTRA + 0.4 * INTRA_2)},
    ),
    "mini-batch": (
        MiniBatch(2.0, temperature=0.3),
        {"mini-batch": 2 * pixel_to_pixel(*both("pre-classifier"), temperature=0.3)},
    ),
    "boundary": (
        Boundary(2.0, 3.0, alpha=5.0, window=3, temperature=2.0),
        {
            "edge": 2 * edge_distillation(*SCORES, EDGES, alpha=5.0, temperature=2.0),
            "body": 3 * body_distillation(*SCORES, EDGES, LABELS, temperature=2.0),
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_settings_and_weights_reach_the_equations(name: str) -> None:
    term, expected = CASES[name]
    found, _ = made(term)
    assert found == pytest.approx({part: loss.item() for part, loss in expected.items()}, rel=1e-5)


def test_settings_and_weights_of_generators() -> None:
    contrast = OmniContrast(2.0, 3.0, groups=2, patch=2, pool=2, temperature=5.0, clip_norm=6.0)
    found, module = made(contrast)
    assert module.apart.clip_norm == 6.0
    torch.manual_seed(1)
    feature, other = module.generator(OWN.layer("c4")), OTHER.layer("c4")
    shapes = {"groups": 2, "patch": 2, "pool": 2}
    assert found == pytest.approx({
        "generation": 2 * generation(feature, other).item(),
        "contrast": 3 * omni_contrast(feature, other, temperature=5.0, **shapes).item(),
    }, rel=1e-5)  # fmt: skip
    found, module = made(MaskedGeneration(4.0, hidden=0.5))
    torch.manual_seed(1)
    again = generation(module.generator(OWN.layer("c4")), OTHER.layer("c4")).item()
    assert module.generator.hidden == 0.5
    assert found == pytest.approx({"generation": 4 * again}, rel=1e-5)


def test_the_memory_is_the_teachers_and_has_its_temperature() -> None:
    warm, module = made(Memory(2.0, 3.0, pixel_queue=500, region_queue=9, queued=500))
    other = F.normalize(OTHER.layer("pre-classifier"), dim=1)
    labels = LABELS[:, 1::2, 1::2]  # the pixel that holds a position's centre
    for queue, (vectors, counts) in (
        (module.pixels, class_pixels(other, labels, 5, 500)),
        (module.regions, class_regions(other, labels, 5)),
    ):
        for k in range(5):
            held = queue.vectors[k, : int(queue.written[k])]
            expected = vectors[k][counts[k]]
            assert len(held) == len(expected)
            assert torch.cdist(held, expected).min(1).values.max() < 1e-3
    cold, _ = made(Memory(2.0, 3.0, temperature=10.0, pixel_queue=500, region_queue=9, queued=500))
    assert all(cold[part] < 1e-2 * warm[part] for part in warm)
    double, _ = made(Memory(4.0, 9.0, pixel_queue=500, region_queue=9, queued=500))
    assert double == pytest.approx(
        {"memory-pixel": 2 * warm["memory-pixel"], "memory-region": 3 * warm["memory-region"]}
    )


def test_the_discriminator_is_written_out() -> None:
    torch.manual_seed(0)
    model = Discriminator(3, width=8).eval()
    for block in model.attention:
        torch.nn.init.constant_(block.gamma, 0.7)
    maps = torch.randn(2, 3, 64, 64)
    made = model.norm(maps)
    for index, convolution in enumerate(model.convolutions):
        made = F.conv2d(made, convolution.weight, convolution.bias, stride=2, padding=1)
        made = torch.where(made > 0, made, 0.1 * made)
        if index >= 2:
            block = model.attention[index - 2]
            query, key, value = (f(made).flatten(2) for f in (block.query, block.key, block.value))
            shares = (query.mT @ key).softmax(2)
            made = made + 0.7 * (value @ shares.mT).view_as(made)
    torch.testing.assert_close(model(maps), model.last(made))
