"""Which names a student knows, and its accuracy on others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clip_distill.use.prompts import ClassTexts
from clip_distill.use.seen import by_seen, had_captions, seen_names, stages_of


def some(classes: tuple[str, ...], targets: tuple[int, ...], many: int = 0) -> Any:
    class Some(SimpleNamespace):
        def __len__(self) -> int:
            return len(targets) or many

    return Some(classes=classes, targets=targets)


def test_names_go_from_stage_to_stage() -> None:
    web = stages_of(some((), (), 9), None, None)
    assert web == [{"images": 9, "classes": None, "captions": False}]
    assert seen_names({"stages": web}) is None
    texts = ClassTexts(("great dane", "pug", "emu"), ("{}",), "x", np.eye(3, dtype=np.float32))
    two = stages_of(some(("n1", "n2", "n3"), (0, 0, 2)), texts, {"stages": web})
    assert two == [
        *web,
        {"images": 3, "classes": ["emu", "great dane"], "captions": False},
    ]  # no image of a pug
    assert seen_names({"stages": two}) == {"emu", "great dane"}
    three = stages_of(some(("blue_jay", "pug"), (0, 1)), None, {"stages": two})
    assert seen_names({"stages": three}) == {"emu", "great dane", "blue jay", "pug"}
    # Captions may have held any name, before and after.
    read = stages_of(some((), (), 9), None, {"stages": two}, captions=True)
    assert had_captions({"stages": read})
    assert seen_names({"stages": read}) is None
    # A student of an older version did not write it down.
    assert stages_of(some(("a", "b"), (0, 1)), None, {}) is None
    assert seen_names({}) is None
    assert seen_names({"stages": None}) is None


def test_seen_and_unseen_by_hand() -> None:
    # Classes 0, 1 were seen; 2, 3 were not.
    cosines = np.array([
        [0.9, 0.1, 0.2, 0.3],  # of 0: right
        [0.1, 0.2, 0.9, 0.3],  # of 1: taken for 2
        [0.8, 0.1, 0.7, 0.3],  # of 2: right among unseen names only
        [0.1, 0.2, 0.3, 0.9],  # of 3: right
    ], np.float32)  # fmt: skip
    found = by_seen(cosines, (0, 1, 2, 3), [False, False, True, True])
    assert (found.seen, found.unseen, found.among, found.images) == (50, 50, 100, (2, 2))
    assert found.harmonic == pytest.approx(50)
    found = by_seen(cosines[:1], (0,), [False, False, True, True])
    assert found.seen == 100
    assert np.isnan(found.unseen)
