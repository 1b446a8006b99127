"""Routers: a score per token, and what a routed block's update is multiplied by.

`attention` is the paper's and has no parameters. The others are its rivals and controls. A router
is any callable `(x, scores) -> (ranking, gate)`; see `Router`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Router(Protocol):
    """What a routed block asks of its router.

    Attributes:
        needs_scores: whether the block before has to compute its scores.
        gated: whether a gate may be returned; if not, full capacity needs no ranking.

    Args:
        x: (B, N, d), the tokens that arrive at the block.
        scores: (B, N) attention that each token received in the block before, or None where
            `needs_scores` is false.

    Returns:
        Ranking (B, N), the highest are processed; and a gate (B, N) that multiplies the block's
        update of the chosen tokens (never their residual), or None for no multiplication.
    """

    needs_scores: bool
    gated: bool

    def __call__(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Score the tokens."""
        ...


class AttentionRouter(nn.Module):
    """A-MoD (arXiv 2412.20875, eq. 4-5): the scores themselves, no gate, no parameters.

    Args:
        multiply: gate the update with the score; the paper's figure 11 shows that it hurts.
    """

    needs_scores = True

    def __init__(self, multiply: bool = False) -> None:
        super().__init__()
        self.gated = multiply

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rank by the attention received."""
        assert scores is not None
        return scores, scores.to(x.dtype) if self.gated else None


class LinearRouter(nn.Module):
    """Standard MoD (eq. 1-2): r = x w without bias; the update is multiplied by the raw r.

    Args:
        width: embedding dimension d.
        gate: `raw` as printed; `sigmoid` of r; `unit`, 1 + tanh(r) from w = 0, which leaves a
            pretrained block's update as it is at the start (the last two are ours, so that the
            comparison is not with a router whose product destroys what was trained before).
    """

    needs_scores = False
    gated = True

    def __init__(self, width: int, gate: str = "raw") -> None:
        super().__init__()
        self.gate = gate
        self.weight = nn.Parameter(torch.zeros(width))
        if gate != "unit":
            # The paper gives no initialisation: torch's own for a linear layer with one output.
            nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5)

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rank by x w, and gate by it; at least in float32, whatever the precision."""
        r = _projected(x, self.weight)
        if self.gate == "sigmoid":
            return r, r.sigmoid()
        return r, 1 + r.tanh() if self.gate == "unit" else r


class NormRouter(nn.Module):
    """Control: the tokens of largest Euclidean norm."""

    needs_scores = False
    gated = False

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rank by |x|."""
        return x.detach().float().norm(dim=-1), None


class RandomRouter(nn.Module):
    """Control: uniformly random tokens, drawn from torch's global generator."""

    needs_scores = False
    gated = False

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rank at random."""
        return _random(x), None


class CallableRouter(nn.Module):
    """A user's function or module of x and scores; it may return the ranking alone.

    Args:
        function: of that form. Its own `needs_scores` and `gated` count, where it has them.
    """

    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, Tensor | None]]) -> None:
        super().__init__()
        self.function = function
        self.needs_scores = bool(getattr(function, "needs_scores", True))
        self.gated = bool(getattr(function, "gated", True))

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Whatever the function says."""
        found = self.function(x, scores)
        return found if isinstance(found, tuple) else (found, None)


def _projected(x: Tensor, weight: Tensor) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        return x.to(wide) @ weight.to(wide)


def _random(x: Tensor) -> Tensor:
    return torch.rand(x.shape[:2]).to(x.device)  # the same draws on every device


torch.fx.wrap("_projected")
torch.fx.wrap("_random")


ROUTERS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "attention": (AttentionRouter, {}),
    "attention-multiplied": (AttentionRouter, {"multiply": True}),
    "linear": (LinearRouter, {"gate": "raw"}),
    "linear-sigmoid": (LinearRouter, {"gate": "sigmoid"}),
    "linear-unit": (LinearRouter, {"gate": "unit"}),
    "random": (RandomRouter, {}),
    "l2norm": (NormRouter, {}),
}
"""By the name that a command line gives: the module, and its settings."""


def make_router(name: object, width: int) -> nn.Module:
    """A router by its name, or around a callable, for a model of embedding dimension `width`.

    A module is copied, so that no two blocks share its weights.

    Raises:
        ValueError: unknown name.
    """
    if isinstance(name, type):
        raise ValueError(f"router {name.__name__} is a class: give one made of it")
    if callable(name):
        return CallableRouter(copy.deepcopy(name) if isinstance(name, nn.Module) else name)
    if name not in ROUTERS:
        raise ValueError(f"unknown router {name!r}: choose one of {', '.join(ROUTERS)}")
    kind, settings = ROUTERS[str(name)]
    return kind(width, **settings) if kind is LinearRouter else kind(**settings)
