"""What every engine is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from cg_augment.method.noise import Noise
from cg_augment.method.sampler import Sampler
from cg_augment.method.scoring import Score, Scored
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Task:
    """Images to make.

    Attributes:
        sampler: how, with the conditions of all of them.
        score: what they shall be.
        noise: their seeds.
    """

    sampler: Sampler
    score: Score
    noise: Noise

    def __post_init__(self) -> None:
        if len(self.noise) != len(self.score.labels):
            raise UserError(f"{len(self.noise)} seeds for {len(self.score.labels)} labels")
        if not len(self.noise):
            raise UserError("no image is asked for")

    @property
    def rows(self) -> Tensor:
        """Places of all images."""
        return torch.arange(len(self.noise))

    def final(self, latents: Tensor, rows: Tensor) -> tuple[Tensor, Scored]:
        """Images of latents, decoded in full and clipped to 0 to 1, and what they score."""
        with torch.no_grad():
            images = self.sampler.decode(latents)
            images = images.clamp(0, 1) if images.ndim == 4 else images
            return images, self.score(images, rows)


@dataclass
class Guided:
    """Images (n) and what became of each.

    Attributes:
        latents: (n, ...); NaN where nothing finite was found.
        after, before: what guided images score, and the same seeds' without guidance; where that
            was not asked for, `before` is NaN.
        forward, backward: passes of the network, int64 (n,).
        decodes: passes of a decoder with both classifiers.
        made: steps or rounds that were really guided.
        notes: why a sample stopped, "" for those that did not.
        failed: samples with something that is not finite, bool (n,).
        images: (n, 3, h, w), 0 to 1.
    """

    latents: Tensor
    after: Scored
    before: Scored
    forward: Tensor
    backward: Tensor
    decodes: Tensor
    made: Tensor
    notes: list[str]
    failed: Tensor
    images: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def empty(cls, task: Task) -> Guided:
        """Before anything was made."""
        count, like = len(task.noise), task.sampler.like

        def zeros() -> Tensor:
            return torch.zeros(count, dtype=torch.int64)

        return cls(
            torch.full((count, *like.shape[1:]), torch.nan, device=like.device, dtype=like.dtype),
            after=Scored.nothing(count),
            before=Scored.nothing(count),
            forward=zeros(),
            backward=zeros(),
            decodes=zeros(),
            made=zeros(),
            notes=[""] * count,
            failed=torch.zeros(count, dtype=torch.bool),
        )

    @classmethod
    def joined(cls, parts: Sequence[Guided]) -> Guided:
        """Several batches as one."""
        if len(parts) == 1:
            return parts[0]
        whole = {
            name: torch.cat([getattr(part, name) for part in parts])
            for name in ("latents", "forward", "backward", "decodes", "made", "failed")
        }
        shape = next((part.images.shape[1:] for part in parts if part.images.numel()), None)
        images = [
            part.images
            if part.images.numel() or shape is None
            else torch.full((len(part.notes), *shape), torch.nan)
            for part in parts
        ]
        return cls(
            after=Scored(*map(torch.cat, zip(*(part.after for part in parts), strict=True))),
            before=Scored(*map(torch.cat, zip(*(part.before for part in parts), strict=True))),
            notes=[note for part in parts for note in part.notes],
            images=torch.cat(images),
            **whole,
        )

    def fail(self, rows: Tensor, fine: Tensor, where: str) -> Tensor:
        """Name the samples among `rows` that are not fine; returns the places of those that are."""
        fine = fine.cpu()
        for row in rows[~fine].tolist():
            self.failed[row], self.notes[row] = True, f"not finite: {where}"
        return fine.nonzero()[:, 0]

    def put_images(self, rows: Tensor, images: Tensor) -> None:
        """Keep images of these rows."""
        if not self.images.numel():
            self.images = torch.full(
                (len(self.notes), *images.shape[1:]), torch.nan, dtype=images.dtype
            )
        self.images[rows] = images.detach().cpu()


class Engine(Protocol):
    """A way of guiding: `Chain`, `Stepwise` or `Select`."""

    def __call__(self, task: Task) -> Guided:
        """Make the images."""
        ...
