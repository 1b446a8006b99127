"""Which images are wanted: classes, prompts, and a seed for each that depends on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed


@dataclass(frozen=True)
class Item:
    """One image that is wanted.

    Attributes:
        name: of its class, and of its folder.
        label: place of the class among those of teacher and student.
        number: among the images of the class, from 0.
        prompt: "" for pixel models without text.
    """

    name: str
    label: int
    number: int
    prompt: str = ""

    @property
    def key(self) -> str:
        """Class folder and name of the file, without ending."""
        return f"{self.name}/{self.number:06d}"

    def seed(self, seed: int) -> int:
        """Of its noise: the same whatever else is made, in batches and processes of any number."""
        return derive_seed(seed, "image", self.name, self.number)


def items_of(
    classes: Sequence[str], wanted: Sequence[str], each: int, prompts: Sequence[str]
) -> list[Item]:
    """All images that are wanted, every class from the beginning: row by row over the classes.

    A larger `each` only adds images at the end, so that a set can grow.

    Args:
        classes: of teacher and student, in their order.
        wanted: classes that images are made of; all for none.
        each: images of each.
        prompts: with {} for the class; image k of a class has prompt k, and round again.

    Raises:
        UserError: an unknown class, a name that no folder can have, or a prompt without {}.
    """
    if unknown := [name for name in wanted if name not in classes]:
        raise UserError(f"--only {unknown[0]}: no such class; there are {_some(classes)}")
    for name in classes:
        if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise UserError(f"class {name!r}: no folder can have this name")
    for text in prompts:
        if "{}" not in text:
            raise UserError(f"--prompt {text!r} has no {{}} where the class's name goes")
    texts = [[text.replace("{}", name.replace("_", " ")) for text in prompts] for name in classes]
    chosen = [place for place, name in enumerate(classes) if not wanted or name in wanted]
    return [
        Item(classes[place], place, number, _prompt(texts[place], number))
        for number in range(each)
        for place in chosen
    ]


def _prompt(texts: Sequence[str], number: int) -> str:
    return texts[number % len(texts)] if texts else ""


def units_of(items: Sequence[Item], batch: int) -> list[list[Item]]:
    """The batches, by place alone: resumed or parted among processes, none has other images.

    So that on the CPU an image has the same bytes again: how a network rounds depends on how many
    images it sees.
    """
    return [list(items[start : start + batch]) for start in range(0, len(items), batch)]


def read_names(path: str | None, flag: str) -> tuple[str, ...]:
    """Names from a file, a line each; () for no file."""
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "no UTF-8"
        raise UserError(f"{flag} {path}: cannot be read ({said})") from None
    if not (names := tuple(line.strip() for line in lines if line.strip())):
        raise UserError(f"{flag} {path}: no names in it")
    return names


def places_in(names: Sequence[str], classes: Sequence[str], whose: str) -> list[int]:
    """Place of each class among the diffusion model's.

    Raises:
        UserError: a class that it does not know.
    """
    if lacking := [name for name in classes if name not in names]:
        raise UserError(
            f"classes differ: {whose} has no samples of {_some(lacking)}; it knows {_some(names)}"
        )
    return [list(names).index(name) for name in classes]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
