"""Small diffusion models of 32-pixel pictures: trained on a world's pool, with classes alone.

A UNet2DModel of diffusers on 16 x 16 x 12: pixel-unshuffled pictures, twice as large as -1 to 1 so
that they have about unit variance. It predicts v (arXiv 2202.00512) under the cosine schedule; its
averaged weights come along as float16, with the record of their training beside them.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cg_augment.method.schedule import clean
from cg_augment.use.pictures import Arrays
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed, isolated_rng
from repro_shared.runtime.weights import save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

WEIGHTS = "generator.safetensors"
FOLD, SCALE = 2, 2.0  # pixels of a side that become channels; latents are SCALE * (-1 to 1)
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Network:
    """How large the diffusion model is.

    Attributes:
        classes: that it is conditioned on.
        channels: of each level, each half as fine as the one before.
        size: of pictures, in pixels.
    """

    classes: int
    channels: tuple[int, ...]  # no default: a key leaves out what is at its default
    size: int

    def make(self) -> Any:
        """The network, with torch's random weights."""
        from diffusers import UNet2DModel

        levels, pixels = len(self.channels), 3 * FOLD**2
        return UNet2DModel(
            sample_size=self.size // FOLD, in_channels=pixels, out_channels=pixels,
            layers_per_block=1, block_out_channels=self.channels,
            down_block_types=("DownBlock2D",) * levels, up_block_types=("UpBlock2D",) * levels,
            add_attention=False, norm_num_groups=8, num_class_embeds=self.classes,
        )  # fmt: skip


@dataclass(frozen=True)
class TrainGenerator:
    """One training.

    Attributes:
        steps: optimiser steps.
        network: which.
        batch_size: pictures a step.
        learning_rate: of AdamW; rises for `warmup` steps, then falls to 0 as a cosine.
        warmup: steps.
        average: of the weights that are kept: how much of the average stays at each step.
        amp: bfloat16 autocast, which processors with bfloat16 units do 1.5 times as fast.
    """

    steps: int
    network: Network
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    warmup: int = 50
    average: float = 0.995
    amp: bool = True

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """How x0 follows from what the network is trained to give."""
        return (clean,)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        passed = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))


def scheduler() -> Any:
    """The levels of noise, in training and in sampling."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False,
        timestep_spacing="trailing",
    )  # fmt: skip


def folded(images: Tensor) -> Tensor:
    """Images (n, 3, h, w), 0 to 1, as latents (n, 12, h / 2, w / 2)."""
    return F.pixel_unshuffle(SCALE * (2 * images - 1), FOLD)


def unfolded(latents: Tensor) -> Tensor:
    """Latents as images of about 0 to 1: `folded` turned round."""
    return F.pixel_shuffle(latents, FOLD) / (2 * SCALE) + 0.5


def train(
    network: Any, pictures: Arrays, config: TrainGenerator, seed: int,
    store: CheckpointStore | None = None, identity: str = "", label: str = "diffusion model",
    device: str = "cpu",
) -> tuple[Any, list[float], float]:  # fmt: skip
    """Minimise the mean squared error of v; a killed run goes on to the same weights on the CPU.

    Args:
        network: initialised by the caller; trained in place.
        pictures: with their classes.
        config: how.
        seed: of order, levels and noise.
        store: where checkpoints lie; None keeps none.
        identity: what must be equal for one to be resumed.
        label: for the progress line.
        device: cpu or cuda; what is drawn from the seed is the same on both.

    Returns:
        The network with averaged weights, the loss of each step, and seconds inside steps.

    Raises:
        DivergedError: a loss that is not finite.
        UserError: the checkpoint is of another run.
    """
    network = network.to(device)
    averaged = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=0.01)
    levels = scheduler().alphas_cumprod
    done, seconds, losses = 0, 0.0, list[float]()
    if store is not None and (saved := store.load_latest()) is not None:
        done, state = saved
        if state["identity"] != identity:
            raise UserError(f"{store.directory} holds another run: give another --out")
        for own, name in ((network, "network"), (averaged, "averaged"), (optimiser, "optimiser")):
            own.load_state_dict(state[name])
        seconds, losses = state["seconds"], list(state["losses"])
    last_save = time.perf_counter()
    with Progress(config.steps, label, done) as progress:
        while done < config.steps:
            began = time.perf_counter()
            for group in optimiser.param_groups:
                group["lr"] = config.rate(done)
            loss = _loss(
                network, pictures, config, levels, derive_seed(seed, "step", done), device
            )  # fmt: skip
            value = float(loss.detach())
            if not math.isfinite(value):
                raise DivergedError(f"the loss is {value:g} at step {done + 1}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            done += 1
            # Young averages forget faster, or they would keep the first random weights.
            keep = min(config.average, (1 + done) / (10 + done))
            with torch.no_grad():
                for mine, new in zip(averaged.parameters(), network.parameters(), strict=True):
                    mine.lerp_(new, 1 - keep)
            losses.append(value)
            seconds += time.perf_counter() - began
            progress.update(done, loss=value)
            if store is not None and began - last_save > CHECKPOINT_SECONDS:
                last_save = began
                store.save(done, {
                    "identity": identity, "seconds": seconds, "losses": losses,
                    "network": network.state_dict(), "averaged": averaged.state_dict(),
                    "optimiser": optimiser.state_dict(),
                })  # fmt: skip
    return averaged.eval(), losses, seconds


def _loss(
    network: Any, pictures: Arrays, config: TrainGenerator, levels: Tensor, seed: int, device: str
) -> Tensor:
    """Of one step: pictures, levels and noise are drawn from its seed."""
    g, count = torch.Generator().manual_seed(seed), config.batch_size
    chosen = torch.randint(len(pictures), (count,), generator=g)
    pixels = torch.from_numpy(pictures.pixels[chosen.numpy()]).permute(0, 3, 1, 2)
    x0, labels = folded(pixels.float() / 255), torch.from_numpy(pictures.targets)[chosen]
    # One level in each of as many equal parts of the schedule, so that batches are alike.
    place = (torch.arange(count) + torch.rand(count, generator=g)) / count
    times = (place * len(levels)).long()
    alpha = levels[times].sqrt()[:, None, None, None]
    sigma = (1 - levels[times]).sqrt()[:, None, None, None]
    noise = torch.randn(x0.shape, generator=g)
    x, target = alpha * x0 + sigma * noise, alpha * noise - sigma * x0
    with torch.autocast(device, torch.bfloat16, enabled=config.amp):
        found = network(
            x.to(device), times.to(device), class_labels=labels.to(device), return_dict=False
        )
    return F.mse_loss(found[0].float(), target.to(device))


@steps_through(train)
def train_generator(config: TrainGenerator, ctx: Context) -> Outcome:
    """Train one on a pool; its averaged weights, rounded to float16, are left for others."""
    with isolated_rng(derive_seed(ctx.seed, "weights")):
        network = config.network.make()
    store = CheckpointStore(ctx.folder / "checkpoints")
    made, losses, seconds = train(
        network, ctx.data.pictures, config, ctx.seed, store, ctx.key, ctx.label, ctx.device
    )
    digest = save_weights(made.cpu(), ctx.folder / WEIGHTS, half=True)
    last = losses[-max(1, len(losses) // 20) :]
    return Outcome(
        {"loss": sum(last) / len(last)}, seconds, len(losses) * config.batch_size,
        notes=f"weights sha256 {digest}",
    )  # fmt: skip
