"""Routed blocks, and the attention before each that votes for its tokens.

`amod.convert` gives some blocks of a ViT, and the attention of the block before each, a subclass of
their own class. The model stays what it was: its passes call its blocks, hooks on a block see all
tokens, and state-dict keys are the dense model's. Scores go from the attention to the block behind
it through the `Route` that both hold.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from timm.layers import Attention, AttentionRope
from timm.models.eva import EvaAttention
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from amod.method.packing import gather_mask, gather_rope, put_rows, take_rows, whole_rope
from amod.method.routing import Rows, select_share, traced
from amod.method.scored import Backend, attend, attend_in_full, heads, merged

# Symbolic tracing (torch.fx) records these as one node each, instead of looking inside.
for _name in ("gather_mask", "gather_rope", "put_rows", "take_rows", "whole_rope",
              "attend", "select_share"):  # fmt: skip
    torch.fx.wrap(_name)

ATTENTION: tuple[type[nn.Module], ...] = (Attention, AttentionRope, EvaAttention)
"""Whose scores can be read: timm's, and subclasses that keep its forward."""

_LATEST = 0  # where compiled code leaves scores, which follows one thread and knows no number of it


@dataclass
class Route:
    """What a routed block and the attention that votes for its tokens share.

    Attributes:
        index: of the routed block.
        capacity: share of the tokens that it processes, (0, 1].
        align: the number of tokens is rounded down to a multiple of this.
        prefix: number of class and register tokens.
        protect: whether those are always processed.
        rows: which query rows vote.
        backend: how scores are computed, see `amod.method.scored.attend`.
        ranks: whether tokens are ranked: not where all are processed, unless the router multiplies.
    """

    index: int
    capacity: float
    align: int
    prefix: int
    protect: bool
    rows: Rows
    backend: Backend
    ranks: bool = True
    _scores: dict[int, Tensor] = field(default_factory=dict, repr=False)  # by thread
    _carried: Any = field(default_factory=WeakTensorKeyDictionary, repr=False)  # by tokens

    def put(self, scores: Tensor) -> None:
        """Leave scores (B, N) for the routed block."""
        self._scores[_LATEST] = scores
        if not torch.compiler.is_compiling():
            self._scores[threading.get_ident()] = scores

    def mark(self, x: Tensor) -> None:
        """Let the tokens x (B, N, d) that leave the block carry their scores.

        So they find them after other forward passes, too, and when a checkpointed block runs again
        in the backward pass, before the attention that votes for it does.
        """
        if isinstance(x, Tensor) and not traced() and (found := self._left()) is not None:
            self._carried[x] = found

    def take(self, x: Tensor) -> Tensor:
        """The scores of x (B, N, d): those that it carries, or the last that were left.

        Raises:
            ValueError: there are none, or for another number of tokens.
        """
        eager = isinstance(x, Tensor) and not traced()
        left = self._left()
        carried: Tensor | None = self._carried.get(x) if eager else None
        scores = left if carried is None else carried
        if scores is None:
            raise ValueError(
                f"block {self.index} has no scores to be routed by: run block {self.index - 1} "
                "before it (and checkpoint with use_reentrant=False)"
            )
        if eager and scores.shape != x.shape[:2]:
            raise ValueError(
                f"block {self.index} gets {x.shape[1]} tokens, scored were {scores.shape[1]}: "
                f"add or drop tokens before block {self.index - 1}"
            )
        if scores is left:
            self._scores.pop(_LATEST, None)
            if not torch.compiler.is_compiling():
                self._scores.pop(threading.get_ident(), None)
        if eager and carried is None:  # others made it of the block's output: a hook, a wrapper
            self._carried[x] = scores
        return scores

    def _left(self) -> Tensor | None:
        """The last scores that were left, in this thread if it is known."""
        if torch.compiler.is_compiling():
            return self._scores.get(_LATEST)
        return self._scores.get(threading.get_ident(), self._scores.get(_LATEST))

    def chosen(self, ranking: Tensor) -> Tensor:
        """Indices (B, k), ascending, of the tokens that a ranking (B, N) puts first."""
        protected = self.prefix if self.protect else 0
        return select_share(ranking, self.capacity, self.align, protected)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _scores={}, _carried=WeakTensorKeyDictionary())


class Reclassed:
    """A module that was given a subclass of its own class; pickles and copies as such."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        order = type(self).__mro__
        mixin = order[order.index(Reclassed) - 1]
        return _remade, (mixin, base_of(self)), self.__getstate__()


def base_of(module: Any) -> Any:
    """The class that a module had; wrappers may have put more before its present one."""
    order = type(module).__mro__
    return order[order.index(Reclassed) + 1]


def reclass(module: Any, mixin: Any) -> None:
    """Put `mixin`, a subclass of `Reclassed`, before a module's class, in place."""
    base: Any = type(module)
    module.__class__ = _mixed(mixin, base)


def declass(module: Any) -> None:
    """Undo `reclass`."""
    module.__class__ = base_of(module)


@cache
def _mixed(mixin: Any, base: Any) -> Any:
    return type(f"{mixin.__name__}{base.__name__}", (mixin, base), {"__doc__": base.__doc__})


def _remade(mixin: Any, base: Any) -> Any:
    made = _mixed(mixin, base)
    return made.__new__(made)


class Routed(Reclassed):
    """A block that processes some tokens and passes the others unchanged (arXiv 2412.20875)."""

    route: Route
    router: Any

    def forward(self: Any, x: Tensor, *extra: Any, **named: Any) -> Tensor:
        """The block's own arguments; (B, N, d) to (B, N, d)."""
        if extra:
            named |= _by_name(base_of(self), extra)
        if not self.route.ranks:  # the dense block, to the bit
            if named.get("rope") is not None:
                named["rope"] = whole_rope(named["rope"], x)
            return self._dense(x, **named)
        ranking, gate = self.ranked(x)
        return self.process(x, self.route.chosen(ranking.detach()), gate, **named)

    def ranked(self: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the router says: ranking (B, N), and a gate (B, N) or None."""
        found: tuple[Tensor, Tensor | None]
        found = self.router(x, self.route.take(x) if self.router.needs_scores else None)
        return found

    def process(
        self: Any, x: Tensor, index: Tensor, gate: Tensor | None = None, **named: Any
    ) -> Tensor:
        """Run the block on the chosen tokens; all others pass bit for bit.

        Args:
            x: (B, N, d).
            index: (B, k), distinct within a row.
            gate: (B, N) factor of the block's update, or None.
            named: the block's other arguments, for all tokens.

        Returns:
            (B, N, d).
        """
        chosen = take_rows(x, index)
        if named.get("rope") is not None:
            named["rope"] = gather_rope(whole_rope(named["rope"], x), index)
        if named.get("attn_mask") is not None:
            named["attn_mask"] = gather_mask(named["attn_mask"], index)
        output = self._dense(chosen, **named)
        if gate is not None:
            output = chosen + gate.gather(1, index)[..., None] * (output - chosen)
        return put_rows(x, index, output)

    def _dense(self: Any, x: Tensor, **named: Any) -> Tensor:
        output: Tensor = super().forward(x, **named)  # type: ignore[misc]
        return output


class Voting(Reclassed):
    """An attention that leaves the scores of its tokens for the routed block behind it."""

    route: Route

    def forward(self: Any, x: Tensor, *extra: Any, **named: Any) -> Tensor:
        """timm's attention, (B, N, d) to (B, N, d), and scores (eq. 3 to 4)."""
        route = self.route
        if extra:
            named |= _by_name(base_of(self), extra)
        if not route.ranks:
            dense: Tensor = super().forward(x, **named)  # type: ignore[misc]
            return dense
        attn_mask, is_causal = named.get("attn_mask"), named.get("is_causal", False)
        query, key, value = heads(self, x, named.get("rope"))
        if self.fused_attn:
            dropout = self.attn_drop.p if self.training else 0.0
            output, scores = attend(
                query, key, value, attn_mask, is_causal, dropout, route.rows, route.prefix,
                route.backend,
            )  # fmt: skip
        else:
            output, scores = attend_in_full(
                query, key, value, attn_mask, is_causal, self.attn_drop, route.rows, route.prefix
            )
        route.put(scores)
        return merged(self, x, output)


class Scored(Reclassed):
    """A block whose output carries the scores of its tokens to the routed block behind it."""

    route: Route

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """The block's own."""
        output: Tensor = super().forward(*given, **named)  # type: ignore[misc]
        self.route.mark(output)
        return output


def _by_name(kind: Any, extra: tuple[Any, ...]) -> dict[str, Any]:
    """Arguments behind x that were given by position; TypeError for too many."""
    names = _names(kind)
    if len(extra) > len(names):
        raise TypeError(f"{kind.__name__} takes {', '.join(names)} behind x, got {len(extra)} more")
    return dict(zip(names, extra, strict=False))


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Names of the arguments of a class's forward, behind x."""
    return tuple(inspect.signature(kind.forward).parameters)[2:]


def routed_blocks(model: Any) -> dict[int, Any]:
    """The routed blocks of a model by their index; {} for a dense model."""
    blocks = getattr(model, "blocks", ())
    return {index: block for index, block in enumerate(blocks) if isinstance(block, Routed)}


def unroute(block: Any) -> None:
    """Make a routed block dense again; what votes for its tokens and its router stay."""
    declass(block)
    if hasattr(block.attn, "num_prefix_tokens"):
        block.attn.num_prefix_tokens = block.route.prefix


def capacities(capacity: float | Sequence[float], blocks: int) -> tuple[float, ...]:
    """A capacity for each of several routed blocks, one or as many given.

    Raises:
        ValueError: another number of capacities.
    """
    if not isinstance(capacity, Sequence):
        return (capacity,) * blocks
    if len(capacity) != blocks:
        raise ValueError(f"{len(capacity)} capacities for {blocks} routed blocks: give one or all")
    return tuple(capacity)
