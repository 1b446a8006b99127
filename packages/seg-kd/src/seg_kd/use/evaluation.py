"""Score a segmentor on whole images, one scale, through mmseg's own prediction path."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from repro_shared.metrics.segmentation import SegmentationScores, confusion_matrix, scores
from seg_kd.use import adapter
from seg_kd.use.data import InMemory, as_results


def evaluate(
    model: Any, source: InMemory, num_classes: int, batch_size: int = 16
) -> SegmentationScores:
    """mIoU of `model` over `source`, from one confusion matrix over all labelled pixels.

    Args:
        model: mmseg segmentor; left in evaluation mode.
        source: images and label maps (255 = ignore).
        num_classes: number of classes.
        batch_size: images of equal size that are predicted together.
    """
    transform = adapter.test_transform()
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    model.eval()
    with torch.inference_mode():
        for batch in _same_size_batches(source, batch_size):
            items = [transform(as_results(*source[i])) for i in batch]
            predicted = model.test_step(adapter.collate(items))
            for index, sample in zip(batch, predicted, strict=True):
                prediction = sample.pred_sem_seg.data[0].cpu().numpy()
                total += np.asarray(confusion_matrix(prediction, source[index][1], num_classes))
    return scores(total)


def _same_size_batches(source: InMemory, batch_size: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in range(len(source)):
        size = source[index][1].shape
        full = batches and len(batches[-1]) >= batch_size
        if not batches or full or source[batches[-1][0]][1].shape != size:
            batches.append([])
        batches[-1].append(index)
    return batches
