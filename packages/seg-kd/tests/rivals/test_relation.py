"""The divergence of similarities: blocks, weights, unused keys, what is held."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_kd.rivals import relation
from seg_kd.rivals.relation import relation_divergence


def plain(rows: Tensor, keys: Tensor, taught: Tensor, others: Tensor, temperature: float) -> Tensor:
    own, other = (rows @ keys.T / temperature, taught @ others.T / temperature)
    return F.kl_div(own.log_softmax(1), other.softmax(1), reduction="none").sum(1)


@pytest.fixture
def four() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((7, 3), (5, 3), (7, 4), (5, 4))
    return [torch.randn(*s, dtype=torch.float64, generator=generator) for s in shapes]


@pytest.mark.parametrize("block", [1, 12, 10**6])
def test_value_and_gradients_are_those_of_the_plain_form(
    four: list[Tensor], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(relation._BLOCK, "cpu", block)
    rows, keys = four[0].requires_grad_(), four[1].requires_grad_()
    weights = torch.arange(7.0, dtype=torch.float64)
    found = relation_divergence(*four, temperature=0.3, weights=weights)
    expected = (weights * plain(*four, 0.3)).sum()
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(3 * found, (rows, keys)),
        torch.autograd.grad(3 * expected, (rows, keys)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_unused_keys_take_no_part(four: list[Tensor]) -> None:
    rows, keys, taught, others = four
    used = torch.tensor([True, False, True, True, False])
    found = relation_divergence(rows, keys, taught, others, used=used)
    expected = plain(rows, keys[used], taught, others[used], 0.1).sum()
    torch.testing.assert_close(found, expected)


def test_no_key_in_use_gives_zero_and_zero_gradient(four: list[Tensor]) -> None:
    rows, nothing = four[0].requires_grad_(), torch.zeros(5, 3, dtype=torch.float64)
    taught = torch.zeros(5, 4, dtype=torch.float64)
    none = torch.zeros(5, dtype=torch.bool)
    loss = relation_divergence(rows, nothing, four[2], taught, used=none)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, rows)[0].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_weights_keep_the_gradient_in_half_precision(
    four: list[Tensor], dtype: torch.dtype
) -> None:
    rows, keys, taught, others = (F.normalize(each.float(), dim=1) for each in four)
    rows.requires_grad_()
    keys.requires_grad_()
    weights = torch.full((7,), 1e-7)  # a millionth of what float16 holds with three digits
    slopes = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            loss = relation_divergence(rows, keys, taught, others, weights=weights)
        assert loss.dtype == torch.float32
        slopes.append(torch.autograd.grad(loss, (rows, keys)))
    for exact, half in zip(*slopes, strict=True):
        assert (half - exact).norm() < 0.05 * exact.norm()


def test_the_similarities_are_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(relation._BLOCK, "cpu", 1000)
    rows, keys = torch.randn(200, 4, requires_grad=True), torch.randn(100, 4)
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in torch.utils._pytree.tree_leaves(out)
                         if isinstance(t, Tensor))  # fmt: skip
            return out

    with Sizes():
        relation_divergence(rows, keys, rows, keys).backward()
    assert max(sizes) <= 1000 < 200 * 100
