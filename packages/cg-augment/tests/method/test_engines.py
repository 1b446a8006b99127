"""All engines on the mixture whose diffusion model is exact: what they find, cost and survive."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

import cg_augment
from cg_augment.method import cost
from cg_augment.method.chain import Chain
from cg_augment.method.gradients import finite, unit
from cg_augment.method.guided import Guided, Task
from cg_augment.method.noise import Noise
from cg_augment.method.objectives import Objective
from cg_augment.method.sampler import frozen
from cg_augment.method.scoring import Score
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.method.views import Views
from cg_augment.study.mixture import Mixture
from cg_augment.use.schedules import read_schedule
from repro_shared.runtime.errors import UserError

SHARP = 1 / 0.3
ENGINES: dict[str, Any] = {
    "chain": Chain(rounds=4, learning_rate=0.2, enough=None),
    "stepwise": Stepwise(),
    "select": Select(4),
}


def task_of(
    world: Mixture, count: int, objective: Objective | None = None, steps: int = 10,
    dtype: torch.dtype = torch.float32, scheduler: Any = None, teacher: Any = None,
) -> Task:  # fmt: skip
    schedule = read_schedule(
        scheduler or diffusers.DDIMScheduler(timestep_spacing="trailing"), steps
    )
    labels = torch.arange(count) % 2
    score = Score(
        labels, teacher or (lambda x: world.logits(x, SHARP)), world.biased,
        objective or Objective("log"),
    )  # fmt: skip
    return Task(world.sampler(schedule, labels, dtype), score, Noise(tuple(range(count))))


def minority(world: Mixture, task: Task, found: Guided) -> float:
    return 1 - float(world.aligned(found.latents, task.score.labels).double().mean())


def test_every_engine_finds_the_minority_where_there_is_one() -> None:
    world = Mixture(share=0.95)
    task = task_of(world, 120)
    plain = Select(1)(task)
    assert minority(world, task, plain) < 0.12
    for engine in (Chain(rounds=8, learning_rate=0.2), Stepwise(), Select(16)):
        found = engine(task)
        assert minority(world, task, found) > 0.3, engine
        assert float(found.after.student.mean()) < 0.75
        assert float(found.after.teacher.mean()) > 0.95
        assert float(world.believable(found.latents, task.score.labels).double().mean()) > 0.8
        assert torch.allclose(found.before.value, plain.after.value, atol=1e-5)


def test_nothing_is_found_that_the_generator_never_saw() -> None:
    # Negative control: without the minority in the pool no engine makes it.
    world = Mixture(share=1.0)
    task = task_of(world, 60)
    for engine in (Chain(rounds=8, learning_rate=0.2), Stepwise(), Select(16)):
        assert minority(world, task, engine(task)) < 0.02, engine
    # A move of fixed size is not held by the generator: here the classifiers' gradient, which in
    # images has no reason to be so clean, leads to where the minority would be.
    pushed = Stepwise(scale=2.0, normalise=True)(task)
    assert minority(world, task, pushed) > 0.9


def test_a_move_is_as_long_as_the_gradient() -> None:
    # The paper's form vanishes where the student is sure; steps follow its logarithmic form, which
    # does not, and which is nothing for classifiers that see nothing.
    squares, log = Objective("pow"), Objective("log")
    world = Mixture(share=0.95)
    task = task_of(world, 80, squares)
    plain, found = Select(1)(task), Stepwise()(task)
    assert torch.equal(found.latents, Stepwise()(task_of(world, 80, log)).latents)
    t, f = found.after.teacher, found.after.student  # scored by the form that was asked for
    assert torch.allclose(found.after.value, t**2 + (1 - f) ** 2, atol=1e-5)
    own = Stepwise(follows="objective")(task)
    assert minority(world, task, own) < minority(world, task, found) - 0.3

    def far(one: Guided) -> float:
        return float((one.latents - plain.latents).norm(dim=1).mean())

    def believable(one: Guided) -> float:
        return float(world.believable(one.latents, task.score.labels).double().mean())

    blind = dataclasses.replace(
        task.score, teacher=lambda x: 1e-4 * world.logits(x, SHARP),
        student=lambda x: 1e-4 * world.biased(x),
    )  # fmt: skip
    useless = dataclasses.replace(task, score=blind)
    assert far(Stepwise()(useless)) < 0.01 < 1 < far(found)
    pushed = Stepwise(normalise=True)(useless)
    assert far(pushed) > 1
    assert believable(pushed) < 0.5 < 0.8 < believable(found)


def test_chain_keeps_one_latent_a_step_alive() -> None:
    # By the bytes of live tensors: the memory of a process has the allocator's habits in it.
    world, count = Mixture(share=0.9), 64
    wide = torch.randn(20, 2000, generator=torch.Generator().manual_seed(0)) / 20

    def peak(steps: int, checkpoints: bool) -> int:
        task = task_of(world, count, steps=steps)

        def network(x: Tensor, timestep: float, rows: Tensor) -> Tensor:
            return torch.tanh(x @ wide) @ wide.T

        task = dataclasses.replace(task, sampler=dataclasses.replace(task.sampler, network=network))
        latent = task.noise.start(task.rows, task.sampler.like)
        with torch.autograd.profiler.profile(use_kineto=True, profile_memory=True) as seen:
            Chain(scored=1, checkpoints=checkpoints).gradient(task, latent, task.rows)
        events = [e for e in seen.kineto_results.events() if e.name() == "[memory]"]
        alive = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
        return max(alive)

    one_latent, one_network = count * 20 * 4, count * 2000 * 4
    with_, without = ([peak(steps, way) for steps in (5, 10, 20)] for way in (True, False))
    for few, more, steps in ((0, 1, 5), (1, 2, 10)):
        assert 0.5 < (with_[more] - with_[few]) / steps / one_latent < 2
        assert (without[more] - without[few]) / steps > 0.9 * one_network


def test_chain_never_gets_worse_with_more_rounds() -> None:
    world = Mixture(share=0.97)
    task, values = task_of(world, 40, Objective("pow")), []
    for rounds in (0, 1, 3, 6):
        engine = Chain(rounds=rounds, learning_rate=0.2, enough=None)
        values.append(engine(task).after.value)
    for fewer, more in pairwise(values):
        assert (more >= fewer).all()
    assert (values[-1] > values[0]).double().mean() > 0.6
    assert torch.equal(values[0], Select(1)(task).after.value)


def test_chain_keeps_the_latents_length_unless_told() -> None:
    world = Mixture(share=0.9)
    task = task_of(world, 8)
    seen: list[Tensor] = []

    class Spy(Chain):
        def gradient(self, task: Task, latent: Tensor, *more: Any) -> tuple[Tensor, Tensor, Tensor]:
            seen.append(latent.norm(dim=1))
            return super().gradient(task, latent, *more)

    Spy(rounds=4, learning_rate=0.3, enough=None)(task)
    assert torch.allclose(seen[0], seen[-1], rtol=1e-5)
    seen.clear()
    Spy(rounds=4, learning_rate=0.3, enough=None, keep_norm=False)(task)
    assert not torch.allclose(seen[0], seen[-1], rtol=1e-2)


def test_a_round_of_chain_is_adam_of_torch() -> None:
    world = Mixture(share=0.9)
    task = task_of(world, 6, dtype=torch.float64)
    latent = task.noise.start(task.rows, task.sampler.like)
    weight = torch.nn.Parameter(latent.clone())
    adam, engine = torch.optim.Adam([weight], lr=0.05), Chain()
    for _ in range(3):
        weight.grad = -engine.gradient(task, weight.detach(), task.rows)[0]
        adam.step()
    found = Chain(rounds=3, learning_rate=0.05, keep_norm=False, enough=None)
    ends: list[Tensor] = []
    sampler = task.sampler

    def begin(noise: Tensor, rows: Tensor) -> Tensor:
        ends.append(noise.detach())
        return sampler.begin(noise, rows)

    spied = dataclasses.replace(sampler)
    object.__setattr__(spied, "begin", begin)
    found(dataclasses.replace(task, sampler=spied))
    assert torch.allclose(ends[-1], weight.detach(), atol=1e-10)


def test_samples_stop_when_both_confidences_are_reached() -> None:
    world = Mixture(share=0.5)
    task = task_of(world, 40)
    found = Chain(rounds=5, learning_rate=0.2)(task)
    at_once = (found.before.teacher > 0.9) & (found.before.student < 0.1)
    assert 0.2 < float(at_once.double().mean()) < 0.8
    assert (found.made[at_once] == 0).all()
    assert (found.made[~at_once] > 0).all()
    assert found.notes[int(at_once.nonzero()[0])] == "enough before round 1"
    assert torch.equal(found.after.value[at_once], found.before.value[at_once])
    assert not found.failed.any()
    # Of what the objective does not ask for nothing is awaited.
    alone = Chain(rounds=5, learning_rate=0.2)(task_of(world, 40, Objective("log", 2, "teacher")))
    assert (alone.made[alone.before.teacher > 0.9] == 0).all()


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("checkpoints", [True, False])
def test_passes_are_counted_as_the_arithmetic_says(jacobian: bool, checkpoints: bool) -> None:
    world, steps, calls = Mixture(), 5, [0]
    task = task_of(world, 2, steps=steps)

    def counted(x: Tensor, timestep: float, rows: Tensor) -> Tensor:
        calls[0] += 1
        return network(x, timestep, rows)

    network = task.sampler.network
    task = dataclasses.replace(task, sampler=dataclasses.replace(task.sampler, network=counted))

    def check(found: Guided, expected: cost.Passes, backward: bool = True) -> None:
        assert found.forward.tolist() == [expected.forward] * 2
        assert calls[0] == expected.forward
        assert found.decodes.tolist() == [expected.decodes] * 2
        assert found.backward.tolist() == [expected.backward if backward else 0] * 2
        calls[0] = 0

    check(Select(3)(task), cost.select(steps, 3))
    check(
        Stepwise(jacobian=jacobian, unguided=False)(task),
        cost.stepwise(steps, 3, jacobian=jacobian),
    )
    if jacobian:
        engine = Chain(rounds=2, scored=2, enough=None, checkpoints=checkpoints)
        check(engine(task), cost.chain(steps, 2, 2, checkpoints=checkpoints))


def test_the_jacobian_of_an_exact_denoiser_is_its_covariance() -> None:
    # What `stepwise` says of itself: alpha / sigma^2 Cov(x0 | x), so that x0 moves by Cov times
    # the gradient at x0. The covariance here is that of the mixture, added up by hand.
    world = Mixture(share=0.7, dimensions=6)
    alpha, sigma = 0.6, 0.8
    x, label = torch.randn(1, 6, dtype=torch.float64), torch.tensor([1])
    jacobian = torch.autograd.functional.jacobian(
        lambda v: world.denoise(v[None], alpha, sigma, label)[0], x[0]
    )
    means, classes, _ = world.clusters
    means, weights = means[classes == 1], world.weights(0.7)[classes == 1]
    spread = alpha**2 * world.within**2 + sigma**2
    rest = x - alpha * means
    chance = (weights.log() - rest.square().sum(1) / (2 * spread)).softmax(0)
    inner = means + alpha * world.within**2 / spread * rest
    mean = (chance[:, None] * inner).sum(0)
    apart = inner - mean
    covariance = torch.einsum("k,ki,kj->ij", chance, apart, apart)
    covariance += world.within**2 * sigma**2 / spread * torch.eye(6, dtype=torch.float64)
    assert torch.allclose(jacobian, alpha / sigma**2 * covariance, atol=1e-10)


class Poison(torch.autograd.Function):
    """The identity, with a NaN in the gradient of the marked samples."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, marked: Tensor) -> Tensor:
        ctx.save_for_backward(marked)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (marked,) = ctx.saved_tensors
        return torch.where(marked[:, None], torch.nan, gradient), None


def poisoned(world: Mixture, count: int) -> Task:
    """A task in which the second sample's gradient is NaN, in every engine."""
    task = task_of(world, count, dtype=torch.float64)
    decode = task.sampler.decode
    rows_now: list[Tensor] = []

    def network(x: Tensor, timestep: float, rows: Tensor) -> Tensor:
        rows_now[:] = [rows]
        return task.sampler.network(x, timestep, rows)

    def poison(x: Tensor) -> Tensor:
        return decode(Poison.apply(x, rows_now[0] == 1))

    own = dataclasses.replace(task.sampler, network=network, decode=poison)
    return dataclasses.replace(task, sampler=own)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (Chain(rounds=3, learning_rate=0.1, enough=None), "not finite: round 1"),
        (Stepwise(), "not finite: step 5 of 10"),
        (Stepwise(jacobian=False), "not finite: step 5 of 10"),
    ],
)
def test_a_gradient_that_is_no_number_stops_its_sample_alone(engine: Any, said: str) -> None:
    world = Mixture(share=0.9)
    found, whole = engine(poisoned(world, 4)), engine(task_of(world, 4, dtype=torch.float64))
    assert found.failed.tolist() == [False, True, False, False]
    assert found.notes == ["", said, "", ""]
    others = [0, 2, 3]
    assert torch.allclose(found.latents[others], whole.latents[others], atol=1e-12)
    if isinstance(engine, Chain):  # what was finite before is kept
        assert torch.equal(found.latents[1], Select(1)(poisoned(world, 4)).latents[1])
    else:
        assert found.latents[1].isnan().all()
        assert found.after.value[1].isnan()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_decoder_that_gives_no_number_fails_that_image_alone(engine: str) -> None:
    world = Mixture(share=0.9)
    task = task_of(world, 4)

    def decode(x: Tensor) -> Tensor:  # the third image; its gradient is 0, which is a number
        return torch.where((rows_now[0] == 2)[:, None], torch.nan, x)

    rows_now: list[Tensor] = []

    def network(x: Tensor, timestep: float, rows: Tensor) -> Tensor:
        rows_now[:] = [rows]
        return task.sampler.network(x, timestep, rows)

    broken = dataclasses.replace(task.sampler, decode=decode, network=network)
    found = ENGINES[engine](dataclasses.replace(task, sampler=broken))
    assert found.failed.tolist() == [False, False, True, False]
    assert "not finite" in found.notes[2]
    assert found.after.value[[0, 1, 3]].isfinite().all()
    assert found.latents[2].isnan().all()


def test_all_samples_may_fail() -> None:
    task = task_of(Mixture(), 3, teacher=lambda x: torch.full((len(x), 2), torch.nan) * x[:, :2])
    for engine in ENGINES.values():
        found = engine(task)
        assert found.failed.all()
        assert all(found.notes)


def test_no_gradient_is_ever_mended() -> None:
    source = Path(cg_augment.__file__).parent
    assert not [path for path in source.rglob("*.py") if "nan_to_num" in path.read_text()]
    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0], [torch.nan, 1.0], [1e-40, 0.0]])
    made = unit(gradient)
    assert made[0].tolist() == pytest.approx([3 / 12.5**0.5, 4 / 12.5**0.5])
    assert made[1].tolist() == [0, 0]
    assert made[3].tolist() == pytest.approx([2**0.5, 0])
    assert finite(made, gradient[:, 0]).tolist() == [True, True, False, True]


def test_candidates_stop_where_one_is_good_enough() -> None:
    world = Mixture(share=0.8)
    task = task_of(world, 60)
    best, first = Select(12)(task), Select(12, enough=-1.0)(task)
    reached = best.after.value >= -1.0
    assert reached.double().mean() > 0.5
    assert torch.equal(reached, first.after.value >= -1.0)
    assert first.forward.double().mean() < best.forward.double().mean()
    assert (first.after.value[reached] <= best.after.value[reached]).all()
    assert (first.after.value[reached] < best.after.value[reached]).any()
    assert torch.equal(first.after.value[~reached], best.after.value[~reached])


def test_a_candidate_that_failed_leaves_no_note_on_an_image_that_was_made() -> None:
    task = task_of(Mixture(share=0.9), 3)
    passes: list[int] = []

    def decode(x: Tensor) -> Tensor:  # of the second image the first candidate, of the third all
        passes.append(len(passes))
        bad = torch.tensor([False, passes[-1] == 0, True])
        return torch.where(bad[:, None], torch.nan, x)

    broken = dataclasses.replace(task.sampler, decode=decode)
    found = Select(3)(dataclasses.replace(task, sampler=broken))
    assert found.failed.tolist() == [False, False, True]
    assert found.notes == ["", "", "not finite: candidate 3"]


def test_the_last_round_stops_nobody_early() -> None:
    task = task_of(Mixture(share=0.5), 40)
    found = Chain(rounds=2, learning_rate=0.2, enough=(0.9, 0.1))(task)
    early = torch.tensor([bool(note) for note in found.notes])
    assert (found.made[early] < 2).all()
    assert (found.made[~early] == 2).all()
    ended = (found.after.teacher > 0.9) & (found.after.student < 0.1)
    assert (ended & ~early).any()  # some get there at the end


def schedulers() -> list[Callable[[], Any]]:
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return [
        lambda: diffusers.DDPMScheduler(),
        lambda: diffusers.EulerDiscreteScheduler(),
        lambda: diffusers.EulerAncestralDiscreteScheduler(),
        lambda: diffusers.DPMSolverMultistepScheduler(),
        lambda: diffusers.FlowMatchEulerDiscreteScheduler(),
        lambda: diffusers.DDIMScheduler(**zero, prediction_type="v_prediction"),
        lambda: diffusers.DDIMScheduler(prediction_type="sample"),
    ]


@pytest.mark.parametrize("make", schedulers())
def test_engines_work_with_every_sampler(make: Callable[[], Any]) -> None:
    world = Mixture(share=0.9)
    task = task_of(world, 100, steps=25, scheduler=make())
    plain = Select(1)(task)
    assert world.believable(plain.latents, task.score.labels).double().mean() > 0.5
    assert 0 <= minority(world, task, plain) < 0.25
    # Where every step adds noise, the initial latent that `chain` moves decides little.
    noisy = all(step.fresh for step in task.sampler.schedule.steps[:-1])
    for engine in (Chain(rounds=3, learning_rate=0.3), Stepwise(share=1.0)):
        found = engine(task)
        assert not found.failed.any()
        gain = found.after.value.mean() - plain.after.value.mean()
        assert gain > (0.1 if noisy and isinstance(engine, Chain) else 2)


def test_settings_that_cannot_be_are_refused() -> None:
    for make, said in (
        (lambda: Chain(rounds=-1), "chain needs rounds >= 0"),
        (lambda: Chain(learning_rate=0), "a learning rate above 0"),
        (lambda: Stepwise(share=0), "stepwise needs a share"),
        (lambda: Stepwise(follows="pow"), "follows logarithm or objective"),  # type: ignore[arg-type]
        (lambda: Select(0), "at least one candidate"),
        (lambda: Views(smallest=0), "impossible views"),
        (lambda: task_of(Mixture(), 0), "no image is asked for"),
    ):
        with pytest.raises(UserError, match=said):
            make()
    task = task_of(Mixture(), 2)
    with pytest.raises(UserError, match="3 seeds for 2 labels"):
        dataclasses.replace(task, noise=Noise((1, 2, 3)))
    with pytest.raises(UserError, match="views are of images"):
        Stepwise(views=Views(2))(task)


def test_modules_are_frozen_inside_and_as_before_outside() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    net[0].bias.requires_grad_(False)
    net[1].eval()
    with frozen(net, None, lambda x: x):
        assert not any(part.training for part in net.modules())
        assert not any(weight.requires_grad for weight in net.parameters())
    assert [part.training for part in net.modules()] == [True, True, False]
    assert [weight.requires_grad for weight in net.parameters()] == [True, False]
