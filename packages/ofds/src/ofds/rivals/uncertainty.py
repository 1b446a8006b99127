"""How unsure a detector is of an image, for active learning, from the class scores of its boxes.

The value of an image is the mean over its boxes, as one aggregation of Brust et al. (2018, arXiv
1809.09875), so that crowded images are not preferred; an image without a box has 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def entropy(scores: Any) -> float:
    """Mean over boxes of the summed entropies of a score for each class, in nats.

    Args:
        scores: (boxes, classes), each 0 to 1; they need not add up to 1.
    """
    p = np.clip(np.asarray(scores, np.float64), 1e-12, 1 - 1e-12)
    if not len(p):
        return 0.0
    each = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    return float(each.sum(axis=1).mean())


def margin(scores: Any) -> float:
    """Mean over boxes of (1 - (p1 - p2))^2, p1 and p2 the two highest scores (1-vs-2 there).

    Args:
        scores: (boxes, classes), at least two classes.
    """
    p = np.sort(np.asarray(scores, np.float64), axis=1)
    return float(((1 - (p[:, -1] - p[:, -2])) ** 2).mean()) if len(p) else 0.0
