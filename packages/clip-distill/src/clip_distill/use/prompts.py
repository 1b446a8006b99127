"""Class names to text vectors: templates, one vector a class, nothing cut away in silence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from clip_distill.use.teachers import Floats, Teacher, damaged_rows
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import publish, temporary_file
from repro_shared.runtime.progress import say

PLAIN = ("a photo of a {}.",)
# One template a data set, as in the authors' evaluation.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "photo": PLAIN,
    "pets": ("a photo of a {}, a type of pet.",),
    "food": ("a photo of a {}, a type of food.",),
    "flowers": ("a photo of a {}, a type of flower.",),
    "cars": ("a photo of a {}, a type of car.",),
    "aircraft": ("a photo of a {}, a type of aircraft.",),
    "textures": ("a photo of a {} texture.",),
}
AT_ONCE = 256  # texts in a forward pass

# Weights that the compel library reads: word++, (two words)--, (words)1.3
_SIGNS = re.compile(r"(?<=[\w)}])(\++|-{2,})(?=[\s,.;:)]|$)")
_WEIGHTED = re.compile(r"\)\d+(?:\.\d+)?(?=[\s,.;:)]|$)")
_NUMBERS = re.compile(r"\(([^()]*)\)(?:\d+(?:\.\d+)?)?")


@dataclass(frozen=True)
class ClassTexts:
    """One unit vector a class.

    Attributes:
        names: of the classes.
        templates: with {} where the name goes.
        source: where the names come from, in words.
        vectors: (classes, width) float32.
        teacher: SHA-256 of the weights that they come from; "" where it is not known.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    source: str
    vectors: Floats
    teacher: str = ""

    def __str__(self) -> str:
        many = f"{len(self.templates)} prompt{'s' * (len(self.templates) > 1)} a class"
        return f"{len(self.names)} classes from {self.source}, {many}"


def without_weights(text: str) -> str:
    """A prompt without the weights of the compel library: "++++" would be a token of its own.

    Brackets stay in a prompt that has no weights.
    """
    if not _SIGNS.search(text) and not _WEIGHTED.search(text):
        return text
    plain = _SIGNS.sub("", text)
    while _NUMBERS.search(plain):
        plain = _NUMBERS.sub(r"\1", plain)
    return plain


def unweighted(texts: Sequence[str], what: str) -> list[str]:
    """The texts without weights; how many had some is said in a line."""
    plain = [without_weights(text) for text in texts]
    if changed := sum(a != b for a, b in zip(texts, plain, strict=True)):
        say(f"weights such as ++ were taken out of {changed} of {len(texts)} {what}s")
    return plain


def captions_of(texts: Sequence[str], teacher: Teacher) -> list[str]:
    """Captions without weights; how many the teacher cuts is said: web captions may be long."""
    assert teacher.texts is not None
    plain = unweighted(texts, "caption")
    cut = {text for text in set(plain) if teacher.texts.lost(text)}
    if many := sum(text in cut for text in plain):
        say(f"{many} of {len(plain)} captions are cut to {teacher.texts.context} tokens")
    return plain


def check_lengths(prompts: Sequence[str], teacher: Teacher) -> None:
    """UserError, with the words that would be lost, for a prompt that is too long."""
    assert teacher.texts is not None
    for text in prompts:
        if lost := teacher.texts.lost(text):
            raise UserError(
                f"a prompt has more than the {teacher.texts.context} tokens of {teacher.name}: "
                f"{lost!r} would be cut from {text[:60]!r}; shorten it"
            )


def check_template(template: Sequence[str], teacher: str | None) -> None:
    """UserError for prompts that nobody would read."""
    if template and teacher is None:
        raise UserError("--template is read by the text encoder of --teacher: give both or neither")


def class_texts(
    teacher: Teacher, names: Sequence[str], templates: Sequence[str], source: str
) -> ClassTexts:
    """The mean of a class's unit text vectors, scaled to length 1 (as CLIP's authors do it).

    Raises:
        UserError: a teacher without language, a template without {}, no or equal names, a prompt
            that is too long.
    """
    if teacher.texts is None:
        raise UserError(f"{teacher.name} has no text encoder, so it knows no class names")
    if not names or len(set(names)) < len(names):
        twice = next((n for n in names if list(names).count(n) > 1), None)
        raise UserError(f"{source}: " + ("no class names" if twice is None else f"{twice!r} twice"))
    for template in templates:
        if template.count("{}") != 1:
            raise UserError(f"the template {template!r} needs {{}} once, where the name goes")
    plain = unweighted(templates, "template")  # a name may well end in ++
    prompts = [template.replace("{}", name) for name in names for template in plain]
    check_lengths(prompts, teacher)
    rows = encode_texts(teacher, prompts).reshape(len(names), len(templates), -1)
    mean = rows.mean(axis=1)
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    vectors = unit.astype(np.float32)
    return ClassTexts(tuple(names), tuple(templates), source, vectors, teacher.sha256)


def encode_texts(teacher: Teacher, texts: Sequence[str]) -> Floats:
    """Unit text vectors (n, width), each different text encoded once."""
    assert teacher.texts is not None
    different = list(dict.fromkeys(texts))
    place = {text: row for row, text in enumerate(different)}
    parts = []
    for start in range(0, len(different), AT_ONCE):
        with torch.inference_mode():
            found = teacher.texts.encode(different[start : start + AT_ONCE])
        parts.append(found.float().cpu().numpy())
    rows: Floats = np.concatenate(parts)
    if (bad := damaged_rows(rows)) is not None:
        raise UserError(f"{teacher.name} gives {bad[1]} for the text {different[bad[0]][:60]!r}")
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[[place[text] for text in texts]]


def read_names(path: str | Path) -> tuple[str, ...]:
    """Class names, one a line; empty lines and those that begin with # are passed over."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    names = tuple(line.strip() for line in lines if line.strip() and line.strip()[0] != "#")
    if not names:
        raise UserError(f"{path}: no class names, one a line")
    return names


def templates_of(given: Sequence[str]) -> tuple[str, ...]:
    """Names of `TEMPLATES`, templates, or @FILE with one a line."""
    found: list[str] = []
    for each in given or ("photo",):
        if each.startswith("@"):
            found += read_names(each[1:])
        elif each in TEMPLATES:
            found += TEMPLATES[each]
        elif "{}" in each:
            found.append(each)
        else:
            known = ", ".join(TEMPLATES)
            raise UserError(f"--template {each!r}: give one of {known}, a text with {{}}, or @FILE")
    return tuple(found)


def chosen_texts(
    known: ClassTexts, names: Sequence[str], where: str, source: str | None = None
) -> ClassTexts:
    """Those of some classes, in their order; UserError, with a name, where one is not there."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{source or where}: {twice[0]!r} twice")
    places = {name: place for place, name in enumerate(known.names)}
    if lacking := [name for name in names if name not in places]:
        raise UserError(
            f"{where} has no text vectors of {len(lacking)} classes, such as {lacking[0]!r}: give "
            "--teacher, whose text encoder knows any name"
        )
    rows = known.vectors[[places[name] for name in names]]
    return replace(known, names=tuple(names), vectors=rows, source=source or known.source)


def save_class_texts(path: Path, texts: ClassTexts) -> None:
    """Write class texts as a .npz of plain arrays."""
    with temporary_file(path.parent, path.name) as (temporary, handle):
        np.savez(
            handle,
            names=np.array(texts.names, str),
            templates=np.array(texts.templates, str),
            source=np.array(texts.source, str),
            vectors=texts.vectors,
            teacher=np.array(texts.teacher, str),
        )
        publish(handle, temporary, path)


def load_class_texts(path: Path) -> ClassTexts:
    """Read what `save_class_texts` wrote; UserError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return ClassTexts(
                tuple(map(str, kept["names"])),
                tuple(map(str, kept["templates"])),
                str(kept["source"]),
                np.asarray(kept["vectors"], np.float32),
                str(kept["teacher"]),
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no class texts ({type(error).__name__}: {error})") from None
