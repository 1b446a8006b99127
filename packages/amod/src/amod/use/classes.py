"""Classes: their numbers in a user's class map, their names with weights, some of a model's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError

KEY = "classes"  # in the metadata of a safetensors file: the names in order, as a JSON list


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


def stored(classes: Sequence[str]) -> dict[str, str]:
    """The metadata that keep the names of the classes with weights in safetensors."""
    return {KEY: json.dumps(list(classes))}


def names_in(path: str | Path | None) -> tuple[str, ...]:
    """The names of the classes stored with weights, in order; () where there are none."""
    if path is None or Path(path).suffix != ".safetensors":
        return ()
    try:
        with safe_open(path, "pt") as file:
            names = json.loads((file.metadata() or {}).get(KEY, "[]"))
    except (OSError, SafetensorError, ValueError):  # what is wrong with it is said on reading
        return ()
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known and len(set(names)) == len(names) else ()


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


def among(model: Any, pictures: Any) -> Any:
    """The model, choosing among the classes that the pictures' class map names.

    So the authors of ImageNet-A and -R score theirs, which have 200 of the 1000 classes.

    Raises:
        UserError: pictures of fewer classes and no map, or of classes that the model lacks; a model
            without a classifier.
    """
    classes = model.num_classes
    if not classes:
        raise UserError("the weights have no classifier: train one with `amod transfer`")
    numbers = getattr(pictures, "numbers", range(classes))
    if tuple(numbers) == tuple(range(classes)):
        return model
    if numbers[-1] >= classes or tuple(numbers) == tuple(range(len(numbers))):
        raise UserError(
            f"the pictures have {len(numbers)} classes, numbered to {numbers[-1]}, the model has "
            f"{classes}: give a JSON file that says which ones they are with --class-map"
        )
    return Among(model, numbers)
