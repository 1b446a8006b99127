"""Scores by both definitions, and the cost of scoring."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from clip_distill.use.class_names import names_of
from clip_distill.use.zero_shot import agreement, scores, similarities
from repro_shared.runtime.errors import UserError


def test_c2_both_numbers() -> None:
    targets = [0] * 90 + [1] * 10
    predicted = [0] * 81 + [1] * 9 + [1] * 5 + [0] * 5
    found = scores(predicted, targets, 2)
    assert found.top1 == pytest.approx(86)
    assert found.mean_per_class == pytest.approx(70)
    assert found.recalls.tolist() == [90, 50]
    for average, ours in (("micro", found.top1), ("macro", found.mean_per_class)):
        theirs = MulticlassAccuracy(2, average=average)
        assert 100 * theirs(torch.tensor(predicted), torch.tensor(targets)) == pytest.approx(ours)


def test_a_class_without_images_is_in_no_mean() -> None:
    found = scores([0, 0, 2], [0, 0, 0], 3)
    assert found.mean_per_class == pytest.approx(200 / 3)
    assert np.isnan(found.recalls[1:]).all()
    assert found.images.tolist() == [3, 0, 0]


def test_similarities_do_not_depend_on_lengths() -> None:
    g = np.random.default_rng(0)
    one, two = g.normal(size=(4, 3)).astype(np.float32), g.normal(size=(2, 3)).astype(np.float32)
    assert np.allclose(similarities(5 * one, two), similarities(one, 0.1 * two), atol=1e-6)
    with pytest.raises(UserError, match="other widths: 3 and 2"):
        similarities(one, two[:, :2])


def test_agreement() -> None:
    one = np.array([[2.0, 0.0], [0.0, 3.0]], np.float32)
    two = np.array([[5.0, 0.0], [1.0, 1.0]], np.float32)
    assert agreement(one, two) == pytest.approx((1 + 0.5**0.5) / 2)
    with pytest.raises(UserError, match="cannot be compared"):
        agreement(one, two[:, :1])


def test_names_of_folders(tmp_path) -> None:  # type: ignore[no-untyped-def]
    folders = ["n01", "great_dane", "pug"]
    assert names_of(folders, None, "x") == (["n01", "great dane", "pug"], "the folders' names")
    file = tmp_path / "names.txt"
    file.write_text("pug\nn01\ttench\ngreat dane\n")
    assert names_of(folders, file, "x") == (["tench", "great dane", "pug"], "names.txt")
    file.write_text("pug\nn01\nemu\n")
    with pytest.raises(UserError, match=r"1 not in the list, such as 'great_dane'; 1 without"):
        names_of(folders, file, "x")
    file.write_text("pug\npug\n")
    with pytest.raises(UserError, match="'pug' twice"):
        names_of(folders, file, "x")


def test_vectors_without_a_direction_are_no_class() -> None:
    vectors = np.eye(2, dtype=np.float32)
    for bad in (np.nan, np.inf, 0.0):
        features = np.eye(2, dtype=np.float32)[[0, 1, 0]]
        features[1] = bad
        with pytest.raises(UserError, match=r"1 of 3 image vectors .* the first that of image 1"):
            similarities(features, vectors)
        with pytest.raises(UserError, match="1 of 3 class text vectors"):
            similarities(vectors, features)
