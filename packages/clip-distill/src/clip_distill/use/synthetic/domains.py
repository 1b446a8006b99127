"""What a prompt says beside the class: contextual dimensions of each domain, and the template.

The dimensions are those of arXiv 2404.16637 (as its authors' code has them): place, time of day
and camera angle, and one of the domain's own. Words, questions and options are ours.
"""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_distill.use.prompts import without_weights
from clip_distill.use.synthetic import options
from repro_shared.runtime.errors import UserError

SHARED = ("name", "kind")  # what every template may hold beside the dimensions


@dataclass(frozen=True)
class Dimension:
    """One contextual dimension.

    Attributes:
        name: its place in the template.
        question: for a language model; one with {name} or {kind} is asked for every class, another
            one once. "" where only `options` are taken.
        options: without a language model.
    """

    name: str
    question: str = ""
    options: tuple[str, ...] = ()

    @property
    def by_class(self) -> bool:
        """Whether classes have options of their own."""
        return bool(set(_fields(self.question)) & set(SHARED))


@dataclass(frozen=True)
class Domain:
    """A kind of classes.

    Attributes:
        name: `--domain`.
        kind: the super-class, in words, where no language model is asked for a closer one.
        template: with {name}, perhaps {kind}, and each dimension in braces.
        dimensions: two or more.
        asks_kind: a language model is asked for a super-class of each class: "dog" of a beagle.
    """

    name: str
    kind: str
    template: str
    dimensions: tuple[Dimension, ...]
    asks_kind: bool = False

    def __post_init__(self) -> None:
        held = _fields(self.template)
        names = [dimension.name for dimension in self.dimensions]
        if held.count("name") != 1:
            raise UserError(f"{self.name}: the template needs {{name}} once: {self.template!r}")
        if len(set(names)) < len(names) or set(names) & set(SHARED) or not names:
            raise UserError(f"{self.name}: dimensions need names of their own, got {names}")
        if set(held) - set(SHARED) != set(names):
            wanted = ", ".join(f"{{{name}}}" for name in names)
            raise UserError(f"{self.name}: the template must hold {wanted}: {self.template!r}")

    def prompt(self, name: str, kind: str, chosen: dict[str, str]) -> str:
        """The template filled in."""
        return " ".join(self.template.format(name=name, kind=kind, **chosen).split())


def domain_of(given: str) -> Domain:
    """A domain by name, or of a JSON file.

    The file holds `kind`, `template`, `dimensions` (by name: `options`, or `question`, or both)
    and, if a language model shall name super-classes, `"asks_kind": true`.

    Raises:
        UserError: neither, or a file of another form.
    """
    if given in DOMAINS:
        return DOMAINS[given]
    path = Path(given)
    if path.suffix != ".json":
        raise UserError(f"--domain {given}: give one of {', '.join(DOMAINS)}, or a .json file")
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
        dimensions = tuple(
            Dimension(str(name), str(each.get("question", "")), _texts(each.get("options", [])))
            for name, each in form["dimensions"].items()
        )
        kind, template, asks = str(form["kind"]), form["template"], form.get("asks_kind", False)
        if not isinstance(template, str) or not isinstance(asks, bool):
            raise TypeError("template is a text and asks_kind true or false")
    except OSError as error:
        raise UserError(f"{given}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise UserError(f"{given}: kind, template and dimensions are needed ({said})") from None
    for dimension in dimensions:
        if not dimension.question and not dimension.options:
            raise UserError(f"{given}: {dimension.name} has neither options nor a question")
        if unknown := set(_fields(dimension.question)) - {*SHARED, "count"}:
            raise UserError(f"{given}: the question of {dimension.name} holds {sorted(unknown)}")
    return Domain(path.stem, kind, without_weights(template), dimensions, asks)


def _texts(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise TypeError("options are a list of texts")
    return tuple(without_weights(" ".join(each.split())) for each in given)


def _fields(template: str) -> list[str]:
    try:
        found = [field[1:] for field in string.Formatter().parse(template) if field[1] is not None]
        if any(form or conversion for _, form, conversion in found):
            raise ValueError("a place is {name} alone, without a format")
        return [str(name) for name, _, _ in found]
    except ValueError as error:
        raise UserError(f"{template!r}: {error}") from None


_TIME = Dimension(
    "time", "Name {count} times of the day, or kinds of weather, for a photo taken outdoors. "
    "Answer with a numbered list of short phrases, such as: at dawn.", options.TIME,
)  # fmt: skip
_ANGLE = Dimension(
    "angle", "Name {count} angles from which a photo can be taken. Answer with a numbered list of "
    "short phrases, such as: seen from the side.", options.ANGLE,
)  # fmt: skip


def _place(here: tuple[str, ...]) -> Dimension:
    question = (
        "Name {count} places in which one may see a {name}, which is a {kind}. Answer with a "
        f"numbered list of short phrases, such as: {here[0]}."
    )
    return Dimension("place", question, here)


def _colour(of_what: str) -> Dimension:
    question = (
        f"Name {{count}} colours that the {of_what} {{name}} can have. Answer with a numbered list "
        "of single words, such as: red."
    )
    return Dimension("colour", question, options.COLOUR)


_POSITION = Dimension(
    "position", "Name {count} things that a {name}, which is a {kind}, may be doing in a photo. "
    "Answer with a numbered list of short phrases, such as: lying down.", options.POSITION,
)  # fmt: skip
_SERVING = Dimension(
    "serving", "Name {count} ways in which {name}, which is a {kind}, can be served. Answer with "
    "a numbered list of short phrases, such as: on a white plate.", options.SERVING,
)  # fmt: skip
_FABRIC = Dimension(
    "material", "Name {count} materials with a {name} texture. Answer with a numbered list of "
    "short phrases, such as: of cotton.", options.FABRIC,
)  # fmt: skip
_THING = Dimension(
    "object", "Name {count} things on which one may see a {name} texture. Answer with a numbered "
    "list of short phrases, such as: on a curtain.", options.THING,
)  # fmt: skip
_LIGHT = Dimension(
    "light", "Name {count} kinds of light for a photo. Answer with a numbered list of short "
    "phrases, such as: in soft light.", options.LIGHT,
)  # fmt: skip

DOMAINS = {
    domain.name: domain
    for domain in (
        Domain("photo", "thing", "a photo of a {name}, {place}, {time}, {angle}, {light}",
               (_place(options.ANYWHERE), _TIME, _ANGLE, _LIGHT)),
        Domain("pets", "pet", "a photo of a {name}, a {kind}, {place}, {time}, {angle}, {position}",
               (_place(options.AT_HOME), _TIME, _ANGLE, _POSITION), asks_kind=True),
        Domain("food", "dish", "a photo of {name}, a {kind}, {serving}, {place}, {time}, {angle}",
               (_place(options.AT_TABLE), _TIME, _ANGLE, _SERVING), asks_kind=True),
        Domain("flowers", "flower",
               "a photo of a {colour} {name}, a {kind}, {place}, {time}, {angle}",
               (_place(options.IN_BLOOM), _TIME, _ANGLE, _colour("flower"))),
        Domain("cars", "car", "a photo of a {colour} {name}, a {kind}, {place}, {time}, {angle}",
               (_place(options.ON_WHEELS), _TIME, _ANGLE, _colour("car"))),
        Domain("aircraft", "aircraft",
               "a photo of a {colour} {name}, an {kind}, {place}, {time}, {angle}",
               (_place(options.IN_THE_AIR), _TIME, _ANGLE, _colour("aircraft"))),
        Domain("textures", "texture",
               "a close-up photo of a {colour} {name} {kind} {material}, {object}, {place}",
               (_place(options.ANYWHERE), _FABRIC, _THING, _colour("texture"))),
    )
}  # fmt: skip
