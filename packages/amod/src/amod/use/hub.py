"""Save routed models to a folder or to the Hugging Face hub, and load them again.

A folder holds `model.safetensors` with timm's names of the weights, `config.json` in timm's form,
and a model card. The routing of a model from `amod.use.registry` is among its `model_args`, so that
`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the routed model after `import amod`;
that of any other converted model is under the key `amod`: timm by itself reads the dense model.
Weights of learned routers are loaded by `from_pretrained` only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import timm
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from timm.models import save_for_hf
from torch import nn

from amod.method.blocks import routed_blocks
from amod.method.model import convert
from amod.use.metadata import routing_of, stored
from amod.use.registry import PREFIX
from repro_shared.runtime.errors import one_line
from repro_shared.runtime.files import ensure_output_dir
from repro_shared.runtime.weights import save_weights

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = """\
---
{{ card_data }}
---

A timm vision transformer with Mixture-of-Depths routing by attention
([arXiv 2412.20875](https://arxiv.org/abs/2412.20875)), saved with `amod`; `config.json` says which
model and how it is routed.

```python
from amod.use.hub import from_pretrained

model = from_pretrained("FOLDER_OR_REPOSITORY")  # in evaluation mode
```
"""


def save_pretrained(
    model: nn.Module, folder: str | os.PathLike[str], classes: Sequence[str] = ()
) -> None:
    """Write a routed model to a folder, made if need be; the files there are complete or not there.

    Args:
        model: a converted model that was made by `timm.create_model`. Drop rates, being of
            training, are not kept.
        folder: where its files go; a model card that is there already stays.
        classes: their names, in order, to be kept with the weights.

    Raises:
        ValueError: not routed, not made by timm, or routed by a function of the user's.
        UserError: the folder cannot be written.
    """
    _config(model)  # before anything is written
    _HubModel(model, classes).save_pretrained(ensure_output_dir(folder))


def push_to_hub(model: nn.Module, repository: str, **options: Any) -> str:
    """Save a routed model to the hub and return the commit's address.

    Args:
        model: as for `save_pretrained`.
        repository: `name` or `owner/name`.
        options: of huggingface_hub's `push_to_hub`: token, private, branch, commit_message, ...

    Raises:
        ValueError: as `save_pretrained`.
    """
    _config(model)
    return _HubModel(model).push_to_hub(repository, **options)


def from_pretrained(source: str | os.PathLike[str], **download: Any) -> Any:
    """The routed model of a folder, or of the hub, in evaluation mode on the CPU in float32.

    Args:
        source: a folder that `save_pretrained` wrote, or a repository's `name` or `owner/name`.
        download: for the hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        ValueError: no such folder or repository, files missing or corrupt, or weights of another
            model; one line.
    """
    try:
        return _HubModel.from_pretrained(str(source), **download).module
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: {CONFIG} is no JSON: {error}") from error
    except (OSError, HFValidationError) as error:
        raise ValueError(
            f"{source} is no folder, and the hub did not give it: {one_line(str(error))}"
        ) from error


class _HubModel(
    PyTorchModelHubMixin,
    library_name="amod",
    paper_url="https://arxiv.org/abs/2412.20875",
    pipeline_tag="image-classification",
    tags=["timm", "mixture-of-depths"],
    model_card_template=CARD,
):
    """Carries a routed model through huggingface_hub's mixin, which writes `module`'s weights."""

    def __init__(self, module: Any, classes: Sequence[str] = ()) -> None:
        self.module, self.classes = module, classes

    def _save_pretrained(self, save_directory: Path) -> None:
        # The mixin has removed an old config.json by now: written last, it says that all is there.
        with TemporaryDirectory(dir=save_directory) as made:
            settings = _config(self.module)
            save_for_hf(self.module, made, model_config=settings, safe_serialization=True)
            metadata = stored(self.classes, self.module)
            save_weights(self.module, Path(made, WEIGHTS), metadata=metadata)
            for name in (WEIGHTS, CONFIG):
                os.replace(f"{made}/{name}", save_directory / name)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        config: dict[str, Any] | None = None,
        **download: Any,
    ) -> Any:
        if config is None:
            raise ValueError(f"{model_id} has no {CONFIG}: no model was saved there")
        try:
            model = timm.create_model(
                config["architecture"],
                pretrained_cfg=config["pretrained_cfg"],
                **config.get("model_args", {}),
            )
            if "amod" in config:
                convert(model, **config["amod"])
        except (KeyError, TypeError, RuntimeError, ValueError, AssertionError) as error:
            raise ValueError(
                f"{model_id}: {CONFIG} describes no model that can be made: {one_line(repr(error))}"
            ) from error
        if not routed_blocks(model):
            raise ValueError(f"{model_id} is a dense model: load it with timm, then use convert")
        path = Path(model_id) / WEIGHTS
        if not Path(model_id).is_dir():
            path = Path(hf_hub_download(model_id, WEIGHTS, **download))
        elif not path.is_file():
            raise ValueError(f"{model_id} has no {WEIGHTS}")
        try:
            return cls(cls._load_as_safetensor(cast(Any, model), str(path), "cpu", strict=True))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(
                f"{path} is not this model's weights: {one_line(str(error))}"
            ) from error


def _config(model: Any) -> dict[str, Any]:
    """What goes into config.json besides timm's own: the arguments of `convert`.

    Raises:
        ValueError: see `save_pretrained`.
    """
    name = type(model).__name__
    if not routed_blocks(model):
        raise ValueError(f"{name} is not routed; use amod.convert first")
    made_by_timm: Any = getattr(model, "pretrained_cfg", None)
    if made_by_timm is None:
        raise ValueError(f"{name} cannot be saved: it was not made by timm.create_model")
    settings = routing_of(model)
    if not settings:
        raise ValueError("a model routed by a function of yours cannot be saved: use its name")
    registered = made_by_timm["architecture"].startswith(PREFIX)
    return {"model_args": settings} if registered else {"amod": settings}
