"""What `clip-distill bench` times: training steps of one student in four kinds of loop."""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from clip_distill.method.objective import Batch, Objective
from clip_distill.study.worlds import Shown
from clip_distill.use.cache import Cache
from clip_distill.use.lessons import Lessons, collate
from clip_distill.use.quiet import quiet
from clip_distill.use.steps import Drawn, Stepper, Training, optimiser_of
from clip_distill.use.students import Student, make_backbone
from clip_distill.use.teachers import Teacher, encode_pixels
from repro_shared.runtime.errors import UserError

LABELS, CACHED, ONLINE = "labels alone", "cached teacher", "online teacher"
OPEN_CLIP = "open_clip --distill"
LAST_TOKEN = 49407  # of CLIP's vocabulary; open_clip reads a text where its largest token is


def pictures(count: int, size: int) -> Shown:
    """Drawn pictures, a little larger than what networks see of them."""
    side = size + size // 7
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return Shown("drawn pictures", pixels)


def teacher_of(model: str) -> Teacher:
    """A teacher of open_clip with random weights.

    Raises:
        UserError: open_clip has no such model.
    """
    import open_clip

    from clip_distill.use import open_clip_teachers

    if open_clip.get_model_config(model) is None:
        raise UserError(f"--teachers: open_clip has no model {model!r}")
    with quiet():
        network = open_clip.create_model(model, load_weights=False)
    return open_clip_teachers.of_model(model, network, open_clip.tokenizer.SimpleTokenizer())


def lessons_of(shown: Shown, cache: Cache) -> Lessons:
    """Pictures with the features and the decoded views of a cache."""
    return Lessons(shown, cache.views, cache.preprocessing, cache.features, cache.pixels)


class Online(Lessons):
    """Lessons whose teacher is asked in each step."""

    teacher: Teacher

    def batch(self, student: Tensor, samples: NDArray[np.int64], views: NDArray[np.int64]) -> Batch:
        """As the cached ones, with the features made here."""
        found = super().batch(student, samples, views)
        assert self.pixels is not None  # `lessons_of` gives them
        features = encode_pixels(self.teacher, self.pixels[samples, views], len(samples))
        return replace(found, teacher=torch.from_numpy(features).to(student.device))


def online(lessons: Lessons, teacher: Teacher) -> Online:
    """The same lessons with the teacher in every step."""
    made = Online(lessons.pictures, lessons.views, lessons.prepared, None, lessons.pixels)
    made.teacher = teacher
    return made


def draws(lessons: Lessons, batch: int) -> Iterator[Drawn]:
    """Batches without end, all pictures in turn."""
    places = itertools.count()
    while True:
        drawn = [next(places) for _ in range(batch)]
        yield collate([lessons[place, place % len(lessons)] for place in drawn])


def our_step(student: Student, lessons: Lessons, batch: int, rate: float) -> Callable[[], None]:
    """A step of this package's loop, with the loss that the paper recommends."""
    stepper = Stepper.of(student, lessons, Objective("l2"), Training(learning_rate=rate))
    batches, numbers = draws(lessons, batch), itertools.count()

    def step() -> None:
        stepper.step(next(batches), rate, next(numbers))

    return step


def labels_step(
    backbone: str, classes: int, lessons: Lessons, batch: int, rate: float
) -> Callable[[], None]:
    """A step of plain supervised training of the same network, on the same images."""
    body = make_backbone(backbone, lessons.prepared.size)
    network = nn.Sequential(body, nn.Linear(int(body.head_hidden_size), classes)).train()
    optimiser = optimiser_of(network, Training(learning_rate=rate))
    batches = draws(lessons, batch)

    def step() -> None:
        pixels, samples, _ = next(batches)
        labels = torch.from_numpy(samples % classes)
        loss = F.cross_entropy(network(lessons.prepared.normalise(pixels)), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


class _One:
    """A single batch in the form in which open_clip's loop takes its data."""

    num_batches, num_samples = 1, 1

    def __init__(self, lessons: Lessons, batches: Iterator[Drawn], texts: Tensor) -> None:
        self.lessons, self.batches, self.texts = lessons, batches, texts

    @property
    def dataloader(self) -> _One:
        """Itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Nothing depends on it."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.lessons.prepared.normalise(next(self.batches)[0]), self.texts


def open_clip_step(
    backbone: str, model: str, teacher: Teacher, lessons: Lessons, batch: int, rate: float
) -> Callable[[], None]:
    """A step of open_clip's own training function with `--distill-model`.

    Its student is the same backbone with a text tower as large as the teacher's, since that loop
    trains both towers and asks both of the teacher's.
    """
    import open_clip
    from open_clip_train.train import train_one_epoch

    form: dict[str, Any] = dict(open_clip.get_model_config(model) or {})
    vision = {"timm_model_name": backbone, "timm_model_pretrained": False, "timm_pool": "",
              "timm_proj": "linear", "image_size": lessons.prepared.size}  # fmt: skip
    student = open_clip.CustomTextCLIP(
        form["embed_dim"], vision, form["text_cfg"], output_dict=True
    )
    network: Any = teacher.network
    network.output_dict = True  # what `create_model(..., output_dict=True)` sets
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, rate, (0.9, 0.98), 1e-6)
    loss = open_clip.loss.DistillClipLoss()
    texts = torch.randint(1, LAST_TOKEN - 1, (batch, form["text_cfg"]["context_length"]))
    texts[:, -1] = LAST_TOKEN
    data = {"train": _One(lessons, draws(lessons, batch), texts)}
    flags = Namespace(
        device="cpu", precision="fp32", distill=True, accum_freq=1, skip_scheduler=True,
        grad_clip_norm=None, rank=1, horovod=False, wandb=False,
    )  # fmt: skip

    def step() -> None:
        train_one_epoch(student, data, loss, 0, optimiser, None, None, network, flags)

    return step
