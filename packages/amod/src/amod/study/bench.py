"""`amod bench`: routed models and rivals against timm's dense one, interleaved in one process.

Everything is in inference mode, with random weights and the same head; either all models are
compiled or none. The ceiling is the ratio of multiply-accumulates: what a model would gain if all
operations cost the same and the routing nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from amod.method.flops import Shape, dense_macs, routed_macs
from amod.method.model import convert
from amod.rivals.baselines import cut_depth, isoflop_layers
from amod.rivals.merging import equal_r, merge_tokens, merged_macs
from amod.study.timings import THREADS, Timing
from amod.use.weights import create_model
from repro_shared.evidence.provenance import provenance
from repro_shared.runtime.checks import check_device
from repro_shared.runtime.errors import UserError
from repro_shared.timing.calibrate import calibrate

CAPACITIES = (0.5, 0.125)


class WithScores(nn.Module):
    """The dense model, with the scores that a routed one would compute, and nothing done with them.

    Shows what scoring costs: all blocks see all tokens.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = convert(model)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes)."""
        model = self.model
        x, _ = model._embed(image)
        for index, block in enumerate(model.blocks):
            feeds = str(index + 1) in model.routers
            x = model._scored_step(index, x, None)[0] if feeds else block(x)
        logits: Tensor = model.forward_head(model.norm(x))
        return logits


class FixedRouter(nn.Module):
    """Ranks tokens by their position: what packing alone reaches, where no scores are computed."""

    needs_scores = False
    gated = False

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, None]:
        """The same ranking for every picture."""
        return torch.arange(x.shape[1], device=x.device).expand(len(x), -1), None


def bench(
    model: str,
    batch: int,
    rounds: int,
    device: str = "cpu",
    compiled: bool = False,
    routed_only: bool = False,
    threads: int = THREADS,
    **changes: Any,
) -> Timing:
    """Time the forward pass of the dense model, of routed ones and of their rivals.

    Args:
        model: a timm model name of the VisionTransformer class.
        batch: images a step.
        rounds: timed rounds.
        device: cpu or cuda.
        compiled: run everything through `torch.compile`.
        routed_only: leave out depth-cut models and token merging.
        threads: of torch on the CPU.
        changes: settings for `timm.create_model`, e.g. a smaller width.

    Raises:
        UserError: unknown model, one that cannot be routed, or no such device.
    """
    check_device(device)
    if min(batch, rounds, threads) < 1:
        raise UserError(f"batch {batch}, rounds {rounds}, threads {threads} must be at least 1")
    dense = create_model(model, **changes).to(device)
    try:
        arms = _arms(dense, routed_only)
    except ValueError as error:
        raise UserError(str(error)) from error
    image = torch.randn(batch, 3, *dense.patch_embed.img_size, device=device)
    networks = {name: network.to(device) for name, (network, _) in arms.items()}
    if compiled:
        networks = {name: torch.compile(n) for name, n in networks.items()}  # type: ignore[misc]
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    origin = provenance(("amod", "timm"), __file__)
    try:
        with torch.inference_mode():
            seconds = calibrate(
                {name: _step(network, image) for name, network in networks.items()},
                warmup=3,
                rounds=rounds,
            )
    finally:
        torch.set_num_threads(usual)
    return Timing(
        model=model,
        batch=batch,
        device=device,
        compiled=compiled,
        routed_only=routed_only,
        capacities=CAPACITIES,
        macs={name: macs for name, (_, macs) in arms.items()},
        calibration=seconds,
        provenance=origin,
        finished=datetime.now(UTC),
    )


def _arms(dense: Any, routed_only: bool) -> dict[str, tuple[nn.Module, int]]:
    """Every model with its multiply-accumulates."""

    def twin() -> Any:
        return copy.deepcopy(dense)

    scored = WithScores(twin())  # refuses what cannot be routed
    _check_counted(dense)
    shape = Shape(
        dense.embed_dim,
        len(dense.blocks),
        image_size=dense.patch_embed.img_size[0],
        patch_size=dense.patch_embed.patch_size[0],
        prefix_tokens=dense.num_prefix_tokens,
        mlp_ratio=dense.blocks[0].mlp.fc1.out_features / dense.embed_dim,
        classes=dense.num_classes,
    )

    arms: dict[str, tuple[nn.Module, int]] = {
        "dense": (dense, dense_macs(shape)),
        "dense with scores": (scored, dense_macs(shape)),
    }
    for capacity in CAPACITIES:
        cost, linear = (routed_macs(shape, capacity, linear_router=x) for x in (False, True))
        arms[f"A-MoD {capacity:g}"] = convert(twin(), capacity=capacity), cost
        arms[f"linear {capacity:g}"] = convert(twin(), capacity=capacity, router="linear"), linear
        fixed = convert(twin(), capacity=capacity)
        fixed.routers = nn.ModuleDict({name: FixedRouter() for name in fixed.routers})
        arms[f"fixed tokens {capacity:g}"] = fixed, cost
        if routed_only:
            continue
        layers = isoflop_layers(shape, capacity)[0]
        cut = cut_depth(twin(), layers)
        arms[f"{layers} layers, for {capacity:g}"] = cut, dense_macs(replace(shape, depth=layers))
        r = equal_r(shape, capacity)
        arms[f"token merging r={r}, for {capacity:g}"] = (
            merge_tokens(twin(), r),
            merged_macs(shape, r),
        )
    return arms


def _check_counted(dense: Any) -> None:
    """ValueError for a model whose cost the closed form of `amod.method.flops` does not give."""
    patches, mlp = dense.patch_embed, dense.blocks[0].mlp
    if len({*patches.img_size}) != 1 or len({*patches.patch_size}) != 1:
        raise ValueError("amod bench counts square images and patches only")
    if type(mlp) is not Mlp:
        raise ValueError(f"amod bench counts plain MLPs only, not {type(mlp).__name__}")


def _step(network: nn.Module, image: Tensor) -> Callable[[], None]:
    def step() -> None:
        network(image)

    return step
