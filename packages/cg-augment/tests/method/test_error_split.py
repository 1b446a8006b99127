"""The split is exact in a world that is known, and an identity everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cg_augment.method.error_split import cross_entropy, error_split


def test_a_world_of_three_points_by_hand() -> None:
    # Points a, b, c; training sees a and b, the test set all alike; the student errs on c alone.
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    teacher = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]])
    student = np.log(np.array([[0.8, 0.2], [0.25, 0.75], [0.1, 0.9]]))
    found = error_split(
        truth, teacher, student, truth, student, np.array([0.5, 0.5, 0.0]), np.full(3, 1 / 3)
    )
    on_train = -(math.log(0.8) + math.log(0.75)) / 2
    on_test = -(math.log(0.8) + math.log(0.75) + math.log(0.1)) / 3
    taught = -0.5 * (
        0.9 * math.log(0.8) + 0.1 * math.log(0.2) + 0.2 * math.log(0.25) + 0.8 * math.log(0.75)
    )
    assert found.test_risk == pytest.approx(on_test)
    assert found.train_risk == pytest.approx(taught)
    assert found.omega == pytest.approx(on_test - on_train)
    assert found.psi == pytest.approx(on_train - taught)
    assert found.gap == pytest.approx(found.omega + found.psi)


def random_world(seed: int) -> tuple[np.ndarray, ...]:
    g = np.random.default_rng(seed)
    truth, teacher, student = (g.dirichlet([1.0] * 3, 20) for _ in range(3))
    return truth, teacher, np.log(student), g.dirichlet([1.0] * 20), g.dirichlet([1.0] * 20)


@pytest.mark.parametrize("seed", range(5))
def test_the_identity_holds_for_every_world(seed: int) -> None:
    truth, teacher, student, train, test = random_world(seed)
    found = error_split(truth, teacher, student, truth, student, train, test)
    assert found.gap == pytest.approx(found.omega + found.psi, abs=1e-12)


def test_without_a_shift_omega_is_0_and_with_a_true_teacher_psi_is() -> None:
    truth, teacher, student, train, test = random_world(0)
    assert error_split(truth, teacher, student, truth, student, train, train).omega == 0
    assert error_split(truth, truth, student, truth, student, train, test).psi == 0


def test_the_mix_moves_omega_in_a_straight_line() -> None:
    """Training on (1 - a) train + a test takes the share a off Omega."""
    truth, teacher, student, train, test = random_world(1)
    whole = error_split(truth, teacher, student, truth, student, train, test).omega
    for share in (0.25, 0.5, 1.0):
        mix = (1 - share) * train + share * test
        found = error_split(truth, teacher, student, truth, student, mix, test)
        assert found.omega == pytest.approx((1 - share) * whole, abs=1e-12)


def test_samples_estimate_what_the_known_world_gives() -> None:
    truth, teacher, student, train, test = random_world(2)
    exact = error_split(truth, teacher, student, truth, student, train, test)
    g = np.random.default_rng(0)
    drawn, seen = g.choice(20, 40_000, p=train), g.choice(20, 40_000, p=test)
    found = error_split(truth[drawn], teacher[drawn], student[drawn], truth[seen], student[seen])
    assert found.omega == pytest.approx(exact.omega, abs=0.03)
    assert found.psi == pytest.approx(exact.psi, abs=0.03)


def test_a_certain_error_is_infinite_and_what_is_impossible_costs_nothing() -> None:
    log_f = np.array([[0.0, -np.inf]])
    assert cross_entropy(np.array([[1.0, 0.0]]), log_f) == 0
    assert cross_entropy(np.array([[0.0, 1.0]]), log_f) == math.inf
    # A point of weight 0 costs nothing either.
    both = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert cross_entropy(both, np.repeat(log_f, 2, 0), np.array([1.0, 0.0])) == 0


def test_what_is_no_distribution_is_refused() -> None:
    log_f = np.log(np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="no distributions over the classes"):
        cross_entropy(np.array([[0.5, 0.6], [0.5, 0.5]]), log_f)
    with pytest.raises(ValueError, match="no distribution over the points"):
        cross_entropy(np.full((2, 2), 0.5), log_f, np.array([-1.0, 2.0]))
    with pytest.raises(ValueError, match="targets"):
        cross_entropy(np.full((1, 2), 0.5), log_f)
