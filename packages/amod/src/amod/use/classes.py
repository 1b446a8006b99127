"""Classes: their numbers in a user's class map, and some of a model's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from repro_shared.runtime.errors import UserError


def read_class_map(path: str | Path) -> dict[str, int]:
    """From the name of a class folder to the number of its class, an output of the model.

    Args:
        path: a text file with a name a line, in the order of the classes (as timm's class maps); or
            JSON: such a list; an object from name to number, which may leave numbers out, and give
            several folders one class; or from number to name, or to `[name, ...]` (as Keras's
            `imagenet_class_index.json`).

    Raises:
        UserError: no such file, or one of another form.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig").strip()
        content = json.loads(text) if Path(path).suffix.lower() == ".json" else text.splitlines()
        pairs = list(enumerate(content)) if isinstance(content, list) else list(content.items())
        if isinstance(content, dict) and all(type(value) is int for value in content.values()):
            pairs = [(number, name) for name, number in pairs]
        named = [(name if isinstance(name, str) else name[0], int(of)) for of, name in pairs]
        found = {name.strip(): number for name, number in named}
    except OSError as error:
        raise UserError(f"class map {path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError, LookupError):
        named, found = [], {}
    if len(found) < max(2, len(named)) or "" in found or min(found.values()) < 0:
        wanted = "a name a line, or JSON from name to number; each name once, at least two"
        raise UserError(f"class map {path}: give {wanted}")
    return found


def gives_numbers(path: str | Path) -> bool:
    """Whether a class map (see `read_class_map`) holds numbers, and not only an order."""
    text = Path(path).read_text(encoding="utf-8-sig")
    return Path(path).suffix.lower() == ".json" and isinstance(json.loads(text), dict)


class Among(nn.Module):
    """A model that chooses among some of its classes only.

    Args:
        model: gives logits (B, all classes).
        numbers: of the classes, in the order of the new logits (B, len(numbers)).
    """

    def __init__(self, model: nn.Module, numbers: Sequence[int]) -> None:
        super().__init__()
        self.model, self.numbers = model, list(numbers)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of those classes."""
        logits: Tensor = self.model(images)
        return logits[:, self.numbers]


def among(model: Any, pictures: Any, mapped: bool = False) -> Any:
    """The model, choosing among the classes that the pictures' class map names.

    So the authors of ImageNet-A and -R score theirs, which have 200 of the 1000 classes.

    Args:
        model: timm's, with a classifier.
        pictures: a `ClassFolder`, or others whose classes are the first of the model's.
        mapped: their numbers come from a class map that gives numbers.

    Raises:
        UserError: pictures of fewer classes that are not mapped, or of classes that the model
            lacks; a model without a classifier.
    """
    classes = model.num_classes
    if not classes:
        raise UserError("the weights have no classifier: train one with `amod transfer`")
    numbers = getattr(pictures, "numbers", range(classes))
    if tuple(numbers) == tuple(range(classes)):
        return model
    ordered = tuple(numbers) == tuple(range(len(numbers)))
    if numbers[-1] >= classes or (ordered and not mapped):
        advice = "give a JSON file that says which ones they are with --class-map"
        raise UserError(
            f"the pictures have {len(numbers)} classes, numbered to {numbers[-1]}, the model has "
            f"{classes}: {'correct the class map' if mapped else advice}"
        )
    return Among(model, numbers)
