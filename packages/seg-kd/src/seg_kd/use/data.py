"""Segmentation sets and their views: per-position random seeds, no framework imports.

The transforms are mmseg's own; they draw from numpy's global generator, so each view seeds it from
(run seed, position in the stream) and puts it back afterwards. A view is then a pure function of
its position, whatever the number of workers and however often the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from repro_shared.datasets import views
from repro_shared.datasets.label_maps import LabelMapFolder, Sample, Survey
from repro_shared.datasets.label_values import Colour, LabelValues
from repro_shared.datasets.scenes import DigitScenes, SceneConfig
from repro_shared.datasets.views import Seeded
from repro_shared.datasets.wheels import Split
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress, say
from seg_kd.use.formats import Form, Listing, find_form, list_pairs

Transform = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Samples(Sequence[Sample]):
    """Images (H, W, 3) uint8 RGB and label maps (H, W) uint8 (255 = ignore).

    Attributes:
        source: where they are read when asked for: a list, or files.
        fingerprint: of all of them.
        sizes: their heights and widths.
        batch_size: how many are scored together; None: see `evaluate`.
        fit: two sides that an image is fitted into before it is scored, in either orientation; its
            answer is resized to its own size. None: as it is.
    """

    source: Sequence[Sample]
    fingerprint: str
    sizes: Sequence[tuple[int, int]]
    batch_size: int | None = None
    fit: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.source[index]


@dataclass(frozen=True)
class View:
    """How a training view of an image is drawn.

    Attributes:
        crop: training crop (height, width) in pixels, at least 16 x 16.
        resize_range: random scale factor.
        flip: probability of a horizontal flip (0 for digits: a mirrored 2 is no 2).
        photometric: mmseg's photometric distortion.
        largest_class: a crop in which one class fills more than this is drawn again, up to ten
            times (mmseg's cat_max_ratio); 1 where background fills nearly every crop anyway.
        fit: two sides that the image is fitted into, times the factor, in either orientation, as
            mmseg's RandomResize does; None: its own size times the factor.
    """

    crop: tuple[int, int] = (512, 1024)
    resize_range: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    photometric: bool = True
    largest_class: float = 0.75
    fit: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        require(0 <= self.flip <= 1, "--flip", "0 to 1", self.flip)
        require(min(self.crop) >= 16, "--crop", "at least 16 x 16 pixels", self.crop)


@dataclass
class Splits:
    """Training and test images of a data set, with the names of its classes; test may be empty.

    `further` are other splits that are scored too, and that nothing is ever chosen by.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    further: dict[str, Samples] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Of training and test images together."""
        return together(self.train.fingerprint, self.test.fingerprint)

    def training_only(self) -> Splits:
        """Without what is scored, for a process that leaves scoring to another."""
        return replace(self, test=Samples([], "", []), further={})

    def shares(self) -> tuple[float, ...]:
        """Of the labelled pixels of the training images, by class; they add up to 1."""
        counts = np.zeros(256, np.int64)
        for _, labels in (self.train[i] for i in range(len(self.train))):
            counts += np.bincount(labels.ravel(), minlength=256)
        known = counts[: len(self.classes)]
        return tuple((known / max(1, known.sum())).tolist())


def together(train: str, test: str = "") -> str:
    """The fingerprint of training and test images from those of each."""
    return f"{train[:32]}+{test[:32]}"


@dataclass(frozen=True)
class Scenes:
    """Composed digit scenes: real MNIST digits on photographs, which come along.

    Attributes:
        scenes: their composition.
        train_length, test_length: number of scenes.
        test_split: whose digits and photographs are scored (`val` for tuning).
        seed: final evidence uses 0, settings were chosen from 100 up.
    """

    scenes: SceneConfig
    train_length: int
    test_length: int
    test_split: Split = "test"
    seed: int = 0

    name = "digit-scenes"

    @property
    def classes(self) -> tuple[str, ...]:
        """Background, then the digits."""
        return self.scenes.classes

    @property
    def sentence(self) -> str:
        """What the images are, and which are scored."""
        made = "rendered: real MNIST digits composed on photographs"
        return f"{made}; scored on: {self.test_split} split"

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing: they come along."""
        return []

    def open(self, folder: Path | None) -> Splits:
        """Compose them."""
        train = self.part(folder, training=True)
        return Splits(train, self.part(folder, training=False), self.classes)

    def part(self, folder: Path | None, training: bool) -> Samples:
        """Compose those of one split."""
        split: Split = "train" if training else self.test_split
        length = self.train_length if training else self.test_length
        scenes = DigitScenes(self.scenes, split, length, self.seed)
        samples = list[Sample]()
        with Progress(length, f"{split}: scenes composed") as progress:
            for scene in scenes:
                samples.append((scene.image, scene.label_map))
                progress.update(len(samples))
        sizes = [label.shape for _, label in samples]
        return Samples(samples, scenes.fingerprint(), sizes)


@dataclass(frozen=True)
class LabelMaps:
    """A folder of images and label maps, in one of the forms of `formats`, given with `--data`.

    Attributes:
        name: the set's name.
        classes: class names; the label value of a class is its place.
        pictures: what the images are, in words.
        ignore_values: label values that count as unlabelled besides 255.
        train_split, test_split: names of the splits; without a test split nothing is scored.
        hold_out: file-name prefix; if set, training leaves these files out and they are scored
            (tuning without touching the test split).
        own: whether it is a user's, whose settings are flags that an error may name.
        form: of the folder; None: the first that it has.
        palette: colours of the label values, for label maps in colours.
        absent: whether a class may be missing from the training labels.
        batch_size: images that are scored together; None: see `evaluate`.
        fit: see `Samples`.
        title, known: see `NamedSet`; without them a set is what its folder holds.
        also: a split that is scored too where the folder has it.
    """

    name: str
    classes: tuple[str, ...]
    pictures: str = "the user's images"
    ignore_values: tuple[int, ...] = (255,)
    train_split: str = "train"
    test_split: str = "val"
    hold_out: str = ""
    own: bool = False
    form: Form | None = None
    palette: tuple[Colour, ...] = ()
    absent: bool = False
    batch_size: int | None = None
    fit: tuple[int, int] | None = None
    title: str = ""
    known: tuple[str, ...] | None = None
    also: str = ""

    @property
    def sentence(self) -> str:
        """What the images are, and which are scored."""
        return f"{self.pictures}{self.scoring}"

    @property
    def scoring(self) -> str:
        """Which images are scored."""
        held = f"sequence {self.hold_out}, held out"
        return f"; scored on: {held if self.hold_out else f'{self.test_split} split'}"

    def missing(self, folder: Path | None) -> list[str]:
        """The folder, if it was not given."""
        return [] if folder is not None else [f"{self.name}: give its folder with --data DIR"]

    def open(self, folder: Path | None) -> Splits:
        """Check both splits.

        Raises:
            UserError: no folder, or one that the reader refuses.
        """
        train, test = (self.part(folder, training) for training in (True, False))
        other, further = replace(self, test_split=self.also, hold_out="", also=""), {}
        if self.also and folder and (self.form or find_form(folder)).has(folder, self.also):
            further = {self.also: other.part(folder, training=False)}
        return Splits(train, test, self.classes, further)

    def part(self, folder: Path | None, training: bool) -> Samples:
        """Check the images of one split and say what was found; they are read when asked for.

        Raises:
            UserError: as `open`; labels that are all ignored, or training ones without a class.
        """
        if not (self.test_split or training):
            return Samples([], "", [])
        found = self.survey(folder, training)
        survey = found.survey
        survey.refuse()
        for problem in self.problems(found, training):
            raise UserError(problem)
        return Samples(found.files, survey.fingerprint, survey.sizes, self.batch_size, self.fit)

    def survey(self, folder: Path | None, training: bool) -> Found:
        """Read all files of one split, and say how many there are and what was passed over.

        Raises:
            UserError: no folder, or files that are not where they should be.
        """
        if folder is None:
            raise UserError(f"{self.name} is not shipped: give its folder with --data DIR")
        split = self.train_split if training or self.hold_out else self.test_split
        form = self.form or find_form(folder)
        flag = "--train-split" if training else "--val-split"
        advice = f". Name one with {flag}" if self.own else ""
        if advice and not training:
            advice += f", or give {flag} none to train without scoring"
        listing = list_pairs(folder, form, split, advice)
        say(f"{folder}, {split} ({form.name}): {listing.sentence()}")
        values = LabelValues(
            len(self.classes), self.ignore_values, form.mapped, form.reduce_zero, self.palette
        )
        files = LabelMapFolder(folder, listing.pairs, values)
        if self.hold_out:
            files = files.subset(lambda name: name.startswith(self.hold_out) != training)
        survey = files.survey(f"{split}: images checked")
        if not files.in_memory and not survey.problems:
            say(f"{split}: too large for memory, read from disk each time; --workers N read ahead")
        return Found(split, listing, files, survey)

    def problems(self, found: Found, training: bool) -> list[str]:
        """What is wrong with the labels of a split as a whole."""
        survey, split = found.survey, found.split
        ignored = sorted(survey.ignored.items(), key=lambda item: -item[1])
        held = "".join(f"; value {v} is ignored in {n:,} pixels" for v, n in ignored[:3])
        value = ignored[0][0] if ignored else "VALUE"
        if not survey.pixels.any():
            offer = f": is {value} a class, give --map {value}=CLASS"
            return [f"every label of split {split} is ignored{held}{offer if self.own else ''}"]
        lost = [index for index, count in enumerate(survey.pixels) if not count]
        if not lost or not training or self.absent:
            return []
        some = ", ".join(f"{i} ({self.classes[i]})" for i in lost[:5])
        some += f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        which = f"class {some} never occurs" if len(lost) == 1 else f"classes {some} never occur"
        target = lost[0] if len(lost) == 1 else "CLASS"
        offer = f": give --map {value}={target} if {value} stands for it, " if ignored else ": "
        offer += "--allow-absent-classes if it may be missing"
        return [f"{which} in the labels of split {split}{held}{offer if self.own else ''}"]


class Found(NamedTuple):
    """A split: its name, its files, and what a pass over them found."""

    split: str
    listing: Listing
    files: LabelMapFolder
    survey: Survey


class Views(views.Views):
    """Views for training: item (position, index) is image `index` seen at `position`."""

    def __init__(self, source: Sequence[Sample], transform: Transform, seed: int) -> None:
        super().__init__(_Named(source), Seeded(_FromSample(transform)), seed)


@dataclass(frozen=True)
class _Named:
    """Samples with a name for messages: the file's, or the number."""

    source: Sequence[Sample]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Any, Any, str]:
        names = getattr(getattr(self.source, "source", None), "names", None)
        return (*self.source[index], names[index] if names else f"number {index}")


@dataclass(frozen=True)
class _FromSample:
    transform: Transform

    def __call__(self, sample: tuple[Any, Any, str]) -> dict[str, Any]:
        return self.transform(as_results(*sample))


def as_results(image: np.ndarray, label: np.ndarray, name: str = "") -> dict[str, Any]:
    """The dictionary mmseg's transforms start from (they expect BGR)."""
    return {
        "img_path": name,
        "img": np.ascontiguousarray(image[..., ::-1]),
        "img_shape": image.shape[:2],
        "ori_shape": image.shape[:2],
        "gt_seg_map": label.copy(),
        "seg_fields": ["gt_seg_map"],
        "reduce_zero_label": False,
    }
