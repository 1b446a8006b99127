"""One optimiser for the student and for what learns beside it: groups, rates, clipping, state."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from seg_kd.method.terms import Apart, Module
from seg_kd.train import Optimiser
from seg_kd.use.optimiser import CONSTRUCTOR, Together


class Model(nn.Module):
    """A student and two terms, one of which learns apart."""

    def __init__(self, apart: Apart) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student = nn.Linear(3, 2)
        self.terms = nn.ModuleDict({"0": Module(), "1": Module()})
        self.terms["0"].add_module("adapter", nn.Linear(2, 2))
        self.terms["1"].add_module("other", nn.Linear(2, 2))
        self.terms["1"].apart = apart

    def forward(self, inputs: Tensor) -> Tensor:
        made: Any = self.student(inputs)
        for term in self.terms.values():
            for layer in term.children():
                made = layer(made)
        return made.square().sum()


def wrapper_of(model: nn.Module, **settings: Any) -> Any:
    config = replace(Optimiser(learning_rate=0.1), **settings).wrapper_config()
    return build_optim_wrapper(model, {**config, "constructor": CONSTRUCTOR})


def steps(model: nn.Module, wrapper: Any, count: int) -> list[Tensor]:
    for index in range(count):
        generator = torch.Generator().manual_seed(index)
        wrapper.update_params(model(torch.randn(4, 3, generator=generator)))
    return [p.detach().clone() for p in model.parameters()]


def test_without_such_networks_it_is_mmengines() -> None:
    optimizer = wrapper_of(Model(Apart())).optimizer
    assert type(optimizer) is torch.optim.SGD
    assert len(optimizer.param_groups) == 1
    assert len(optimizer.param_groups[0]["params"]) == 6


def test_a_network_apart_learns_by_adam_at_its_own_rate() -> None:
    model = Model(Apart(adam=(1e-2, 0.9, 0.99)))
    wrapper = wrapper_of(model)
    optimizer = wrapper.optimizer
    assert isinstance(optimizer, Together)
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 2]

    twin = Model(Apart())
    first = torch.optim.SGD([*twin.student.parameters(), *twin.terms["0"].parameters()], 0.1,
                            momentum=0.9, weight_decay=5e-4)  # fmt: skip
    second = torch.optim.Adam(twin.terms["1"].parameters(), 1e-2, betas=(0.9, 0.99))
    for index in range(3):
        generator = torch.Generator().manual_seed(index)
        inputs = torch.randn(4, 3, generator=generator)
        for group in optimizer.param_groups:  # a schedule changes all rates
            group["lr"] = 0.1
        wrapper.update_params(model(inputs))
        first.zero_grad()
        second.zero_grad()
        twin(inputs).backward()
        first.step()
        second.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_gradients_of_a_network_are_clipped_and_of_the_student_not() -> None:
    model, twin = Model(Apart(clip_norm=1e-3)), Model(Apart())
    begun = [p.detach().clone() for p in model.parameters()]
    found = steps(model, wrapper_of(model, weight_decay=0.0), 1)
    free = steps(twin, wrapper_of(twin, weight_decay=0.0), 1)
    moved = torch.cat([(a - b).flatten() for a, b in zip(found[4:], begun[4:], strict=True)])
    assert moved.norm() == pytest.approx(0.1 * 1e-3, rel=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(found[:4], free[:4], strict=True))


@pytest.mark.parametrize("apart", [Apart(adam=(1e-2, 0.9, 0.99)), Apart(clip_norm=7.0)])
def test_the_students_norm_is_its_own(apart: Apart) -> None:
    model = Model(apart)
    begun = [p.detach().clone() for p in model.parameters()]
    wrapper = wrapper_of(model, weight_decay=0.0, clip_norm=1e-3)
    wrapper.zero_grad()
    model(torch.ones(1, 3)).backward()
    theirs = [p.grad.clone() for p in model.terms["1"].parameters() if p.grad is not None]
    assert torch.cat([g.flatten() for g in theirs]).norm() > 1e-2  # it would rule a joint norm
    wrapper.step()
    moved = [(a.detach() - b).flatten() for a, b in zip(model.parameters(), begun, strict=True)]
    assert torch.cat(moved[:4]).norm() == pytest.approx(0.1 * 1e-3, rel=1e-3)
    assert torch.cat(moved[4:]).norm() > 10 * 0.1 * 1e-3


@pytest.mark.parametrize("settings", [{}, {"kind": "AdamW", "learning_rate": 0.01}])
def test_state_goes_on_where_it_was(settings: dict[str, Any]) -> None:
    apart = Apart(adam=(1e-2, 0.9, 0.99), clip_norm=5.0)
    whole = Model(apart)
    wrapper = wrapper_of(whole, **settings)
    steps(whole, wrapper, 2)
    saved, weights = wrapper.state_dict(), {k: v.clone() for k, v in whole.state_dict().items()}
    saved = _through_a_file(saved)
    expected = steps(whole, wrapper, 2)

    other = Model(apart)
    resumed = wrapper_of(other, **settings)
    other.load_state_dict(weights)
    resumed.load_state_dict(saved)
    found = steps(other, resumed, 2)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def _through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def test_multipliers_reach_what_is_not_apart() -> None:
    multipliers = '{"custom_keys":{"terms.0":{"lr_mult":10.0}}}'
    wrapper = wrapper_of(Model(Apart(adam=(1e-2, 0.9, 0.99))), multipliers=multipliers)
    rates = [group["lr"] for group in wrapper.optimizer.param_groups]
    assert sorted(rates) == pytest.approx([1e-2, 0.1, 0.1, 1.0, 1.0])


def test_a_gradient_that_overflows_makes_no_step_and_halves_the_scale() -> None:
    model = Model(Apart(adam=(1e-2, 0.9, 0.99), clip_norm=5.0))
    optimizer = wrapper_of(model).optimizer
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    before = [p.detach().clone() for p in model.parameters()]
    scales = []
    for factor in (1e38, 1.0):  # times 2^16 the first is more than float32 holds
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(1, 3)) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True)]
        assert any(moved) == (factor == 1.0)
        scales.append(scaler.get_scale())
    assert scales == [2.0**15, 2.0**15]
    assert all(torch.isfinite(p).all() for p in model.parameters())
