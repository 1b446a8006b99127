"""Mean intersection over union and pixel accuracy from a confusion matrix.

Convention: counts are summed over the whole evaluation set before any ratio is taken; pixels whose
target is the ignore index are left out, whatever is predicted there; a class that occurs neither in
a target nor in a prediction is absent and left out of the mean; a class that is predicted but never
occurs has IoU 0 and counts. This is what mmsegmentation's IoUMetric and torchmetrics'
MulticlassJaccardIndex (macro) do.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from repro_shared.runtime.errors import UserError

Labels = npt.NDArray[np.integer] | torch.Tensor


@dataclass(frozen=True)
class SegmentationScores:
    """Scores over one evaluation set.

    Attributes:
        miou: Mean of `iou` over the classes that are not absent, percent (0..100).
        iou: Per class, percent (0..100), NaN if absent.
        absent: Classes in no target and no prediction, ascending.
        pixel_accuracy: Share of valid pixels with the right class, percent (0..100).
    """

    miou: float
    iou: tuple[float, ...]
    absent: tuple[int, ...]
    pixel_accuracy: float


def confusion_matrix(
    prediction: Labels, target: Labels, num_classes: int, ignore_index: int | None = 255
) -> npt.NDArray[np.int64]:
    """Count pixels by (target class, predicted class); add matrices to go over a data set.

    Args:
        prediction: Integer classes, any shape.
        target: Integer classes, same shape; may hold `ignore_index`.
        num_classes: Classes are 0..num_classes - 1.
        ignore_index: Target value of pixels that do not count; None if there is none.

    Returns:
        int64 (num_classes, num_classes), rows target, columns prediction.

    Raises:
        ValueError: Shapes differ, not integers, or a valid pixel's class is out of range.
    """
    prediction, target = _tensor(prediction), _tensor(target)
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape"
        )
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise ValueError(f"{name} must hold integer classes, not {labels.dtype}")
    prediction, target = prediction.flatten().long(), target.flatten().long()
    if ignore_index is not None:
        valid = target != ignore_index
        prediction, target = prediction[valid], target[valid]
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(
                f"{name} holds classes {int(labels.min())}..{int(labels.max())}, "
                f"expected 0..{num_classes - 1}"
            )
    counts = torch.bincount(target * num_classes + prediction, minlength=num_classes**2)
    matrix: npt.NDArray[np.int64] = counts.reshape(num_classes, num_classes).cpu().numpy()
    return matrix


def _tensor(labels: Labels) -> torch.Tensor:
    # A copy of arrays: torch warns of read-only ones and refuses flipped views.
    return labels if isinstance(labels, torch.Tensor) else torch.from_numpy(np.array(labels))


def scores(confusion: npt.NDArray[np.int64]) -> SegmentationScores:
    """Scores from a confusion matrix (rows target, columns prediction).

    Raises:
        UserError: Not a single valid pixel.
    """
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
    )
