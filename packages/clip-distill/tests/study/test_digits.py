"""Digits: scans that test are kept apart, and cues go with glyphs alone."""

from __future__ import annotations

import numpy as np

from clip_distill.study.digits import own_cues, picture, scans, write
from clip_distill.study.objects import angles
from clip_distill.study.rendered import Digits
from repro_shared.datasets.wheels import load_digits_8x8


def test_scans_that_test_are_nobody_elses() -> None:
    test, others = set(scans(True).tolist()), set(scans(False).tolist())
    assert not test & others
    assert len(test | others) == len(load_digits_8x8()[1])
    assert 0.2 < len(test) / len(test | others) < 0.3
    for part, own in ((True, test), (False, others)):
        assert set(write(200, True, 0.0, 5, test=part).source.tolist()) <= own


def test_a_scan_is_of_the_digit_that_it_stands_for() -> None:
    written = write(100, True, 0.0, 3)
    assert (load_digits_8x8()[1][written.source] == written.label).all()


def test_cues_go_with_glyphs() -> None:
    glyphs = write(50, False, 1.0, 0)
    assert (glyphs.cues == own_cues(np.arange(50) % 10)).all()
    own = write(2000, True, 0.0, 0)
    assert abs((own.cues == own_cues(own.label)).mean() - 0.1) < 0.02


def test_each_digit_has_its_own_ground_and_palette_far_apart() -> None:
    found = [angles(cues, 10)[:2] for cues in own_cues(np.arange(10))]
    assert len({round(ground, 6) for ground, _ in found}) == 10
    assert len({round(palette, 6) for _, palette in found}) == 10
    for ground, palette in found:
        assert abs(abs(ground - palette) - np.pi) < 1e-6


def test_pictures_are_those_of_their_seed() -> None:
    written = write(10, False, 1.0, 0)
    one, two = picture(written, 3, 48), picture(written, 3, 48)
    assert np.array_equal(one, two)
    assert one.shape == (48, 48, 3)
    few = Digits(1.0, "x", test=10)
    swapped, plain = (few.open(None).pictures(part, 4) for part in ("swapped", "held-out"))  # type: ignore[arg-type]
    assert swapped.targets == plain.targets
    assert not np.array_equal(swapped.pixels, plain.pixels)
