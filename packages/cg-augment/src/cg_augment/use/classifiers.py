"""Classifiers: a network with its own size and normalisation inside the differentiable path.

Teacher and student look at the same pixels, 0 to 1, and each prepares them for itself. So one image
can be relabelled, mixed, attacked or guided by both, and gradients reach its pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir, sha256_file
from repro_shared.runtime.rng import isolated_rng
from repro_shared.runtime.weights import listed, load_strictly, misfits, read_weights, save_weights

WEIGHTS, CONFIG = "model.safetensors", "model.json"
VERSION = 1  # of model.json
Interpolation = Literal["bicubic", "bilinear"]


class Classifier(nn.Module):
    """Images (n, 3, h, w), values 0 to 1, to logits (n, classes).

    Args:
        network: gives features (n, width) of normalised images (n, 3, size, size), see `embed`.
        head: from features to logits.
        classes: their names, in the order of the logits.
        size: of the square images that the network takes; others are resized, with antialiasing.
        mean, std: of R, G, B on the scale 0 to 1, taken off behind the resizing.
        interpolation: of the resizing.
        name: for records; no path.
        embed: calls the network, where that is more than `network(images)`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        classes: Sequence[str],
        size: int,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        interpolation: Interpolation = "bicubic",
        name: str = "classifier",
        embed: Callable[[Any, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.head, self.name = network, head, name
        self.classes, self.size, self.interpolation = tuple(classes), size, interpolation
        self._embed = embed
        for key, values in (("mean", mean), ("std", std)):
            column = torch.tensor(tuple(values), dtype=torch.float32)[:, None, None]
            self.register_buffer(key, column, persistent=False)

    def prepared(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w), 0 to 1, as the network takes them."""
        if tuple(images.shape[-2:]) != (self.size, self.size):
            # Bicubic overshoots the range a little, as Pillow's would before it clips.
            images = F.interpolate(
                images, (self.size, self.size), mode=self.interpolation,
                align_corners=False, antialias=True,
            )  # fmt: skip
        return (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)

    def features(self, images: Tensor) -> Tensor:
        """What the head sees (n, width)."""
        given = self.prepared(images)
        made: Tensor = self._embed(self.network, given) if self._embed else self.network(given)
        return made

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        features = self.features(images)
        return features, self.head(features)

    @property
    def sha256(self) -> str:
        """Of all weights, by name."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            plain = value.detach().cpu().contiguous()
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def frozen(self) -> Classifier:
        """In evaluation mode, without gradients of its weights."""
        return self.eval().requires_grad_(False)


class Picked(nn.Module):
    """A head that gives some outputs of another one, in an order of its own."""

    places: Tensor

    def __init__(self, head: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.inner = head
        self.register_buffer("places", torch.tensor(tuple(places)), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, places)."""
        logits: Tensor = self.inner(features)
        return logits[:, self.places]


def reordered(classifier: Classifier, classes: Sequence[str], where: str) -> Classifier:
    """The classifier with these classes in this order.

    Args:
        classifier: knows all of them, and perhaps others, which are left out.
        classes: wanted.
        where: what has these classes, for the error.

    Raises:
        UserError: it lacks some of them.
    """
    if tuple(classes) == classifier.classes:
        return classifier
    lacking = [name for name in classes if name not in classifier.classes]
    if lacking:
        known = ", ".join(classifier.classes[:4]) + (", ..." if classifier.classes[4:] else "")
        more = f" and {len(lacking) - 3} more" if lacking[3:] else ""
        raise UserError(
            f"classes differ: {classifier.name} does not know {', '.join(lacking[:3])}{more} of "
            f"{where}; it knows {len(classifier.classes)}: {known}"
        )
    places = [classifier.classes.index(name) for name in classes]
    classifier.head = Picked(classifier.head, places).to(classifier.mean.device)
    classifier.classes = tuple(classes)
    return classifier


def _timm_embed(network: Any, images: Tensor) -> Tensor:
    made: Tensor = network.forward_head(network.forward_features(images), pre_logits=True)
    return made


def of_timm(
    name: str, classes: Sequence[str], size: int | None = None, seed: int = 0
) -> Classifier:
    """A timm model with random weights, the same for a seed, prepared as its configuration says.

    Raises:
        UserError: timm has no such model, or cannot make it at this size.
    """
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.partition('_')[0]}*")[:5]
        raise UserError(f"timm has no model {name!r}; such as {', '.join(near) or 'none'}")
    sized: dict[str, Any] = {}
    found = timm.get_pretrained_cfg(name)
    # Transformers with position embeddings are made for one size; the others take any.
    if size and found is not None and found.fixed_input_size and found.input_size[-1] != size:
        sized = {"img_size": size}
    try:
        with isolated_rng(seed):
            network = timm.create_model(name, pretrained=False, num_classes=len(classes), **sized)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        at = f" for images of {size} pixels" if size else ""
        raise UserError(f"timm cannot make {name}{at} ({one_line(str(error))})") from None
    config = resolve_model_data_config(network)
    model: Any = network
    head = model.get_classifier()
    if not isinstance(head, nn.Module):
        raise UserError(f"{name}: its classifier is no single layer, which is not known here")
    way: Interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    # The layer is registered twice, here and inside the network: one set of weights all the same.
    return Classifier(
        network, head, classes, size or int(config["input_size"][-1]),
        config["mean"], config["std"], way, f"timm:{name}", _timm_embed,
    )  # fmt: skip


def load_timm(classifier: Classifier, path: str | Path, new_head: bool = False) -> None:
    """Weights of timm's from a file; with `new_head` a classifier of other classes is left out.

    Raises:
        UserError: weights of another model, or of another number of classes.
    """
    network, state = classifier.network, read_weights(path)
    own = network.state_dict()
    wrong = misfits(network, state)
    config: Any = getattr(network, "pretrained_cfg", {}) or {}
    names = config.get("classifier") or "head"
    heads = tuple(f"{each}." for each in ([names] if isinstance(names, str) else names))
    if wrong and all(key.startswith(heads) for key in wrong):
        if not new_head:
            raise UserError(
                f"{path} is for another number of classes than the {len(classifier.classes)} here: "
                f"{listed(wrong)}"
            )
        state = {k: v for k, v in state.items() if not k.startswith(heads)}
        state |= {k: v for k, v in own.items() if k.startswith(heads)}
    load_strictly(network, state, str(path))


def save_classifier(classifier: Classifier, folder: str | Path, **about: Any) -> Path:
    """Write a timm classifier and all that it takes to load it; `about` is kept beside.

    `timm.create_model(NAME, num_classes=N, checkpoint_path="FOLDER/model.safetensors")` reads the
    weights, too.
    """
    target = ensure_output_dir(folder)
    digest = save_weights(classifier.network, target / WEIGHTS, metadata={"format": "pt"})
    form = {
        "version": VERSION,
        "model": classifier.name.removeprefix("timm:"),
        "classes": list(classifier.classes),
        "size": classifier.size,
        "mean": classifier.mean.flatten().tolist(),
        "std": classifier.std.flatten().tolist(),
        "interpolation": classifier.interpolation,
        "sha256": digest,
        **about,
    }
    atomic_write_json(target / CONFIG, form)
    return target


def load_classifier(folder: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """The classifier of a folder in evaluation mode, and all that `model.json` says.

    Raises:
        UserError: no such classifier, a damaged file, or weights of another model.
    """
    path = Path(folder) / CONFIG
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
        if form["version"] != VERSION:
            raise UserError(f"{path}: version {form['version']}, this is {VERSION}")
        made = of_timm(str(form["model"]), tuple(map(str, form["classes"])), int(form["size"]))
        for key in ("mean", "std"):
            values = torch.tensor([float(v) for v in form[key]], dtype=torch.float32)
            getattr(made, key).copy_(values[:, None, None])
        made.interpolation = form["interpolation"]
    except FileNotFoundError:
        raise UserError(f"{folder}: no {CONFIG} here; give a folder that `train` wrote") from None
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error})") from None
    weights = path.parent / WEIGHTS
    load_strictly(made.network, read_weights(weights), str(weights))
    if sha256_file(weights) != form.get("sha256"):
        raise UserError(f"{weights}: not the weights that {CONFIG} speaks of")
    return made.frozen(), form
