"""Parameters and arithmetic of a model or a training step, with the convention named.

Papers print "FLOPs" and often mean multiply-accumulates: half as many. Here both are given by name.
"""

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

_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)


@dataclass(frozen=True)
class OperationCount:
    """Arithmetic of one call.

    Attributes:
        macs: Multiply-accumulates.
        flops: 2 x macs.
        convention: What is counted, in words to print beside a number.
        by_operator: MACs by operator, largest first.
    """

    macs: int
    flops: int
    convention: str
    by_operator: dict[str, int]


def count_parameters(module: torch.nn.Module, trainable_only: bool = False) -> int:
    """Number of parameters, shared ones once; buffers (running statistics) are none.

    Args:
        module: Any module.
        trainable_only: Leave out those with `requires_grad=False`.
    """
    return sum(
        parameter.numel()
        for parameter in module.parameters()
        if parameter.requires_grad or not trainable_only
    )


def count_operations(function: Callable[..., object], *args: object) -> OperationCount:
    """Count the arithmetic of `function(*args)`, backward included if it calls one.

    The count depends on shapes only, and not on the kernel that a device picks: the same model
    counts the same on CPU and GPU, in training and inference. The function really runs; with
    modules and inputs on torch's `meta` device it costs nothing.

    Args:
        function: A module, or a function such as `lambda: loss(model(x)).backward()`.
        args: Its arguments.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # The inference fast path runs a whole encoder layer as one operator, which counts as nothing.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
            function(*args)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    flops_by_operator = counter.get_flop_counts().get("Global", {})
    by_operator = {
        str(operator).removeprefix("aten."): flops // 2
        for operator, flops in sorted(flops_by_operator.items(), key=lambda item: -item[1])
    }
    macs = sum(by_operator.values())
    return OperationCount(macs, 2 * macs, CONVENTION, by_operator)


Shape = Sequence[int]


def _formulas() -> dict[Any, Callable[..., int]]:
    """Formulas (in FLOPs, as torch wants them) that torch lacks or has otherwise.

    torch 2.14 has none for CPU attention, counts the recomputation inside fused attention's
    backward, and a grouped convolution's weight gradient as often as it has groups.
    """
    formulas: dict[Any, Callable[..., int]] = {
        aten.mv: _matrix_vector,
        aten.addmv: lambda _, matrix, vector, **__: _matrix_vector(matrix, vector),
        aten.dot: lambda left, _, **__: 2 * math.prod(left),
        aten.convolution_backward: _convolution_backward,
    }
    for name in _FUSED_ATTENTION:
        formulas[getattr(aten, name)] = _attention
        formulas[getattr(aten, f"{name}_backward")] = _attention_backward
    return formulas


def _matrix_vector(matrix: Shape, vector: Shape, **_: object) -> int:
    return 2 * math.prod(matrix)


def _attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    """Q K^T and weights V; (batch, heads, length, channels), fewer key heads allowed."""
    batch, heads, queries, channels = query
    return 2 * batch * heads * queries * key[2] * (channels + value[3])


def _attention_backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: object, **__: object
) -> int:
    """Gradients of weights and V, then of Q and K: twice the forward pass."""
    return 2 * _attention(query, key, value)


def _convolution_backward(
    gradient: Shape,
    inputs: Shape,
    weight: Shape,
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: int,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    """As much as the forward pass for the input's gradient, and again for the weight's."""
    forward = conv_flop_count(list(inputs), list(weight), list(gradient), transposed)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))
