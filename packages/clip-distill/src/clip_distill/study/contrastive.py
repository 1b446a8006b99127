"""Training of the CLIP-style teacher on pictures and captions: CLIP's loss, both towers at once.

Students never pass through here; their loop is `clip_distill.train`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from clip_distill.study.caption_teacher import PREPARED, CaptionTeacher, TwoTowers
from clip_distill.study.captioned import OpenedCaptions
from clip_distill.study.captions import WordTokenizer
from clip_distill.use.steps import adamw, resumed, save_progress
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.errors import DivergedError
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed, isolated_rng
from repro_shared.runtime.weights import save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

LARGEST_SCALE = 100.0  # of the logits, as in CLIP
CHECKPOINT_SECONDS = 60.0
WEIGHTS = "teacher.safetensors"


@dataclass(frozen=True)
class Contrast:
    """How long and how the teacher is trained.

    Attributes:
        steps: optimiser steps.
        batch_size: pairs, each the others' negatives.
        learning_rate: of AdamW with betas (0.9, 0.98); rises for `warmup` steps, then falls to 0.
        weight_decay: of matrices and filters.
        warmup: steps.
    """

    steps: int
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup: int = 50

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        passed = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))


def contrast(
    network: CaptionTeacher, pixels: Tensor, tokens: Tensor, config: Contrast, seed: int,
    store: CheckpointStore, identity: str, label: str,
) -> tuple[float, list[float]]:  # fmt: skip
    """Train in place; a killed run goes on to the same weights on the CPU.

    Args:
        network: initialised by the caller.
        pixels: uint8 (n, s, s, 3).
        tokens: (captions, n, CONTEXT), several captions of each picture.
        config: how.
        seed: of order and captions.
        store: where checkpoints lie.
        identity: what must be equal for one to be resumed.
        label: for the progress line.

    Returns:
        Seconds inside steps, and the loss of each.

    Raises:
        DivergedError: a loss that is not finite.
        UserError: the checkpoint is of another run.
    """
    from open_clip.loss import ClipLoss

    loss_of = ClipLoss()
    optimiser = adamw(network, config.learning_rate, config.weight_decay)
    done, seconds, losses = resumed(store, network, optimiser, identity)
    network.train()
    last_save, size = time.perf_counter(), config.batch_size
    with Progress(config.steps, label, done) as progress:
        while done < config.steps:
            began = time.perf_counter()
            chosen, said = _batch(len(pixels), len(tokens), size, seed, done)
            for group in optimiser.param_groups:
                group["lr"] = config.rate(done)
            image = network.encode_image(PREPARED.normalise(pixels[chosen]))
            text = network.encode_text(tokens[said, chosen])
            scale = network.logit_scale.exp().clamp(max=LARGEST_SCALE)
            loss = loss_of(functional.normalize(image), functional.normalize(text), scale)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise DivergedError(f"the loss is {value:g} at step {done + 1}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            done += 1
            losses.append(value)
            seconds += time.perf_counter() - began
            progress.update(done, loss=value)
            if done < config.steps and began - last_save > CHECKPOINT_SECONDS:
                last_save = began
                save_progress(store, done, network, optimiser, identity, seconds, losses)
    return seconds, losses


def _batch(count: int, captions: int, size: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Pictures of a step, each once an epoch, and which of its captions each has."""
    each = count // size
    order = torch.Generator().manual_seed(derive_seed(seed, "order", step // each))
    place = step % each * size
    chosen = torch.randperm(count, generator=order)[place : place + size]
    said = torch.Generator().manual_seed(derive_seed(seed, "said", step))
    return chosen, torch.randint(captions, (size,), generator=said)


@dataclass(frozen=True)
class TrainTeacher:
    """The training of the CLIP-style teacher."""

    training: Contrast
    network: TwoTowers = field(default_factory=TwoTowers)

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps

    @property
    def equations(self) -> tuple[Any, ...]:
        """The loop, which calls open_clip's loss."""
        return (contrast,)


@steps_through(contrast)
def train_teacher(config: TrainTeacher, ctx: Context) -> Outcome:
    """Train it; its weights are rounded to float16, and left for others."""
    opened: OpenedCaptions = ctx.data
    pictures, said = opened.source.pictures()
    tokenizer = WordTokenizer()
    tokens = torch.stack([tokenizer(texts) for texts in said])
    with isolated_rng(derive_seed(ctx.seed, "weights")):
        network = CaptionTeacher(config.network)
    seconds, losses = contrast(
        network, torch.from_numpy(pictures.pixels), tokens, config.training, ctx.seed,
        CheckpointStore(ctx.folder / "checkpoints"), ctx.key, ctx.label,
    )  # fmt: skip
    digest = save_weights(network, ctx.folder / WEIGHTS, half=True)
    temperature = float((-network.logit_scale.detach()).exp())
    last = losses[-max(1, len(losses) // 20) :]
    return Outcome(
        {"loss": sum(last) / len(last), "temperature": temperature},
        seconds, len(losses) * config.training.batch_size, notes=f"weights sha256 {digest}",
    )  # fmt: skip
