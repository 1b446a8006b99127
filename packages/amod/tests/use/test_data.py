"""Canvases: which patches hold the digit."""

from __future__ import annotations

import numpy as np

from amod.use.data import patch_relevance


def test_patches_that_hold_the_digit() -> None:
    masks = np.zeros((1, 8, 8), bool)
    masks[0, 5, 2] = True
    assert patch_relevance(masks, 4).tolist() == [[False, False, True, False]]
