"""Mean intersection over union and pixel accuracy from a confusion matrix.

Convention: counts are summed over the whole evaluation set before any ratio is taken; pixels whose
target is the ignore index are left out, whatever is predicted there; a class that occurs neither in
a target nor in a prediction is absent and left out of the mean; one that is only predicted has IoU
0 and counts (as in mmsegmentation's IoUMetric and torchmetrics' Jaccard index).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from repro_shared.runtime.errors import UserError

Labels = npt.NDArray[np.integer] | torch.Tensor


@dataclass(frozen=True)
class SegmentationScores:
    """Percent (0..100) over one evaluation set: per class, NaN if absent, and the others' mean.

    `confusion` are the pixels that they were computed from, see `confusion_matrix`.
    """

    miou: float
    iou: tuple[float, ...]
    absent: tuple[int, ...]
    pixel_accuracy: float
    confusion: npt.NDArray[np.int64] = field(compare=False, repr=False)


def confusion_matrix(
    prediction: Labels, target: Labels, num_classes: int, ignore_index: int = 255
) -> npt.NDArray[np.int64]:
    """Count pixels, int64 (num_classes, num_classes): rows target, columns prediction.

    Integer classes 0..num_classes - 1 of one shape (else ValueError); target pixels of
    `ignore_index` do not count. Add matrices to go over a data set.
    """
    # A copy of arrays: torch warns of read-only ones and refuses flipped views.
    prediction, target = (
        labels if isinstance(labels, torch.Tensor) else torch.from_numpy(np.array(labels))
        for labels in (prediction, target)
    )
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape"
        )
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise ValueError(f"{name} must hold integer classes, not {labels.dtype}")
    prediction, target = prediction.flatten().long(), target.flatten().long()
    valid = target != ignore_index
    prediction, target = prediction[valid], target[valid]
    for name, labels in (("prediction", prediction), ("target", target)):
        low, high = (int(labels.min()), int(labels.max())) if labels.numel() else (0, 0)
        if not 0 <= low <= high < num_classes:
            raise ValueError(f"{name} holds classes {low}..{high}, expected 0..{num_classes - 1}")
    counts = torch.bincount(target * num_classes + prediction, minlength=num_classes**2)
    matrix: npt.NDArray[np.int64] = counts.reshape(num_classes, num_classes).cpu().numpy()
    return matrix


def scores(confusion: npt.NDArray[np.int64]) -> SegmentationScores:
    """Scores from a confusion matrix (rows target); UserError without a single valid pixel."""
    total = int(confusion.sum())
    if total == 0:
        raise UserError("nothing to score: every target pixel carries the ignore value")
    correct = np.diagonal(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - correct
    present = union > 0
    iou = np.full(len(confusion), np.nan)
    iou[present] = 100.0 * correct[present] / union[present]
    return SegmentationScores(
        miou=float(iou[present].mean()),
        iou=tuple(iou.tolist()),
        absent=tuple(np.flatnonzero(~present).tolist()),
        pixel_accuracy=100.0 * float(correct.sum()) / total,
        confusion=confusion,
    )
