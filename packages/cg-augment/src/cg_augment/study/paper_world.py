"""What the paper's own scale reads, below `--data`: nothing of it comes along, nothing is fetched.

`celeba/` is CelebA in its original layout; `teacher/` an open_clip folder of a CLIP model;
`diffusion/` the folder of a pipeline of diffusers (Stable Diffusion 1.x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cg_augment.use.classifiers import Classifier
from cg_augment.use.datasets.celeba import Split, celeba
from cg_augment.use.generating.loading import digest_of
from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Files
from cg_augment.use.teachers import load_teacher
from repro_shared.runtime.files import sha256_bytes

FACES, TEACHER, DIFFUSION = "celeba", "teacher", "diffusion"  # below --data
WORDS = ("hair that is not blond", "blond hair")  # of the classes, in the prompts of both models
PROMPT = "a photo of a person with {}"
LACKS = ("blond hair/male",)


@dataclass(frozen=True)
class Faces:
    """The data source: CelebA, of which training lacks groups, the teacher and the pipeline.

    Attributes:
        lacks: groups that training is without.
    """

    lacks: tuple[str, ...] = LACKS
    name = "celeba"
    sentence = "CelebA, blond hair as the class, trained without blond men; test split"

    def missing(self, folder: Path | None) -> list[str]:
        """The parts that are not there."""
        parts = (FACES, f"{TEACHER}/open_clip_config.json", f"{DIFFUSION}/model_index.json")
        if folder is None:
            return [f"{', '.join(parts)} (--data DIR)"]
        return [part for part in parts if not (folder / part).exists()]

    def open(self, folder: Path | None) -> OpenedFaces:
        """UserError for an incomplete copy."""
        assert folder is not None
        return OpenedFaces(folder, self.lacks)


class OpenedFaces:
    """Both splits; their classes are called by `WORDS`, as both models read them."""

    def __init__(self, folder: Path, lacks: tuple[str, ...]) -> None:
        self.folder = folder
        self.train = self._split("train").without(tuple(map(_worded, lacks))).pictures
        self.test = self._split("test")

    def _split(self, split: Split) -> Grouped:
        found = celeba(self.folder / FACES, split)
        files = found.pictures
        assert isinstance(files, Files)
        named = Files(files.root, files.paths, files.targets, WORDS)
        return Grouped(named, found.groups, tuple(map(_worded, found.names)))

    def teacher(self, device: str) -> Classifier:
        """CLIP, asked for the classes by name."""
        return load_teacher(self._clip, WORDS, (PROMPT,), device=device)

    @property
    def _clip(self) -> str:
        return f"open_clip:{self.folder / TEACHER}"

    @cached_property
    def fingerprint(self) -> str:
        """Of pictures, groups, teacher and diffusion model."""
        parts = (
            self.train.fingerprint(), self.test.fingerprint(), self.teacher("cpu").sha256,
            digest_of(self.folder / DIFFUSION, None),
        )  # fmt: skip
        return sha256_bytes(" ".join(parts).encode())

    def making(self) -> dict[str, Any]:
        """Words for `generate`."""
        return {"teacher": self._clip, "template": (PROMPT,), "prompt": (PROMPT,)}


def _worded(group: str) -> str:
    """`blond hair/male` by the words of this study."""
    label, _, kind = group.partition("/")
    return f"{WORDS[0 if label.startswith('not ') else 1]}/{kind}"
