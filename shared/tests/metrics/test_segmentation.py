"""mIoU against a slow reference, a hand example and torchmetrics."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_shared.metrics.segmentation import confusion_matrix, scores
from repro_shared.runtime.errors import UserError


def maps(seed: int, classes: int, present: int, ignored: float) -> tuple[Any, Any]:
    """Prediction and target, uint8 (2, 9, 7), classes below `present`, some pixels ignored."""
    generator = np.random.default_rng(seed)
    prediction = generator.integers(0, present, (2, 9, 7)).astype(np.uint8)
    target = generator.integers(0, present, (2, 9, 7)).astype(np.uint8)
    target[generator.random(target.shape) < ignored] = 255
    return prediction, target


def slow_iou(prediction: Any, target: Any, classes: int) -> list[float]:
    """Straight from the definition, one class and one pixel at a time, percent."""
    result = []
    for cls in range(classes):
        both = either = 0
        for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
            if t != 255:
                both += p == cls and t == cls
                either += p == cls or t == cls
        result.append(100 * both / either if either else math.nan)
    return result


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(1, 6),
    ignored=st.sampled_from([0.0, 0.3, 0.9]),
    data=st.data(),
)
def test_against_the_definition(
    seed: int, classes: int, ignored: float, data: st.DataObject
) -> None:
    present = data.draw(st.integers(1, classes))
    prediction, target = maps(seed, classes, present, ignored)
    if (target == 255).all():
        target[0, 0, 0] = 0
    result = scores(confusion_matrix(prediction, target, classes))
    expected = slow_iou(prediction, target, classes)
    np.testing.assert_allclose(result.iou, expected, equal_nan=True)
    np.testing.assert_allclose(result.miou, np.nanmean(expected))
    assert result.absent == tuple(np.flatnonzero(np.isnan(expected)))
    valid = target != 255
    np.testing.assert_allclose(result.pixel_accuracy, 100 * (prediction == target)[valid].mean())


def test_rows_are_the_target() -> None:
    matrix = confusion_matrix(np.array([1, 1, 0, 2]), np.array([0, 0, 0, 255]), 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert matrix.dtype == np.int64


def test_hand_example() -> None:
    """Class 1 is predicted and never occurs: IoU 0, counts. Class 2 is absent: left out."""
    result = scores(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert result.iou[:2] == (75.0, 0.0)
    assert math.isnan(result.iou[2])
    assert result.miou == 37.5
    assert result.absent == (2,)
    assert result.pixel_accuracy == 75.0


def test_matrices_add_up_over_a_data_set() -> None:
    prediction, target = maps(0, 4, 4, 0.2)
    parts = [confusion_matrix(p, t, 4) for p, t in zip(prediction, target, strict=True)]
    assert np.array_equal(sum(parts), confusion_matrix(prediction, target, 4))


def test_numpy_and_torch_agree() -> None:
    prediction, target = maps(1, 4, 4, 0.2)
    expected = confusion_matrix(prediction, target, 4)
    for dtype in (torch.uint8, torch.int16, torch.int64):
        tensors = (torch.from_numpy(prediction).to(dtype), torch.from_numpy(target).to(dtype))
        assert np.array_equal(confusion_matrix(*tensors, 4), expected)


@pytest.mark.cuda
def test_cuda_agrees() -> None:
    prediction, target = (torch.from_numpy(labels) for labels in maps(1, 4, 4, 0.2))
    on_gpu = confusion_matrix(prediction.cuda(), target.cuda(), 4)
    assert np.array_equal(on_gpu, confusion_matrix(prediction, target, 4))


def test_read_only_and_flipped_arrays() -> None:
    """What image readers and augmentations hand over; torch takes neither without complaint."""
    target = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)
    target.flags.writeable = False
    prediction = np.array([[1, 1, 0], [0, 2, 1]], np.uint8)[:, ::-1]
    matrix = confusion_matrix(prediction, target, 3)
    assert matrix.tolist() == [[2, 0, 0], [0, 2, 0], [0, 1, 1]]


def test_other_ignore_index() -> None:
    prediction, target = np.array([0, 1, 1]), np.array([0, 1, 0])
    assert confusion_matrix(prediction, target, 2, ignore_index=1).tolist() == [[1, 1], [0, 0]]
    assert confusion_matrix(prediction, target, 2, ignore_index=-1).sum() == 3


def test_what_is_predicted_on_ignored_pixels_does_not_matter() -> None:
    prediction, target = maps(2, 4, 4, 0.3)
    prediction[target == 255] = 200
    assert confusion_matrix(prediction, target, 4).sum() == (target != 255).sum()


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros(3, int), np.zeros(4, int), "differ in shape"),
        (np.zeros(3), np.zeros(3, int), "prediction must hold integer classes"),
        (np.zeros(3, int), np.zeros(3, bool), "target must hold integer classes"),
        (np.array([0, 3]), np.array([0, 0]), r"prediction holds classes 0\.\.3, expected 0\.\.2"),
        (np.array([0, 0]), np.array([-1, 0]), r"target holds classes -1\.\.0"),
    ],
)
def test_bad_input(prediction: Any, target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(prediction, target, 3)


def test_nothing_to_score() -> None:
    empty = confusion_matrix(np.zeros(3, int), np.full(3, 255), 2)
    with pytest.raises(UserError, match="every target pixel carries the ignore value"):
        scores(empty)


@pytest.mark.parametrize("present", [5, 3])
@pytest.mark.parametrize("predicted_only", [False, True])
def test_against_torchmetrics(present: int, predicted_only: bool) -> None:
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_confusion_matrix,
        multiclass_jaccard_index,
    )

    prediction, target = maps(3, 5, present, 0.3)
    if predicted_only:
        target[target == 1] = 0
    theirs = (torch.from_numpy(prediction).long(), torch.from_numpy(target).long())
    matrix = confusion_matrix(prediction, target, 5)
    result = scores(matrix)
    assert np.array_equal(matrix, multiclass_confusion_matrix(*theirs, 5, ignore_index=255).numpy())
    macro = multiclass_jaccard_index(*theirs, 5, average="macro", ignore_index=255)
    micro = multiclass_accuracy(*theirs, 5, average="micro", ignore_index=255)
    assert result.miou == pytest.approx(100 * macro.item(), abs=1e-4)
    assert result.pixel_accuracy == pytest.approx(100 * micro.item(), abs=1e-4)
    assert result.absent == tuple(range(present, 5))
