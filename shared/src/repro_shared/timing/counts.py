"""Parameters and arithmetic of a model or a training step, as MACs and FLOPs (twice as many)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

aten = torch.ops.aten

CONVENTION = (
    "1 MAC = one multiplication and one addition = 2 FLOPs; matrix products, convolutions and "
    "attention only (no bias, activation, normalisation, softmax or optimiser); attention counted "
    "dense whatever its mask, and its backward as four products, without what a fused kernel "
    "recomputes"
)

_FUSED_ATTENTION = ["flash_attention_for_cpu", "flash_attention", "efficient_attention"]
_FUSED_ATTENTION += ["cudnn_attention", "fused_attention_overrideable"]


@dataclass(frozen=True)
class OperationCount:
    """Multiply-accumulates of one call (by operator, largest first), twice as many FLOPs."""

    macs: int
    flops: int
    convention: str
    by_operator: dict[str, int]


def count_parameters(module: torch.nn.Module) -> int:
    """Number of parameters, shared ones once; buffers (running statistics) are none."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_operations(function: Callable[..., object], *args: object) -> OperationCount:
    """MACs of `function(*args)` with its backward, by shapes alone; free on the `meta` device."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # The inference fast path runs a whole encoder layer as one operator, which counts as nothing.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
            function(*args)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    found = counter.get_flop_counts().get("Global", {})
    largest_first = sorted(found.items(), key=lambda item: -item[1])
    macs = {str(name).removeprefix("aten."): flops // 2 for name, flops in largest_first}
    total = sum(macs.values())
    return OperationCount(total, 2 * total, CONVENTION, macs)


Shape = Sequence[int]


def _formulas() -> dict[Any, Callable[..., int]]:
    """Formulas (in FLOPs, as torch wants them) that torch lacks or has otherwise.

    torch 2.14 has none for CPU attention, counts the recomputation inside fused attention's
    backward, and a grouped convolution's weight gradient as often as it has groups.
    """
    formulas: dict[Any, Callable[..., int]] = {
        aten.mv: lambda matrix, _, **__: 2 * math.prod(matrix),
        aten.addmv: lambda _, matrix, __, **___: 2 * math.prod(matrix),
        aten.dot: lambda left, _, **__: 2 * math.prod(left),
        aten.convolution_backward: _convolution_backward,
    }
    for name in _FUSED_ATTENTION:
        formulas[getattr(aten, f"_scaled_dot_product_{name}")] = _attention
        formulas[getattr(aten, f"_scaled_dot_product_{name}_backward")] = _attention_backward
    return formulas


def _attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    """Q K^T and weights V; (batch, heads, length, channels), fewer key heads allowed."""
    batch, heads, queries, channels = query
    return 2 * batch * heads * queries * key[2] * (channels + value[3])


def _attention_backward(
    _: Shape, query: Shape, key: Shape, value: Shape, *__: Any, **___: Any
) -> int:
    return 2 * _attention(query, key, value)  # gradients of weights and V, then of Q and K


def _convolution_backward(
    gradient: Shape, inputs: Shape, weight: Shape, *settings: Any, **__: object
) -> int:
    """As much as the forward pass for the input's gradient, and again for the weight's."""
    *_, transposed, _, _, output_mask = settings
    forward = conv_flop_count(list(inputs), list(weight), list(gradient), transposed)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))
