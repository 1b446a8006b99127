"""One optimiser for a student and for what an objective trains beside it in another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from seg_kd.method.terms import Apart

CONSTRUCTOR = "WithTerms"


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(name=CONSTRUCTOR)
class WithTerms(DefaultOptimWrapperConstructor):
    """mmengine's constructor, after which the objective's own networks learn as they want to.

    Without such networks (`Apart`) the optimiser is left as mmengine made it. With them, a norm at
    which gradients are clipped is that of the student's and of what learns with it: a
    discriminator's or a generator's gradient would otherwise scale down the student's.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        wrapper = super().__call__(model)
        modules = [*getattr(getattr(model, "module", model), "terms", {}).values()]
        taken, others, clips = set[int](), list[Optimizer](), list[tuple[list[Tensor], float]]()
        apart = set[int]()
        for module in modules:
            parameters = [*module.parameters()]
            if module.apart != Apart():
                apart |= {*map(id, parameters)}
            if module.apart.clip_norm is not None:
                clips.append((parameters, module.apart.clip_norm))
            if module.apart.adam is not None:
                rate, *betas = module.apart.adam
                others.append(Adam(parameters, lr=rate, betas=tuple(betas)))
                taken |= {*map(id, parameters)}
        if others or clips:
            groups = wrapper.optimizer.param_groups
            for group in groups:
                group["params"] = [p for p in group["params"] if id(p) not in taken]
            groups[:] = [group for group in groups if group["params"]]
            if wrapper.clip_grad_kwargs:
                norm = float(wrapper.clip_grad_kwargs["max_norm"])
                with_student = [p for g in groups for p in g["params"] if id(p) not in apart]
                clips.insert(0, (with_student, norm))
                wrapper.clip_grad_kwargs = None
            wrapper.optimizer = Together(wrapper.optimizer, others, clips)
        return wrapper


class Together(Optimizer):
    """Several optimisers as one, with the groups and states of all.

    Args:
        first: of the student; schedules change its rates.
        others: of other networks; their rates stay as they are.
        clips: parameters whose gradients are scaled down to a norm before the step.
    """

    def __init__(
        self,
        first: Optimizer,
        others: Sequence[Optimizer],
        clips: Sequence[tuple[list[Tensor], float]],
    ) -> None:
        self.members, self.clips = [first, *others], clips
        self.rates = [[g["lr"] for g in each.param_groups] for each in others]
        super().__init__([g for each in self.members for g in each.param_groups], first.defaults)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """A step of each."""
        for parameters, norm in self.clips:
            nn.utils.clip_grad_norm_(parameters, norm)
        for each, rates in zip(self.members[1:], self.rates, strict=True):
            for group, rate in zip(each.param_groups, rates, strict=True):
                group["lr"] = rate
        for each in self.members:
            each.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Make groups and states of the members those of the whole."""
        groups = iter(self.param_groups)
        for each in self.members:
            each.param_groups = [next(groups) for _ in each.param_groups]
            each.state = self.state
