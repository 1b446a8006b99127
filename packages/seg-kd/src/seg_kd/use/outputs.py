"""What a segmentor gives besides its answer: one map of class scores, and the feature before it.

Heads of mmseg classify in `forward`, which both training and prediction call, but return what suits
their own loss: one map, the maps of several branches (DANet, DDRNet, PIDNet), a vector beside the
map (EncNet), the maps of all stages (K-Net). Watching a pass leaves the losses mmseg's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from seg_kd.use.weights import once


@dataclass
class Seen:
    """What went through the last decode head in its last pass.

    Attributes:
        head: the head.
        stages: the backbone's (or neck's) maps that it read.
        output: what it returned.
        classified: what its 1x1 classifier made, (B, K, h, w); None for a head without one.
        feature: what that classifier read, before dropout, (B, C, h, w).
        auxiliary_head: the head whose scores `auxiliary` gives; None for none.
        auxiliary_output: what it returned, where it ran in that pass (in training).
    """

    head: Any
    stages: Any = None
    output: Any = None
    classified: Tensor | None = None
    feature: Tensor | None = None
    auxiliary_head: Any = None
    auxiliary_output: Any = None

    def logits(self) -> Tensor:
        """The main map of class scores, (B, K, h, w).

        Of several outputs it is the one that the head's own classifier made, else the last. One
        score for two classes, whose sigmoid is the second's probability, becomes (0, score).

        Raises:
            UserError: the head gives no such map.
        """
        main = self.output
        if isinstance(main, list | tuple):
            own = getattr(self.head, "conv_seg", None) is not None
            main = self.classified if own else main[-1] if main else None
        if not isinstance(main, Tensor) or main.ndim != 4:
            raise UserError(
                f"{_name(self.head)} gives no map of class scores (it classifies masks, points or "
                "depth), so it can neither teach nor be taught; `seg-kd train` does without"
            )
        return _by_class(main)

    def layer(self, name: str) -> Tensor:
        """The distilled feature: `pre-classifier`, or `c4` (the last stage that the head reads)."""
        if name == "c4":
            stages, index = self.stages, self.head.in_index
            index = index[-1] if isinstance(index, list | tuple) else index
            found = stages if isinstance(stages, Tensor) else stages[index]
        else:
            found = self.feature
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise _no_feature(self.head)
        return found

    def auxiliary(self) -> Tensor:
        """Class scores of the auxiliary head, as `logits`; it is run if it has not been.

        Raises:
            UserError: there is none, or it gives no such map.
        """
        found = self.auxiliary_output
        if found is None and self.auxiliary_head is not None:
            with torch.no_grad():  # in training it has been: this is a teacher's
                found = self.auxiliary_head(self.stages)
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise UserError(
                f"{_name(self.head)} has no auxiliary head that gives one map of scores"
            )
        return _by_class(found)


@dataclass
class Models:
    """Student and teacher, as the terms of an objective ask for them.

    Attributes:
        student, teacher: mmseg segmentors.
        classes: how many both score.

    Raises:
        UserError: they score other numbers of classes.
    """

    student: Any
    teacher: Any
    classes: int = field(init=False)

    def __post_init__(self) -> None:
        own, other = (int(each.num_classes) for each in (self.student, self.teacher))
        if own != other:
            raise UserError(
                f"the student scores {own} classes and the teacher {other}: they must be the same"
            )
        self.classes = own
        for whose, each in (("student", self.student), ("teacher", self.teacher)):
            heads = getattr(each, "decode_head", None)
            if isinstance(heads, nn.ModuleList):
                once(f"the {whose} is a cascade of {len(heads)} heads: the last one is distilled")

    def channels(self, layer: str) -> tuple[int, int]:
        """Channels of a feature, the student's and the teacher's; UserError if one lacks it."""
        return feature_channels(self.student, layer), feature_channels(self.teacher, layer)

    def need_auxiliary(self) -> None:
        """UserError where one of them has not exactly one auxiliary head."""
        for whose, model in (("student", self.student), ("teacher", self.teacher)):
            if _auxiliary_head(model) is None:
                raise UserError(
                    f"this objective also teaches the auxiliary head, and the {whose} has not "
                    "exactly one (or its weights lack it): choose the preset without "
                    "`-as-published`"
                )


@contextmanager
def watched(model: Any) -> Iterator[Seen]:
    """Note what passes through the last decode head of a segmentor meanwhile.

    A network of one's own (`network.Segmentor`) notes it by itself.
    """
    if hasattr(model, "watched"):
        with model.watched() as found:
            yield found
        return
    head = last_head(model)
    auxiliary = _auxiliary_head(model)
    seen, undropped, forward = Seen(head), list[Tensor](), head.forward
    seen.auxiliary_head = auxiliary
    classifier, dropout = _classifier(head)

    def passing(stages: Any, *others: Any) -> Any:
        seen.stages, seen.output = stages, forward(stages, *others)
        return seen.output

    def dropping(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        undropped[:] = inputs[:1]

    def beside(stages: Any) -> Any:
        seen.auxiliary_output = type(auxiliary).forward(auxiliary, stages)
        return seen.auxiliary_output

    def classified(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Other branches share the dropout: only the pass right before the classifier counts.
        seen.feature, seen.classified = (undropped or inputs)[0], output

    handles = [classifier.register_forward_hook(classified)] if classifier is not None else []
    if classifier is not None and dropout is not None:
        handles.append(dropout.register_forward_pre_hook(dropping))
    head.forward = passing  # mmseg calls `forward` itself, past the hooks of modules
    if auxiliary is not None:
        auxiliary.forward = beside
    try:
        yield seen
    finally:
        del head.forward
        if auxiliary is not None:
            del auxiliary.forward
        for handle in handles:
            handle.remove()


def last_head(model: Any) -> Any:
    """The decode head that gives the answer: of a cascade the last."""
    head = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _auxiliary_head(model: Any) -> Any:
    """The auxiliary head where there is exactly one, else None."""
    head = getattr(model, "auxiliary_head", None)
    if isinstance(head, nn.ModuleList):
        return head[0] if len(head) == 1 else None
    return head


def feature_channels(model: Any, layer: str) -> int:
    """Channels of the distilled feature: `pre-classifier`, or `c4` (the last stage that it reads).

    Raises:
        UserError: a network without such a feature.
    """
    if hasattr(model, "feature_channels"):
        found: int = model.feature_channels(layer)
        return found
    head = last_head(model)
    if layer == "c4":
        channels = head.in_channels
        if isinstance(head.in_index, list | tuple) and isinstance(channels, list | tuple):
            channels = channels[-1]  # of a head that reads several stages, apart
        elif not isinstance(head.in_index, int):
            raise UserError(
                f"layer c4: {_name(head)} reads several stages as one map; take pre-classifier"
            )
        return int(channels)
    classifier, _ = _classifier(head)
    if classifier is None:
        raise _no_feature(head)
    return int(classifier.in_channels)


def _classifier(head: Any) -> tuple[Any, Any]:
    """The 1x1 classifier and its dropout, None where there is none; K-Net's lie a level deeper."""
    inner = getattr(head, "kernel_generate_head", head)
    return getattr(inner, "conv_seg", None), getattr(inner, "dropout", None)


def _by_class(scores: Tensor) -> Tensor:
    """(B, K, h, w); one score, whose sigmoid is the second class's probability, becomes two."""
    return torch.cat([torch.zeros_like(scores), scores], 1) if scores.shape[1] == 1 else scores


def _no_feature(head: Any) -> UserError:
    return UserError(
        f"{_name(head)} has no feature map before a 1x1 classifier: use --objective logit"
    )


def _name(head: Any) -> str:
    return type(head).__name__
