"""MACs equal the formulas that one writes by hand, forward and backward."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repro_shared.timing.counts import count_operations, count_parameters


def backward(function: Callable[[], torch.Tensor]) -> Callable[[], None]:
    return lambda: function().sum().backward()


def trainable(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


def test_parameters() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 8, bias=False))
    assert count_parameters(model) == 3 * 8 * 9 + 8 + 2 * 8 + 64
    tied = nn.ModuleList([model[2], model[2]])
    assert count_parameters(tied) == 64


def test_linear() -> None:
    layer, x = nn.Linear(5, 7), trainable(4, 5)
    forward = 4 * 5 * 7
    assert count_operations(layer, x).macs == forward
    assert count_operations(backward(lambda: layer(x))).macs == 3 * forward
    # The first layer of a network needs no gradient of its input.
    assert count_operations(backward(lambda: layer(x.detach()))).macs == 2 * forward


def test_matrix_products() -> None:
    a, b = torch.randn(3, 4, 5), torch.randn(3, 5, 6)
    assert count_operations(torch.bmm, a, b).macs == 3 * 4 * 5 * 6
    assert count_operations(torch.matmul, a, b).macs == 3 * 4 * 5 * 6
    assert count_operations(torch.einsum, "bij,bjk->bik", a, b).macs == 3 * 4 * 5 * 6
    assert count_operations(torch.mv, a[0], torch.randn(5)).macs == 4 * 5
    assert count_operations(torch.addmv, torch.randn(4), a[0], torch.randn(5)).macs == 4 * 5
    assert count_operations(torch.dot, torch.randn(9), torch.randn(9)).macs == 9


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_convolution(groups: int) -> None:
    layer = nn.Conv2d(6, 12, 3, stride=2, padding=1, groups=groups)
    x = trainable(2, 6, 10, 8)
    forward = 2 * 12 * 5 * 4 * (6 // groups) * 9
    assert count_operations(layer, x).macs == forward
    with torch.inference_mode():
        assert count_operations(layer, x.detach()).macs == forward
    assert count_operations(backward(lambda: layer(x))).macs == 3 * forward
    assert count_operations(backward(lambda: layer(x.detach()))).macs == 2 * forward


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups: int) -> None:
    layer = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=groups)
    x = trainable(2, 6, 5, 3)
    forward = 2 * 5 * 3 * 6 * (4 // groups) * 4
    assert count_operations(layer, x).macs == forward
    assert count_operations(backward(lambda: layer(x))).macs == 3 * forward


def attention_inputs(device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """Queries of length 10, keys and values of length 12; 2 images, 3 heads, 8 channels."""
    shapes = ((2, 3, 10, 8), (2, 3, 12, 8), (2, 3, 12, 8))
    return tuple(torch.randn(s, device=device, requires_grad=True) for s in shapes)


ATTENTION = 2 * 3 * 10 * 12 * 8 + 2 * 3 * 10 * 12 * 8  # Q K^T, then weights V


@pytest.mark.parametrize("device", ["cpu", "meta", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_attention_forward_and_backward(device: str) -> None:
    q, k, v = attention_inputs(device)
    attend = F.scaled_dot_product_attention
    assert count_operations(attend, q, k, v).macs == ATTENTION
    with torch.inference_mode():
        assert count_operations(attend, q, k, v).macs == ATTENTION
    with torch.no_grad():
        assert count_operations(attend, q, k, v).macs == ATTENTION
    assert count_operations(backward(lambda: attend(q, k, v))).macs == 3 * ATTENTION


def test_attention_kernels_agree() -> None:
    """Dropout and a learnt bias take torch's unfused path; a mask does not halve the count."""
    q, k, v = attention_inputs()
    bias = trainable(10, 12)

    def macs(**options: object) -> int:
        attend = backward(lambda: F.scaled_dot_product_attention(q, k, v, **options))  # type: ignore[arg-type]
        return count_operations(attend).macs

    assert macs() == macs(dropout_p=0.1) == macs(attn_mask=bias) == 3 * ATTENTION
    assert macs(is_causal=True) == 3 * ATTENTION
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert macs() == 3 * ATTENTION


def test_attention_with_fewer_key_heads() -> None:
    q, k, v = trainable(2, 4, 10, 8), trainable(2, 2, 12, 8), trainable(2, 2, 12, 8)
    forward = 2 * 4 * 10 * 12 * 16

    def attend() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    assert count_operations(attend).macs == forward
    assert count_operations(backward(attend)).macs == 3 * forward


def test_encoder_layer_counts_the_same_in_inference() -> None:
    """There torch has a fused operator for the whole layer, which would count as nothing."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    x = torch.randn(2, 5, 16)
    tokens = 2 * 5
    expected = tokens * (16 * 48 + 16 * 16 + 2 * 16 * 32) + 2 * (2 * 4 * 5 * 5 * 4)
    before = torch.backends.mha.get_fastpath_enabled()
    assert count_operations(layer, x).macs == expected
    with torch.no_grad():
        assert count_operations(layer, x).macs == expected
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_a_whole_step_and_the_convention() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    x, y = torch.randn(5, 3, 4, 4), torch.tensor([0, 1, 0, 1, 1])
    count = count_operations(lambda: F.cross_entropy(model(x), y).backward())
    conv, linear = 5 * 4 * 2 * 2 * 3 * 9, 5 * 16 * 2
    assert count.macs == 2 * conv + 3 * linear
    assert count.flops == 2 * count.macs
    assert sum(count.by_operator.values()) == count.macs
    assert count.by_operator["convolution"] == conv
    assert list(count.by_operator.values()) == sorted(count.by_operator.values(), reverse=True)
    assert "1 MAC" in count.convention
    assert "2 FLOPs" in count.convention


def test_nothing_counted() -> None:
    assert count_operations(torch.relu, torch.randn(3)).macs == 0


def test_settings_come_back_after_an_error() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError):
        count_operations(torch.mv, torch.randn(2, 3), torch.randn(2))
    assert torch.backends.mha.get_fastpath_enabled() == before
