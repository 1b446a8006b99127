"""A user's weights in a segmentor: whole as a teacher, what fits as a start."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.runtime.weights import listed, load_strictly, misfits

once = cache(say)  # a comparison builds the same student many times
AUXILIARY = "auxiliary_head."
ENOUGH = 0.5  # of a model's numbers: with fewer, the file is of another model


def load_trained(model: Any, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a trained segmentor for answers.

    Auxiliary heads only train, so a file may lack them, or have others: then the model loses its
    own, whose weights nobody trained.

    Raises:
        UserError: tensors that do not fit, or hold values that are not finite.
    """
    infinite = [name for name, value in state.items() if not torch.isfinite(value).all()]
    for name in (each for each in infinite if not each.startswith(AUXILIARY)):
        raise UserError(
            f"{origin}: {name} holds NaN or infinity, so what this network answers means "
            "nothing (its training diverged?): give other weights"
        )
    if any(name.startswith(AUXILIARY) for name in (*infinite, *misfits(model, state))):
        model.auxiliary_head = None
        state = {name: value for name, value in state.items() if not name.startswith(AUXILIARY)}
    load_strictly(model, state, origin)


def load_start(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load what fits, to be trained further, and say what is left as it was.

    A file of a backbone alone, as those of ImageNet are, is the backbone's.

    Raises:
        UserError: less than half of the model's numbers are in the file.
    """
    state = _below_backbone(model, state)
    wrong, own = misfits(model, state), model.state_dict()
    fitting = {name: value for name, value in state.items() if name not in wrong}
    if sum(v.numel() for v in fitting.values()) < ENOUGH * sum(v.numel() for v in own.values()):
        raise UserError(f"{origin} is of another architecture: {listed(wrong)}")
    anew = {name: what for name, what in wrong.items() if name in own}
    unused = {name: what for name, what in wrong.items() if name not in own}
    if anew:
        once(
            f"{origin}: {len(fitting)} of the model's {len(own)} tensors are loaded; the others "
            f"start anew: {listed(anew)}"
        )
    if unused:
        once(f"{origin}: not used: {listed(unused)}")
    model.load_state_dict(fitting, strict=False)


def _below_backbone(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The names of a whole model's tensors, where a file has those of its backbone."""
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module) or model.state_dict().keys() & state.keys():
        return state
    return {f"backbone.{name}": value for name, value in state.items()}
