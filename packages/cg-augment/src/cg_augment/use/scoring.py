"""What a classifier says of pictures, scored by group: the only place that group labels reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cg_augment.method.groups import GroupAccuracy, group_accuracy
from cg_augment.method.ranking import SpuriousScores, spurious_scores
from cg_augment.use.classifiers import Classifier
from cg_augment.use.datasets.spurious_imagenet import SpuriousImages
from cg_augment.use.grouped import Grouped
from cg_augment.use.lessons import centres
from cg_augment.use.pictures import Pictures
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress


def probabilities(
    classifier: Classifier,
    pictures: Pictures,
    device: str = "cpu",
    batch_size: int = 64,
    workers: int = 0,
) -> NDArray[np.float32]:
    """Softmax (n, classes) of all pictures in order, as evaluation sees them.

    Raises:
        UserError: a picture that cannot be read, or one whose logits are not finite, by its name.
    """
    training = classifier.training
    classifier.to(device).eval()
    found = list[NDArray[np.float32]]()
    seen = 0
    with Progress(len(pictures), f"{classifier.name}, pictures") as progress:
        for images in centres(pictures, classifier.size, batch_size, workers):
            with torch.inference_mode():
                rows = classifier(images.to(device)).float().softmax(dim=1).cpu().numpy()
            if not (fine := np.isfinite(rows).all(axis=1)).all():
                bad = pictures.name(seen + int((~fine).argmax()))
                raise UserError(f"{classifier.name} gives no finite logits for {bad}")
            found.append(rows)
            seen += len(rows)
            progress.update(seen)
    classifier.train(training)
    return np.concatenate(found)


def by_group(
    classifier: Classifier,
    grouped: Grouped,
    training: Sequence[int] | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> GroupAccuracy:
    """Accuracies of the groups of a test set.

    Args:
        classifier: of the pictures' classes, in their order.
        grouped: pictures and groups.
        training: sizes of the groups in training, 0 for a removed one; None where nobody knows.
        device: cpu or cuda.
        workers: decoding processes.
    """
    rows = probabilities(classifier, grouped.pictures, device, workers=workers)
    right = rows.argmax(axis=1) == grouped.pictures.targets
    return group_accuracy(right, grouped.groups, grouped.names, training)


def spurious(
    classifier: Classifier, images: SpuriousImages, device: str = "cpu", workers: int = 0
) -> SpuriousScores:
    """Spurious mAP and its kin of an ImageNet classifier."""
    real, shown = (
        probabilities(classifier, each, device, workers=workers)
        for each in (images.validation, images.spurious)
    )
    return spurious_scores(real, images.validation.targets, shown, images.spurious.targets)
