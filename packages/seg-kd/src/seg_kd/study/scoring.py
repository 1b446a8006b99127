"""What a run records of a network: scores on every split, of all classes and of the scored ones."""

from __future__ import annotations

from torch import nn

from repro_shared.metrics.segmentation import SegmentationScores
from seg_kd.use.data import Splits
from seg_kd.use.evaluation import evaluate


def all_scores(
    network: nn.Module, data: Splits, classes: int, least: float, iterations: int
) -> dict[str, float]:
    """The metrics of a network on the test images, and on further splits behind their names.

    With `least` above 0 `miou` is over the classes whose share of the labelled training pixels is
    at least that, and `miou/all classes` over all.
    """
    scores = evaluate(network, data.test, classes) if data.test else None
    found = metrics(data.classes, scores, iterations)
    splits = {"": found} if scores is not None else {}
    for name, samples in data.further.items():
        more = metrics(data.classes, evaluate(network, samples, classes), iterations)
        splits[f"{name}/"] = {k: v for k, v in more.items() if k != "iterations"}
    if least:
        shares = dict(zip(data.classes, data.shares(), strict=True))
        for each in splits.values():
            known = [v for k, v in each.items() if k.startswith("iou/") and shares[k[4:]] >= least]
            each["miou/all classes"] = each["miou"]
            each["miou"] = sum(known) / max(1, len(known))
        found |= {f"scored/{name}": 1.0 for name, share in shares.items() if share >= least}
    return found | {prefix + k: v for prefix, each in splits.items() for k, v in each.items()}


def metrics(
    classes: tuple[str, ...], scores: SegmentationScores | None, iterations: int
) -> dict[str, float]:
    """mIoU and the IoU of each class that occurs, in percent, and the iterations run.

    Without scores the iterations alone.
    """
    if scores is None:
        return {"iterations": float(iterations)}
    named = zip(classes, scores.iou, strict=True)
    return {
        "miou": float(scores.miou),
        "pixel_accuracy": float(scores.pixel_accuracy),
        "iterations": float(iterations),
        **{f"iou/{name}": float(value) for name, value in named if value == value},
    }
