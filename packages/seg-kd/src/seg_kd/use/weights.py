"""A user's weights in a segmentor: whole as a teacher, what fits as a start."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.runtime.weights import listed, load_strictly, misfits

once = cache(say)  # a comparison builds the same student many times
AUXILIARY = "auxiliary_head."
ENOUGH = 0.5  # of a model's numbers: with fewer, the file is of another model


def load_trained(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a trained segmentor for answers: all but the auxiliary heads, which only train.

    Raises:
        UserError: tensors that do not fit, or hold values that are not finite.
    """
    own = {name: value for name, value in model.state_dict().items() if name.startswith(AUXILIARY)}
    given = {name: value for name, value in state.items() if not name.startswith(AUXILIARY)}
    for name, value in given.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(
                f"{origin}: {name} holds NaN or infinity, so what this network answers means "
                "nothing (its training diverged?): give other weights"
            )
    load_strictly(model, {**given, **own}, origin)


def load_start(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load what fits, to be trained further, and say what is left as it was.

    Raises:
        UserError: less than half of the model's numbers are in the file.
    """
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
