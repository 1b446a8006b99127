"""Any network that scores the classes of each pixel, as a student or a teacher.

A `Network` names the function that makes it, and where in it what is distilled passes, as names of
its modules; what is not named is found in one pass of an image. It takes the place of an mmseg
config: the same loop, losses, records and scores.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn import functional as F

from repro_shared.evidence.hashing import UNRECORDED
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes
from repro_shared.runtime.rng import isolated_rng
from seg_kd.use.classifiers import classifiers, difference
from seg_kd.use.maps import SeenNetwork, score_map
from seg_kd.use.models import IMAGENET_MEAN, IMAGENET_STD

AUXILIARY_WEIGHT = 0.4  # of its cross-entropy, as mmseg's and CIRKD's
AS_ONE = 1e-3  # a map and a resized one are the same up to this share of the largest score


@dataclass(frozen=True)
class Network:
    """A network of one's own.

    A place is the name of a module, as `named_modules` has it: what it returns; with `:in` behind
    the name, what it is given. Maps are (B, C, h, w), at any stride; tokens (B, N, C) are put into
    the grid that has the image's form, without what stands before them.

    Attributes:
        build: makes the network, without arguments, in a file of its own source. The network takes
            images (B, 3, H, W) and returns class scores (B, K, h, w), alone, first of a tuple, or
            as `out` or `logits` of a dictionary (torchvision, transformers). `aux` of a dictionary
            is a second map, with 0.4 of the loss.
        pre_classifier: place of the feature of that name; left out, what the 1x1 convolution reads
            whose output, perhaps resized, is the answer, before dropout.
        c4: place of the feature of that name.
        scores: place of the class scores that are distilled; left out, what that convolution makes,
            or the answer.
        mean, std: of the pixels that it wants, RGB, in units of 0..255; ImageNet's.
        divisor: what height and width of an image must be a multiple of: it is padded below and on
            the right when it is scored.
    """

    build: Callable[[], nn.Module] = field(compare=False, metadata=UNRECORDED)
    pre_classifier: str = ""
    c4: str = ""
    scores: str = ""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    divisor: int = 1
    digest: str = field(init=False)  # of the function's source; what it calls is not looked at

    imagenet = False

    def __post_init__(self) -> None:
        try:
            source = inspect.getsource(self.build)
        except (OSError, TypeError) as error:
            raise UserError("Network: build must be a function or class in a file") from error
        object.__setattr__(self, "digest", sha256_bytes(source.encode()))
        if self.divisor < 1:
            raise UserError(f"Network: divisor must be 1 or more, got {self.divisor}")

    def __str__(self) -> str:
        return f"{self.build.__module__}:{self.build.__qualname__}"

    def config(self, num_classes: int, crop: tuple[int, int]) -> dict[str, Any]:
        """What mmengine builds it of."""
        return {
            "type": Segmentor,
            "network": self,
            "num_classes": num_classes,
            "crop": crop,
            "data_preprocessor": {
                "type": "SegDataPreProcessor",
                "mean": list(self.mean),
                "std": list(self.std),
                "bgr_to_rgb": True,
                "pad_val": 0,
                "seg_pad_val": 255,
                "size": crop,
                "test_cfg": {"size_divisor": self.divisor},
            },
        }


class Segmentor(BaseModel):
    """A user's network with the interface of mmseg's segmentors; its state_dict is the network's.

    Args:
        network: how it is made, and where what is.
        num_classes: that it has to score.
        crop: height and width of the image of the first pass.
        data_preprocessor: mmseg's.

    Raises:
        UserError: it cannot be made or run, scores other classes, or lacks a named module.
    """

    align_corners = False
    auxiliary_head = None

    def __init__(
        self, network: Network, num_classes: int, crop: tuple[int, int], data_preprocessor: Any
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.name, self.num_classes = str(network), num_classes
        self.out_channels = num_classes
        self.network: Any = self._trying("cannot be made", network.build)
        if not isinstance(self.network, nn.Module):
            raise UserError(f"{self.name} returns no torch.nn.Module")
        self.places = {
            name: place
            for name in ("pre_classifier", "c4", "scores")
            if (place := getattr(network, name))
        }
        modules = dict(self.network.named_modules())
        for name, place in self.places.items():
            if place.removesuffix(":in") not in modules:
                near = ", ".join([*modules][-4:])
                raise UserError(
                    f"{self.name} has no module {place.removesuffix(':in')!r} for {name}; among "
                    f"its modules are {near}"
                )
        self.register_state_dict_post_hook(_bare)
        self.register_load_state_dict_pre_hook(_below)
        self.channels: dict[str, int] = {}
        self._learn(crop)

    def _trying(self, fails: str, what: Callable[[], Any]) -> Any:
        """What the user's code gives; UserError where it fails, which may be in any way."""
        try:
            return what()
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(f"{self.name} {fails}: {text}") from error

    def init_weights(self) -> None:
        """Nothing: what made the network has initialised it."""

    @torch.no_grad()
    def _learn(self, crop: tuple[int, int]) -> None:
        """One pass of an image: the classifier, and how many channels every map has."""
        training = self.network.training
        self.network.eval()
        with isolated_rng(0):
            image = torch.rand(1, 3, *crop)
            with classifiers(self.network, self.num_classes) as found, self.watched() as seen:
                what = f"fails on an image of {crop[0]} x {crop[1]}"
                self._trying(what, lambda: self.network(image))
        self.network.train(training)
        main = score_map(seen.output, self.name)
        if main.shape[1] != self.num_classes:
            raise UserError(
                f"{self.name} scores {main.shape[1]} classes, the data have {self.num_classes}"
            )
        if found and "scores" not in self.places:
            last = min(found, key=lambda each: difference(each.scores, main))
            if difference(last.scores, main) < AS_ONE:
                self.places["scores"] = last.name
                seen.maps["scores"] = last.scores
                if "pre_classifier" not in self.places:
                    self.places["pre_classifier"] = last.place
                    seen.maps["pre_classifier"] = last.feature
        scored = seen.logits()
        if scored.shape[1] != self.num_classes:
            raise UserError(
                f"{self.name}: {self.places['scores']} has {scored.shape[1]} channels, and the "
                f"data have {self.num_classes} classes"
            )
        for layer in ("pre-classifier", "c4"):
            if layer.replace("-", "_") in self.places:
                self.channels[layer] = seen.layer(layer).shape[1]

    def feature_channels(self, layer: str) -> int:
        """Channels of a feature; UserError where the network has no place for it."""
        if layer not in self.channels:
            raise self.lacks(layer)
        return self.channels[layer]

    def lacks(self, layer: str) -> UserError:
        """The error for a layer that has no place."""
        name = layer.replace("-", "_")
        return UserError(
            f"{self.name} has no layer {layer}: name its module, Network(..., {name}=...), or take "
            "an objective that needs no feature, such as logit"
        )

    @contextmanager
    def watched(self) -> Iterator[SeenNetwork]:
        """Note what passes meanwhile; see `outputs.watched`."""
        seen = SeenNetwork(self)
        modules = dict(self.network.named_modules())
        with ExitStack() as hooks:
            for name, place in self.places.items():
                module = modules[place.removesuffix(":in")]
                if place.endswith(":in"):
                    hook = module.register_forward_pre_hook(seen.given(name))
                else:
                    hook = module.register_forward_hook(seen.made(name))
                hooks.callback(hook.remove)
            hooks.callback(self.network.register_forward_hook(seen.answered).remove)
            yield seen

    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "tensor"
    ) -> Any:
        """The answer, the cross-entropy of it, or predictions, as mmseg's segmentors."""
        answer = self.network(inputs)
        main = score_map(answer, self.name)
        if mode == "tensor":
            return main
        assert data_samples is not None
        if mode == "predict":
            return self._predicted(main, inputs, data_samples)
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
        losses = {"decode.loss_ce": cross_entropy(main, labels)}
        if isinstance(answer, Mapping) and isinstance(answer.get("aux"), Tensor):
            losses["aux.loss_ce"] = AUXILIARY_WEIGHT * cross_entropy(answer["aux"], labels)
        return losses

    def _predicted(self, scores: Tensor, inputs: Tensor, data_samples: list[Any]) -> list[Any]:
        height, width = inputs.shape[-2:]
        whole = F.interpolate(scores.float(), (height, width), mode="bilinear")
        for maps, sample in zip(whole, data_samples, strict=True):
            known = sample.metainfo
            padding = known.get("img_padding_size", known.get("padding_size", (0, 0, 0, 0)))
            shown = maps[None, :, : height - padding[3], : width - padding[1]]
            made = F.interpolate(shown, tuple(known["ori_shape"]), mode="bilinear")[0]
            sample.set_data({
                "seg_logits": PixelData(data=made),
                "pred_sem_seg": PixelData(data=made.argmax(0, keepdim=True)),
            })  # fmt: skip
        return data_samples


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labelled pixels of (B, H, W), at their size; 0 where there is none."""
    size = (labels.shape[-2], labels.shape[-1])
    if scores.shape[-2:] != size:
        scores = F.interpolate(scores, size, mode="bilinear")
    total = F.cross_entropy(scores, labels, ignore_index=255, reduction="sum")
    return total / (labels != 255).sum().clamp(min=1)


def _bare(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Names of a state_dict as the network itself has them."""
    long = f"{prefix}network."
    for name in [each for each in state if each.startswith(long)]:
        state[prefix + name.removeprefix(long)] = state.pop(name)


def _below(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The inverse of `_bare`."""
    for name in [each for each in state if each.startswith(prefix)]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)
