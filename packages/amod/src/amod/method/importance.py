"""Does a router keep the tokens that matter? Leave-one-out importance (the paper's figure 7).

The importance of a token at a routed block is how much the loss rises when that block leaves it out
while it processes all others (arXiv 2412.20875, section 4.5; aggregation over images is ours, since
the paper does not give it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from amod.method.blocks import routed_blocks

Rankings = dict[int, Tensor]


def leave_one_out(model: Any, images: Tensor, targets: Tensor) -> tuple[Rankings, Rankings]:
    """Importance and the router's ranking of every token at every routed block.

    Args:
        model: a converted model in evaluation mode; its other routed blocks run as they are routed.
        images: (B, 3, H, W).
        targets: (B,).

    Returns:
        Two dictionaries by block, (B, N) each: rise of the cross-entropy, and ranking.
    """
    routed, inputs, found = routed_blocks(model), {}, {}

    def keep_input(index: int) -> Any:
        return lambda _, x, named: inputs.update({index: (x[0], named)})

    def keep_ranking(index: int) -> Any:
        return lambda _, x, output: found.update({index: output})

    with ExitStack() as hooks, torch.inference_mode():
        for index, block in enumerate(model.blocks):
            watch = block.register_forward_pre_hook(keep_input(index), with_kwargs=True)
            hooks.callback(watch.remove)
        for index, block in routed.items():
            hooks.callback(block.router.register_forward_hook(keep_ranking(index)).remove)
            # A ranking is wanted at full capacity, too.
            hooks.callback(setattr, block.route, "ranks", block.route.ranks)
            block.route.ranks = True
        model(images)
    named = {index: arguments for index, (_, arguments) in inputs.items()}
    with torch.inference_mode():
        importance = {
            index: _rise(model, index, inputs[index][0], found[index][1], named, targets)
            for index in routed
        }
    return importance, {index: ranking.float() for index, (ranking, _) in found.items()}


@contextmanager
def ranked_by(model: Any, rankings: Rankings) -> Iterator[None]:
    """While open, routed blocks process what `rankings` puts first, whatever their router says.

    Args:
        model: a converted model; this instance only is changed.
        rankings: by block, (B, N), for the batch that will be run.
    """

    def instead(index: int) -> Any:
        return lambda _, x, output: (rankings[index], output[1])

    with ExitStack() as hooks:
        for index, block in routed_blocks(model).items():
            hooks.callback(block.router.register_forward_hook(instead(index)).remove)
        yield


def _rise(
    model: Any,
    index: int,
    x: Tensor,
    gate: Tensor | None,
    named: dict[int, dict[str, Any]],
    targets: Tensor,
) -> Tensor:
    """Loss without each token minus loss with all, (B, N)."""
    tokens, block = x.shape[1], model.blocks[index]
    everyone = torch.arange(tokens, device=x.device)
    others = torch.stack([everyone[everyone != i] for i in range(tokens)])
    rows = []
    gates = [None] * len(x) if gate is None else [g.expand(tokens, -1) for g in gate]
    for image, factors, target in zip(x, gates, targets, strict=True):
        without = block.process(image.expand(tokens, -1, -1), others, factors, **named[index])
        one = None if factors is None else factors[:1]
        whole = block.process(image[None], everyone[None], one, **named[index])
        loss = _loss(model, index + 1, torch.cat([without, whole]), named, target)
        rows.append(loss[:-1] - loss[-1])
    return torch.stack(rows)


def _loss(
    model: Any, first: int, x: Tensor, named: dict[int, dict[str, Any]], target: Tensor
) -> Tensor:
    for index in range(first, len(model.blocks)):
        x = model.blocks[index](x, **named[index])
    logits = model.forward_head(model.norm(x))
    return nn.functional.cross_entropy(logits, target.expand(len(x)), reduction="none")


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation of the rows of two (B, N) tensors, (B,); ties get their mean rank."""
    return pearson(_ranks(a), _ranks(b))


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of the rows of two (B, N) tensors, (B,)."""
    a = a.double() - a.double().mean(dim=1, keepdim=True)
    b = b.double() - b.double().mean(dim=1, keepdim=True)
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


def auc(scores: Tensor, relevant: Tensor) -> Tensor:
    """Probability that a relevant token outranks another, per row; (B, N) and bool (B, N) to (B,).

    Rows without relevant, or without other tokens, give 1/2.
    """
    ranks, positives = _ranks(scores), relevant.sum(dim=1).double()
    negatives = relevant.shape[1] - positives
    won = (ranks * relevant).sum(dim=1) - positives * (positives + 1) / 2
    pairs = positives * negatives
    return torch.where(pairs > 0, won / pairs.clamp_min(1), torch.full_like(won, 0.5))


def _ranks(values: Tensor) -> Tensor:
    """1 to N within each row, the mean rank for ties."""
    below = (values[:, :, None] > values[:, None, :]).sum(dim=2)
    ties = (values[:, :, None] == values[:, None, :]).sum(dim=2)
    return below.double() + (ties.double() + 1) / 2
