"""Faster R-CNN of torchvision (arXiv 1506.01497) behind the interface of our own detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import FrozenBatchNorm2d

from ofds.use.nets.detector import Target
from repro_shared.runtime.weights import load_strictly, read_weights

IGNORED = -1  # the label that torchvision's sampler passes over
TRAINED_LAYERS = 3  # of the backbone's five, as torchvision has it for pretrained ones


class FasterRcnn(nn.Module):
    """Faster R-CNN with a feature pyramid.

    Args:
        classes: how many, without the background.
        backbone: a ResNet of torchvision.
        weights: file with the backbone's ImageNet weights, as torchvision publishes them; without
            it nothing is pretrained and everything is trained.
        min_size, max_size: to which images are scaled, in pixels.
    """

    def __init__(
        self,
        classes: int,
        backbone: str = "resnet50",
        weights: str | Path | None = None,
        min_size: int = 800,
        max_size: int = 1333,
    ) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if weights is None else FrozenBatchNorm2d
        layers = 5 if weights is None else TRAINED_LAYERS
        body = resnet_fpn_backbone(
            backbone_name=backbone, weights=None, norm_layer=norm, trainable_layers=layers
        )
        if weights is not None:
            own = body.body.state_dict()
            given = {name: value for name, value in read_weights(weights).items()
                     if name in own or not name.startswith("fc.")}  # fmt: skip
            counters = [name for name in given if name.endswith("num_batches_tracked")]
            for name in counters:  # frozen normalisations count nothing
                del given[name]
            load_strictly(body.body, given, str(weights))
        self.model = FasterRCNN(body, classes + 1, min_size=min_size, max_size=max_size)
        rpn = self.model.rpn
        self.model.rpn = Proposing(
            rpn.anchor_generator, rpn.head, 0.7, 0.3, 256, 0.5, rpn._pre_nms_top_n,
            rpn._post_nms_top_n, rpn.nms_thresh,
        )  # fmt: skip

    def loss(self, images: Any, targets: list[Target]) -> Tensor:
        """The sum of its four losses; images of one `weight` are passed through it together.

        Args:
            images: (b, 3, h, w), or a list of (3, h, w) of any sizes.
            targets: see `detector`; `ignored` boxes are neither objects nor background, in both of
                its stages, for what they match.
        """
        weights = [float(t["weight"]) if "weight" in t else 1.0 for t in targets]
        total: Any = 0.0
        for weight in dict.fromkeys(weights):
            own = [place for place, each in enumerate(weights) if each == weight]
            parts = self.model([images[i] for i in own], [with_ignored(targets[i]) for i in own])
            total = total + weight * len(own) * sum(parts.values())
        return total / max(sum(weights), 1e-9)

    def detect(self, images: Any) -> list[Target]:
        """Boxes after its own non-maximum suppression; labels from 0."""
        found = self.model(list(images))
        return [{**each, "labels": each["labels"] - 1} for each in found]


class Proposing(RegionProposalNetwork):
    """Anchors that match an ignored box are no examples at all."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for place, (own, target) in enumerate(zip(anchors, targets, strict=True)):
            if (target["labels"] == IGNORED).any():
                matched = self.proposal_matcher(self.box_similarity(target["boxes"], own))
                ignored = (target["labels"] == IGNORED)[matched.clamp(min=0)] & (matched >= 0)
                labels[place][ignored] = -1.0
        return labels, boxes


def with_ignored(target: Target) -> Target:
    """torchvision's form: labels from 1, ignored boxes among the others with a label of -1."""
    ignored = target.get("ignored", target["boxes"][:0])
    boxes = torch.cat([target["boxes"], ignored])
    labels = torch.cat([target["labels"] + 1, target["labels"].new_full((len(ignored),), IGNORED)])
    wide = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # it refuses boxes without an area
    return {"boxes": boxes[wide], "labels": labels[wide]}
