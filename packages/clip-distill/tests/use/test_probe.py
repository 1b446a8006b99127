"""Probes: the penalty, the draws, and what must not be looked at."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from clip_distill.use import probe
from clip_distill.use.probe import DECADES, drawn, few_shot, fitted, full_probe, hidden, prepared
from repro_shared.runtime.errors import UserError


def world(each: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in ten dimensions, of which two tell them apart."""
    g = np.random.default_rng(seed)
    targets = np.repeat(np.arange(3), each)
    angle = 2 * np.pi * targets / 3
    x = noise * g.normal(size=(len(targets), 10))
    x[:, 0] += 2 * np.cos(angle)
    x[:, 1] += 2 * np.sin(angle)
    return prepared(x.astype(np.float32)), targets


def test_the_fit_is_the_regression_of_its_definition() -> None:
    x, y = world(20)
    test, _ = world(40, 1)

    def objective(flat: np.ndarray) -> float:
        weights, bias = flat[:30].reshape(10, 3), flat[30:]
        losses = -log_softmax(x @ weights + bias, axis=1)[np.arange(len(y)), y]
        return float(losses.sum() + 10.0**1 / 2 * (weights**2).sum())

    best = minimize(objective, np.zeros(33), method="L-BFGS-B").x
    wanted = (test @ best[:30].reshape(10, 3) + best[30:]).argmax(axis=1)
    found, converged = fitted(x, y, test, 1.0)
    assert converged
    assert (found == wanted).mean() > 0.99


def test_lengths_of_features_do_not_matter() -> None:
    g = np.random.default_rng(0)
    x = g.normal(size=(5, 16)).astype(np.float32)
    assert np.allclose(prepared(7 * x), prepared(x), atol=1e-5)
    assert np.allclose((prepared(x) ** 2).mean(axis=1), 1, atol=1e-5)
    x[3] = 0
    with pytest.raises(UserError, match="image 3 are no direction"):
        prepared(x)


def test_the_full_probe_never_fits_to_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = world(30, noise=1.5)
    test, _ = world(50, 1, 1.5)
    seen, real = list[tuple[int, int, float]](), probe.fitted

    def watching(a, b, c, decade):  # type: ignore[no-untyped-def]
        seen.append((len(a), len(c), decade))
        return real(a, b, c, decade)

    monkeypatch.setattr(probe, "fitted", watching)
    found = full_probe(x, y, test)
    assert [sizes[:2] for sizes in seen[:-1]] == [(72, 18)] * (len(seen) - 1)
    assert seen[-1] == (90, 150, found.decade)  # all training images, once
    tried = [decade for *_, decade in seen[:-1]]
    assert tried[:7] == list(DECADES)
    assert len(set(tried)) == len(tried)
    assert found.decade * 8 == round(found.decade * 8)
    assert found.held_out >= 50


def test_few_shot_draws_are_nested_and_seeded() -> None:
    y = np.repeat(np.arange(3), 20)
    one, four = drawn(y, 1, 0), drawn(y, 4, 0)
    assert set(one) < set(four)
    assert np.bincount(y[four]).tolist() == [4, 4, 4]
    assert drawn(y, 4, 1).tolist() != four.tolist()
    assert drawn(y, 4, 0).tolist() == four.tolist()
    with pytest.raises(UserError, match="class 1 has 2 training images"):
        drawn(np.array([0, 0, 0, 1, 1]), 3, 0)


def test_few_shot_learns_from_its_own_images_alone() -> None:
    x, y = world(40)
    test, true = world(100, 1)
    right = {k: (few_shot(x, y, test, k).predicted == true).mean() for k in (1, 16)}
    assert right[16] > 0.9
    assert right[16] > right[1] > 0.4
    chosen = drawn(y, 4, 0)
    other = x.copy()
    other[np.setdiff1d(np.arange(len(x)), chosen)] = 1.0
    same, mine = few_shot(other, y, test, 4), few_shot(x, y, test, 4)
    assert np.array_equal(same.predicted, mine.predicted)
    assert same.decade == mine.decade
    assert few_shot(x, y, test, 1).decade == 0
    assert np.isnan(few_shot(x, y, test, 1).held_out)


def test_what_a_probe_hides() -> None:
    assert hidden((51.2, 94.4), (74.3, 95.0)) == pytest.approx(1 - 20.7 / 43.2)
    assert hidden((51.2, 94.4), (60.0, 95.0)) is None  # the probe shows most of it
    assert hidden((90.0, 94.0), (94.0, 94.0)) is None  # nothing to speak of


def test_refusals() -> None:
    x, y = world(3)
    with pytest.raises(UserError, match="class 1 has one training image"):
        full_probe(x[:4], np.array([0, 0, 0, 1]), x)
    with pytest.raises(UserError, match="two classes"):
        fitted(x, np.zeros_like(y), x, 0)


def test_the_image_without_direction_is_named() -> None:
    for bad in (np.nan, np.inf, 0.0):
        rows = np.ones((4, 3), np.float32)
        rows[2] = bad
        with pytest.raises(UserError, match="image 2 are no direction"):
            prepared(rows)


def test_a_share_that_leaves_too_little_is_refused() -> None:
    x, y = world(3)
    with pytest.raises(UserError, match=r"--held-out 0\.9 leaves 1 of 9 training images for 3"):
        full_probe(x, y, x, held_out=0.9)
