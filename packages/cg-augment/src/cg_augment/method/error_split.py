"""Why a distilled student errs under a shift: the split of its generalisation error.

With l(q, f) = -E[q(x)^T log f(x)], p* the true conditional distribution of the classes, t the
teacher and f the student, distillation minimises R_train = E_train l(t, f), and what counts is
R_test = E_test l(p*, f). Their difference is

    R_test - R_train = Omega + Psi
    Omega = E_test l(p*, f) - E_train l(p*, f)   the difference of the distributions
    Psi   = E_train l(p*, f) - E_train l(t, f)   how well the teacher fits the truth in training

Omega and Psi are named as in arXiv 2506.02294 (Proposition 1, second-hand); the formulas are our
reconstruction, an identity. Augmentation that fills what training lacks lowers |Omega|; no student
gets past what Psi leaves of the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class ErrorSplit:
    """The four terms, in nats.

    Attributes:
        test_risk: R_test, the student's cross-entropy with the truth on the test distribution.
        train_risk: R_train, its cross-entropy with the teacher on the training distribution.
        omega: difference of the distributions.
        psi: teacher's fit.
    """

    test_risk: float
    train_risk: float
    omega: float
    psi: float

    @property
    def gap(self) -> float:
        """R_test - R_train = omega + psi."""
        return self.test_risk - self.train_risk


def cross_entropy(target: Floats, log_prediction: Floats, weights: Floats | None = None) -> float:
    """l(q, f) = -E[q^T log f], in nats; 0 log 0 counts 0, and q log 0 is infinite.

    Args:
        target: q (n, classes), rows of sum 1.
        log_prediction: log f (n, classes).
        weights: (n,) of the points, not negative; equal ones by default.

    Raises:
        ValueError: other shapes, or no distribution.
    """
    q, log_f = np.asarray(target, np.float64), np.asarray(log_prediction, np.float64)
    if q.ndim != 2 or q.shape != log_f.shape or not len(q):
        raise ValueError(f"targets {q.shape} and predictions {log_f.shape}")
    if not (q >= 0).all() or np.abs(q.sum(axis=1) - 1).max() > 1e-4:
        raise ValueError("targets are no distributions over the classes")
    w = np.full(len(q), 1.0) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (len(q),) or not (w >= 0).all() or not w.sum() > 0:
        raise ValueError("weights are no distribution over the points")
    terms = np.where(q > 0, q * np.where(q > 0, log_f, 0.0), 0.0).sum(axis=1)
    return float(-(terms[w > 0] * w[w > 0]).sum() / w.sum())


def error_split(
    truth_train: Floats,
    teacher_train: Floats,
    student_train: Floats,
    truth_test: Floats,
    student_test: Floats,
    train_weights: Floats | None = None,
    test_weights: Floats | None = None,
) -> ErrorSplit:
    """The split on points of both distributions.

    It is exact where the points are the whole support and the weights their probabilities, as in a
    world that is known; on samples it estimates the same terms, and the identity holds all the
    same. Where the truth is known as labels alone, give them as rows of 0 and 1.

    Args:
        truth_train, truth_test: p* (n, classes) and (m, classes).
        teacher_train: t (n, classes), probabilities.
        student_train, student_test: log f (n, classes) and (m, classes).
        train_weights, test_weights: (n,) and (m,), equal ones by default. With generated images
            the training distribution is the mix that was trained on.

    Raises:
        ValueError: as `cross_entropy`.
    """
    test = cross_entropy(truth_test, student_test, test_weights)
    true = cross_entropy(truth_train, student_train, train_weights)
    taught = cross_entropy(teacher_train, student_train, train_weights)
    return ErrorSplit(test, taught, test - true, true - taught)
