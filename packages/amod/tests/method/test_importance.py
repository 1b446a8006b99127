"""Leave-one-out importance against a slow definition; correlations against scipy."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from scipy import stats
from torch import nn

import amod
from amod.method.blocks import unroute
from amod.method.importance import auc, leave_one_out, pearson, ranked_by, spearman


def model(capacity: float, router: object = "attention") -> Any:
    torch.manual_seed(0)
    made = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=4, num_heads=2,
        num_classes=5,
    )  # fmt: skip
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return amod.convert(made.eval(), capacity=capacity, router=router).double()


@pytest.mark.parametrize("router", ["attention", "linear"])
@pytest.mark.parametrize("capacity", [1.0, 0.6])
def test_importance_is_the_rise_of_the_loss_without_a_token(capacity: float, router: str) -> None:
    routed = model(capacity, router)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    targets = torch.tensor([1, 4])
    importance, rankings = leave_one_out(routed, images, targets)
    assert list(importance) == [1, 3]
    if router == "attention":
        assert rankings[1].sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    # Slow, at the last block: one image, one token at a time.
    with torch.no_grad():
        seen: list[Any] = []
        handle = routed.blocks[3].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        routed(images)
        handle.remove()
        before, block = seen[0], copy.deepcopy(routed).blocks[3]
        unroute(block)

        def loss(y: torch.Tensor, row: int) -> float:
            logits = routed.forward_head(routed.norm(y))
            return float(nn.functional.cross_entropy(logits, targets[row : row + 1]))

        for row in range(2):
            y = before[row : row + 1]
            gate = torch.ones(1, 5, 1, dtype=torch.float64)
            if router == "linear":  # the update is multiplied, here too
                gate = (y @ routed.blocks[3].router.weight)[..., None]
            whole = loss(y + gate * (block(y) - y), row)
            for token in range(5):
                rest = [i for i in range(5) if i != token]
                out = y.clone()
                out[:, rest] += gate[:, rest] * (block(y[:, rest]) - y[:, rest])
                expected = loss(out, row) - whole
                assert float(importance[3][row, token]) == pytest.approx(expected, abs=1e-9)


def test_correlations_equal_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(0, 6, (4, 30), generator=generator).double()  # with ties
    b = torch.randn(4, 30, generator=generator) + a
    relevant = torch.rand(4, 30, generator=generator) < 0.3
    for row in range(4):
        assert float(spearman(a, b)[row]) == pytest.approx(stats.spearmanr(a[row], b[row])[0])
        assert float(pearson(a, b)[row]) == pytest.approx(stats.pearsonr(a[row], b[row])[0])
        positive, negative = a[row][relevant[row]], a[row][~relevant[row]]
        u = stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))
        assert float(auc(a, relevant)[row]) == pytest.approx(u)
    assert auc(a[:1], torch.zeros(1, 30, dtype=torch.bool)).tolist() == [0.5]


def test_ranked_by_decides_what_routed_blocks_process() -> None:
    routed = model(0.6)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    rankings = {index: torch.rand(2, 5, dtype=torch.float64) for index in (1, 3)}
    turn = iter((1, 3))
    expected = model(0.6, lambda x, scores: rankings[next(turn)])(images)
    before = routed(images)
    with ranked_by(routed, rankings):
        found = routed(images)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, before)
    torch.testing.assert_close(routed(images), before)  # as it was, afterwards
