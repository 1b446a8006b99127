"""Score a segmentor on whole images, one scale, through mmseg's own prediction path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from repro_shared.metrics.segmentation import SegmentationScores, confusion_matrix, scores
from repro_shared.runtime.progress import Progress
from seg_kd.use import adapter
from seg_kd.use.data import Samples, as_results

TOGETHER = 16
LOGITS = 2**26  # a quarter of a gibibyte


def evaluate(model: Any, source: Samples, num_classes: int) -> SegmentationScores:
    """mIoU of `model` over `source`, from one confusion matrix over all labelled pixels.

    Neighbours of equal size are predicted together: `source.batch_size` of them, or, where that is
    None, 16, or fewer whose logits at full size take a quarter of a gibibyte.

    Args:
        model: mmseg segmentor; left in evaluation mode.
        source: images and label maps (255 = ignore).
        num_classes: number of classes.
    """
    transform = adapter.test_transform()
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    model.eval()
    done = 0
    with torch.inference_mode(), Progress(len(source), "images scored") as progress:
        for batch in same_size_batches(source.sizes, num_classes, source.batch_size):
            samples = [source[i] for i in batch]
            items = [transform(adapter.fitted_into(as_results(*s), source.fit)) for s in samples]
            predicted = model.test_step(adapter.collate(items))
            for (_, label_map), output in zip(samples, predicted, strict=True):
                # One score for two classes is answered with floats.
                prediction = output.pred_sem_seg.data[0].long().cpu().numpy()
                total += np.asarray(confusion_matrix(prediction, label_map, num_classes))
            done += len(batch)
            progress.update(done)
    return scores(total)


def same_size_batches(
    sizes: Sequence[tuple[int, int]], num_classes: int, batch_size: int | None = None
) -> list[list[int]]:
    """Indices of neighbours of one size (height, width), in the batches that `evaluate` makes."""
    batches: list[list[int]] = []
    for index, size in enumerate(sizes):
        most = batch_size or max(1, min(TOGETHER, LOGITS // (num_classes * size[0] * size[1])))
        if not batches or len(batches[-1]) >= most or sizes[batches[-1][0]] != size:
            batches.append([])
        batches[-1].append(index)
    return batches
