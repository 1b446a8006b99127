"""What the paper's own scale reads, below `--data`: nothing of it comes along, nothing is fetched.

`teacher/` is an open_clip folder of the paper's teacher, ViT-B-32 with the weights
`datacomp_xl_s13b_b90k`; `web/` holds WebDataset shards of images for stage 1; `synthetic/SET` is
what `clip-distill generate` wrote for each set, with the prompts beside the images; `real/` holds
the six sets as their authors hand them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from clip_distill.study.worlds import Part
from clip_distill.use.original_sets import LAYOUTS, OriginalSet
from clip_distill.use.pictures import Folder, Pictures, check_same_names
from clip_distill.use.prompts import TEMPLATES, ClassTexts, class_texts
from clip_distill.use.shards import Shards
from clip_distill.use.teachers import Teacher, load_teacher
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes

TEACHER, WEB, SYNTHETIC, REAL = "teacher", "web", "synthetic", "real"
COVERS = "first weights, order and views; all images and the teacher are the same for every seed"


@dataclass(frozen=True)
class Web:
    """Images of the web in shards, for stage 1, and the teacher."""

    name: str = "web-shards"
    sentence = "images of the web in shards, which are scored nowhere; teacher: as given"
    covers = COVERS

    def missing(self, folder: Path | None) -> list[str]:
        """The parts that are not there."""
        return _missing(folder, f"{TEACHER}/open_clip_config.json", f"{WEB}/*.tar")

    def open(self, folder: Path | None) -> OpenedWeb:
        """Their headers are read; UserError as of `Shards`."""
        assert folder is not None
        return OpenedWeb(folder)


@dataclass(frozen=True)
class Domain:
    """One of the paper's six sets: synthetic images of its classes, its test images, the teacher.

    Attributes:
        set: which, by its name in `use.original_sets`.
    """

    set: str

    covers = COVERS

    @property
    def name(self) -> str:
        """In records."""
        return f"paper-{self.set}"

    @property
    def sentence(self) -> str:
        """What the data are."""
        return f"synthetic images as given, scored on the test split of {LAYOUTS[self.set].title}"

    def missing(self, folder: Path | None) -> list[str]:
        """The parts that are not there."""
        return _missing(
            folder, f"{TEACHER}/open_clip_config.json", f"{SYNTHETIC}/{self.set}/images",
            f"{REAL}/{LAYOUTS[self.set].folder}",
        )  # fmt: skip

    def open(self, folder: Path | None) -> OpenedDomain:
        """UserError for classes that differ, or an incomplete copy."""
        assert folder is not None
        return OpenedDomain(folder, self.set)


class _Opened:
    """The teacher of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def teacher(self) -> Teacher:
        """From its folder."""
        return load_teacher(f"open_clip:{self.folder / TEACHER}", "cpu")

    def teach_with(self, weights: Path) -> None:
        """No teacher is trained at this scale."""
        raise UserError("the paper's teacher is given, not trained")


class OpenedWeb(_Opened):
    """Pictures for stage 1; it has no classes."""

    classes: tuple[str, ...] = ()
    seen = 0

    @cached_property
    def web(self) -> Shards:
        """All shards."""
        return Shards(str(self.folder / WEB))

    @property
    def texts(self) -> ClassTexts:
        """None."""
        raise UserError("images of the web have no classes")

    @cached_property
    def fingerprint(self) -> str:
        """Of images and teacher."""
        return sha256_bytes(f"{self.web.fingerprint()} {self.teacher.sha256}".encode())

    def pictures(self, part: Part, seed: int) -> Pictures:
        """Of stage 1."""
        if part != "generic":
            raise UserError(f"the web has no {part} images")
        return self.web


class OpenedDomain(_Opened):
    """Synthetic images with classes, in the order of their folders, and real ones."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self.set = name
        self.synthetic = Folder(folder / SYNTHETIC / name / "images")
        self.real = OriginalSet(name, folder / REAL)
        self.classes = self.synthetic.classes
        self.seen = len(self.classes)
        check_same_names(
            [_said(each) for each in self.classes], [_said(each) for each in self.real.classes],
            self.synthetic.where, self.real.where,
        )  # fmt: skip

    @property
    def targets(self) -> list[int]:
        """Classes of the real images, by the order of the synthetic ones."""
        place = {_said(each): number for number, each in enumerate(self.classes)}
        return [place[_said(self.real.classes[target])] for target in self.real.targets]

    @cached_property
    def texts(self) -> ClassTexts:
        """One prompt a class, as in the authors' evaluation."""
        names = [each.replace("_", " ") for each in self.classes]
        return class_texts(self.teacher, names, TEMPLATES[self.set], "folders")

    @cached_property
    def fingerprint(self) -> str:
        """Of all images and the teacher."""
        parts = self.synthetic.fingerprint(), self.real.fingerprint(), self.teacher.sha256
        return sha256_bytes(" ".join(parts).encode())

    def pictures(self, part: Part, seed: int) -> Pictures:
        """A part."""
        if part not in ("synthetic", "real"):
            raise UserError(f"{self.set} has no {part} images")
        return self.synthetic if part == "synthetic" else self.real


def _said(name: str) -> str:
    return name.replace("_", " ").lower()


def _missing(folder: Path | None, *parts: str) -> list[str]:
    if folder is None:
        return [f"{', '.join(parts)} (--data DIR)"]
    return [part for part in parts if not any(folder.glob(part))]
