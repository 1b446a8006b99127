"""Our mIoU equals mmseg's IoUMetric, absent and only-predicted classes included."""

import math

import numpy as np
import pytest
import torch

from repro_shared.metrics.segmentation import confusion_matrix, scores


@pytest.mark.filterwarnings("ignore")  # mmengine and mmseg warn while they are imported
def test_scores_equal_mmseg() -> None:
    from mmseg.evaluation import IoUMetric

    classes = 6
    generator = torch.Generator().manual_seed(0)
    for predicted_classes, target_classes in ((6, 6), (4, 4), (5, 3), (2, 4)):
        areas, matrix = [], np.zeros((classes, classes), dtype=np.int64)
        for _ in range(3):
            prediction = torch.randint(0, predicted_classes, (11, 13), generator=generator)
            target = torch.randint(0, target_classes, (11, 13), generator=generator)
            target[torch.rand(target.shape, generator=generator) < 0.2] = 255
            areas.append(IoUMetric.intersect_and_union(prediction, target, classes, 255))
            matrix += confusion_matrix(prediction, target, classes)
        totals = [torch.stack(part).sum(dim=0) for part in zip(*areas, strict=True)]
        theirs = IoUMetric.total_area_to_metrics(*totals, metrics=["mIoU"])
        ours = scores(matrix)
        np.testing.assert_allclose(ours.iou, 100 * theirs["IoU"], rtol=1e-5, equal_nan=True)
        assert math.isclose(ours.miou, 100 * np.nanmean(theirs["IoU"]), rel_tol=1e-5)
        assert math.isclose(ours.pixel_accuracy, 100 * float(theirs["aAcc"]), rel_tol=1e-5)
        assert len(ours.absent) == classes - max(predicted_classes, target_classes)
