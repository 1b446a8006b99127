"""From items to what an engine is given: sampler, score and noise, from one set of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cg_augment.method.guided import Task
from cg_augment.method.noise import Noise
from cg_augment.method.objectives import Objective
from cg_augment.method.scoring import Score
from cg_augment.use.classifiers import Classifier
from cg_augment.use.generating.items import Item
from cg_augment.use.generating.loading import Loaded
from cg_augment.use.generating.pixel_models import scaled
from cg_augment.use.lessons import sized, tensor
from cg_augment.use.pictures import Files, check_files, of_folder
from cg_augment.use.pipelines import Sampling, sampler_of
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Tasks:
    """Makes the task of any items.

    Attributes:
        loaded: the diffusion model.
        sampling: how it is sampled.
        teacher, student: classifiers of the same classes.
        objective: of both.
        seed: of the set.
        classes: names.
        kinds: the diffusion model's number of each class; read where it knows classes.
        start: class folders of images to begin from; None for noise alone.
    """

    loaded: Loaded
    sampling: Sampling
    teacher: Classifier | None
    student: Classifier | None
    objective: Objective
    seed: int
    classes: tuple[str, ...]
    kinds: Sequence[int]
    start: str | None = None

    def check(self, named: int) -> None:
        """UserError for a diffusion model of other classes, or images that cannot be begun from.

        Args:
            named: classes of the diffusion model that have a name.
        """
        if isinstance(self.loaded.source, tuple):
            unet = self.loaded.source[0]
            known = getattr(getattr(unet, "class_embedding", None), "num_embeddings", None)
            if known is not None and known != named:
                raise UserError(
                    f"classes differ: {self.loaded.name} knows {known} classes, and {named} have a "
                    "name; give --diffusion-classes with all of its classes in order"
                )
        if self._pictures is not None:
            check_files([self._pictures])

    @cached_property
    def _pictures(self) -> Files | None:
        return None if self.start is None else of_folder(self.start, None, self.classes)

    @property
    def fingerprint(self) -> str:
        """Of the images to begin from."""
        return "" if self._pictures is None else self._pictures.fingerprint()

    def of(self, items: Sequence[Item]) -> Task:
        """The task of some items."""
        labels = [item.label for item in items]
        own = isinstance(self.loaded.source, tuple)
        how = replace(self.sampling, size=None) if self._is_own_size(own) else self.sampling
        sampler = sampler_of(
            self.loaded.source, [self.kinds[label] for label in labels],
            None if own else [item.prompt for item in items], how, self._begin(items),
            self.loaded.preview, self.loaded.decode,
        )  # fmt: skip
        score = Score(torch.tensor(labels), self.teacher, self.student, self.objective)
        return Task(sampler, score, Noise(tuple(item.seed(self.seed) for item in items)))

    def _is_own_size(self, own: bool) -> bool:
        """Pixel models are asked for what they have in latents, which may be unshuffled."""
        if not own:
            return False
        assert self.sampling.size is not None
        if self.sampling.size[0] != self.loaded.side:
            raise UserError(
                f"--size {self.sampling.size[0]}: the diffusion model {self.loaded.name} makes "
                f"images of {self.loaded.side} x {self.loaded.side} pixels and no others"
            )
        return True

    def _begin(self, items: Sequence[Item]) -> Tensor | None:
        """Images (n, 3, side, side) to begin from: image k of a class from picture k of it."""
        if self._pictures is None:
            return None
        assert self.sampling.size is not None
        rows = list[Tensor]()
        for item in items:
            places = np.flatnonzero(self._pictures.targets == item.label)
            picture = self._pictures.read(int(places[item.number % len(places)]))
            rows.append(tensor(sized(picture, self.sampling.size[0])))
        images = torch.stack(rows)
        if not isinstance(self.loaded.source, tuple):
            return images
        unet = self.loaded.source[0]
        factor = self.loaded.side // int(unet.config.sample_size)
        if int(unet.config.in_channels) == 1:
            return scaled(images.mean(dim=1, keepdim=True), self.loaded.scale)
        images = F.pixel_unshuffle(images, factor) if factor > 1 else images
        return scaled(images, self.loaded.scale)
