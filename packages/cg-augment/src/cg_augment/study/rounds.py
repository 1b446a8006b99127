"""The method's outer loop: a biased student, images from it, further training on the union.

Every row runs through it with the same phases, so that all of them make the same number of steps
under the same learning rates; a row without a generator trains on. No group label comes in here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cg_augment.rivals.balancing import balanced, guessed_groups
from cg_augment.rivals.generating import Generator
from cg_augment.study.making import Ledger, Wanted, make_images
from cg_augment.train import Trained, check_classes, fit
from cg_augment.use.classifiers import Classifier
from cg_augment.use.distillation import Distillation
from cg_augment.use.pictures import Arrays, Chosen, Pictures, Union
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.checks import require
from repro_shared.runtime.distributed import from_first
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed


@dataclass(frozen=True)
class Plan:
    """Phases of a row.

    Attributes:
        first: distillation of the student that images are made for.
        then: distillation that follows in each round.
        rounds: how many follow; 0 ends with the first student.
        per_class: images of each class that are generated in each round.
        keep: least confidence of the teacher in an image's class; images below are set apart.
        batch: images of one call of the generator.
        start: side of the training images that generation begins with; 0 for noise alone.
    """

    first: Distillation
    then: Distillation
    rounds: int = 1
    per_class: int = 0
    keep: float = 0.0
    batch: int = 64
    start: int = 0

    def __post_init__(self) -> None:
        require(self.rounds >= 0, "--rounds", "0 or more", self.rounds)
        require(self.per_class >= 0, "--per-class", "0 or more", self.per_class)
        require(0 <= self.keep < 1, "--keep", "0 or more and below 1", self.keep)
        require(self.batch >= 1, "--batch", "at least 1", self.batch)

    @property
    def wanted(self) -> Wanted:
        """Of the generator in each round."""
        return Wanted(self.per_class, self.keep, self.batch, self.start)

    @property
    def steps(self) -> int:
        """Of the student in all phases."""
        return self.first.steps + self.rounds * self.then.steps


@dataclass
class Distilled:
    """A finished row.

    Attributes:
        student: in evaluation mode.
        phases: trainings of the student in order.
        generated: images of all rounds; None without any.
        ledgers: of each round.
        helper_steps, helper_seconds: of another student that the row needed (TAB); its steps are
            no steps of the result, its seconds are paid all the same.
    """

    student: Classifier
    phases: list[Trained]
    generated: Pictures | None = None
    ledgers: list[Ledger] = field(default_factory=list)
    helper_steps: int = 0
    helper_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Of all trainings, the helper's too, without generation."""
        return self.helper_seconds + sum(phase.seconds for phase in self.phases)

    @property
    def images(self) -> int:
        """That the student saw."""
        return sum(phase.images for phase in self.phases)


@dataclass(frozen=True)
class Place:
    """Where a row runs; nothing here decides its result.

    Attributes:
        device: cpu or cuda.
        directory: of checkpoints; None keeps none.
        identity: what must be equal for them to be resumed.
        label: for progress lines.
        workers: decoding processes.
    """

    device: str = "cpu"
    directory: Path | None = None
    identity: str = ""
    label: str = "distillation"
    workers: int = 0

    def phase(self, name: str) -> dict[str, Any]:
        """As `fit` takes it."""
        return {
            "device": self.device, "identity": f"{self.identity} {name}", "workers": self.workers,
            "directory": None if self.directory is None else self.directory / name,
            "label": f"{self.label}, {name}",
        }  # fmt: skip


def distil(
    student: Classifier,
    teacher: Classifier,
    pictures: Pictures,
    plan: Plan,
    seed: int,
    generator: Generator | None = None,
    place: Place | None = None,
    begun: Trained | None = None,
) -> Distilled:
    """Train, generate, train on; a killed run goes on in the phase that it was in.

    Args:
        student: as it begins; trained in place.
        teacher: frozen.
        pictures: the training set.
        plan: the phases.
        seed: of everything.
        generator: what makes the images; None trains on without any.
        place: where.
        begun: the first phase, where it was made before and `student` comes from it.

    Raises:
        UserError: as `fit`; a round that left a class without images.
    """
    place = place or Place()
    check_classes(student, teacher, pictures)
    first = begun or fit(student, teacher, pictures, plan.first, seed, **place.phase("first"))
    done = Distilled(student, [first])
    parts = list[Pictures]()
    for number in range(1, plan.rounds + 1):
        own = derive_seed(seed, "round", number)
        if generator is not None and plan.per_class:
            made, ledger = _generated(
                student, teacher, pictures, plan, own, generator, place, number
            )
            parts.append(made)
            done.ledgers.append(ledger)
            done.generated = Union(parts)
        trained = fit(
            student, teacher, pictures, plan.then, own, done.generated,
            **place.phase(f"round {number}"), begun=done.phases[-1].map,
        )  # fmt: skip
        done.phases.append(trained)
    return done


def distil_balanced(
    student: Classifier,
    helper: Classifier,
    teacher: Classifier,
    pictures: Pictures,
    plan: Plan,
    seed: int,
    place: Place | None = None,
) -> Distilled:
    """TAB: a helper's losses give groups, and the student is trained on them in balance.

    Args:
        student: as it begins.
        helper: an equal one; it is trained for the plan's first phase, which costs those steps.
        teacher, pictures, plan, seed, place: as of `distil`.

    Raises:
        UserError: a first phase that is shorter than one pass over the pictures.
    """
    place = place or Place()
    if plan.first.steps * plan.first.batch_size < len(pictures):
        raise UserError(
            f"TAB's helper needs a whole pass over {len(pictures)} pictures: "
            f"{plan.first.steps} steps of {plan.first.batch_size} are none"
        )
    seen = fit(helper, teacher, pictures, plan.first, seed, history=True, **place.phase("helper"))
    assert seen.history is not None
    groups = guessed_groups(seen.history, pictures.targets, derive_seed(seed, "clusters"))
    chosen = Chosen(pictures, balanced(groups, derive_seed(seed, "balance")))
    done = distil(student, teacher, chosen, plan, seed, None, place)
    done.helper_steps, done.helper_seconds = plan.first.steps, seen.seconds
    return done


def _generated(
    student: Classifier,
    teacher: Classifier,
    pictures: Pictures,
    plan: Plan,
    seed: int,
    generator: Generator,
    place: Place,
    number: int,
) -> tuple[Arrays, Ledger]:
    """A round's images, kept on disk so that a killed run does not make them again."""
    name = f"images {number}"
    store = CheckpointStore(place.directory / name) if place.directory else None
    identity = f"{place.identity} {name} {seed} {plan.per_class} {plan.keep} {plan.start}"

    def find() -> dict[str, Any]:
        saved = store.load_latest() if store else None
        if saved is not None and saved[1]["identity"] == identity:
            return saved[1]
        state = make_images(student, teacher, pictures, plan.wanted, seed, generator, place.label)
        if store:
            store.save(0, {"identity": identity, **state})
        return state

    state = from_first(find, place.device)
    labels = state["labels"].numpy()
    ledger = Ledger(**state["ledger"])
    counts = np.bincount(labels, minlength=len(pictures.classes))
    if empty := [c for c, n in zip(pictures.classes, counts, strict=True) if not n]:
        raise UserError(
            f"round {number} left no images of {', '.join(empty[:3])}: {ledger.failed} of "
            f"{ledger.asked} were not finite, of {ledger.unsure} the teacher was not sure"
        )
    return Arrays(state["pixels"].numpy(), labels, pictures.classes), ledger
