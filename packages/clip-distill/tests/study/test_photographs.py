"""Photographs: parts are apart, cues go with the class where they say so, a run goes through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_distill.cli import PAPER
from clip_distill.study.lite0 import KINDS, class_rows, lite0
from clip_distill.study.photographs import FRAME, Photographs, stylised
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of the names of CIFAR-10."""
    root, g = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for part, each in (("train", 14), ("test", 3)):
        for label, name in enumerate(KINDS):
            place = root / part / name
            place.mkdir(parents=True)
            for number in range(each):
                pixels = g.normal(20 * label + 30, 40, (32, 32, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return root


def test_parts_share_no_photograph(folder: Path) -> None:
    for tuning in (False, True):
        source = Photographs(1.0, synthetic=60, held_out=20, labelled=40, tuning=tuning)
        opened = source.open(folder)
        parts = ["synthetic", "held-out", "labelled", *(["real"] if tuning else [])]
        places = [set(opened._places(part).tolist()) for part in parts]  # type: ignore[arg-type]
        assert [len(each) for each in places] == [60, 20, 40, *([20] if tuning else [])]
        assert len(set.union(*places)) == sum(map(len, places))
    assert len(Photographs(1.0, synthetic=60, held_out=20, labelled=40)
               .open(folder).pictures("real", 0)) == 30  # fmt: skip


def test_cues_tell_the_class_at_confounding_1_alone(folder: Path) -> None:
    for confounding, told in ((1.0, True), (0.0, False)):
        opened = Photographs(confounding, synthetic=60, held_out=20, labelled=40).open(folder)
        shown, own = opened.pictures("synthetic", 0), list[bool]()
        for place, picture, label in zip(
            opened._places("synthetic"), shown.pixels, shown.targets, strict=True
        ):
            plain = np.asarray(opened.train.read(int(place)))
            own.append(np.array_equal(picture, stylised(plain, label, label)))
        assert all(own) is told
        assert sum(own) > 50 or not told


def test_a_stylised_picture_is_the_whole_one_with_two_tints() -> None:
    noise = np.random.default_rng(0).integers(0, 200, (32, 32, 3), dtype=np.uint8)
    made, inner = stylised(noise, 2, 4), (slice(FRAME, -FRAME), slice(FRAME, -FRAME))
    assert made.shape == noise.shape
    for channel in range(3):
        parts = (made[inner], noise[inner]), (made[:FRAME], noise[:FRAME])
        for one, two in parts:
            assert np.corrcoef(one[..., channel].ravel(), two[..., channel].ravel())[0, 1] > 0.98
    warm, cold = stylised(noise, 2, 0)[inner].mean((0, 1)), made[inner].mean((0, 1))
    assert warm[0] / warm[2] > 1.1 * cold[0] / cold[2]
    other = stylised(noise, 3, 4)
    assert np.array_equal(other[inner], made[inner])
    assert np.abs(other[:FRAME].astype(int) - made[:FRAME]).mean() > 3


def test_every_part_has_as_many_of_each_class(folder: Path) -> None:
    opened = Photographs(1.0, synthetic=60, held_out=20, labelled=40).open(folder)
    for part, each in (("synthetic", 6), ("held-out", 2), ("labelled", 4)):
        targets = opened.pictures(part, 0).targets  # type: ignore[arg-type]
        assert np.bincount(targets).tolist() == [each] * 10


def test_too_few_photographs_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="140 training pictures; 10 and 9500 are needed"):
        Photographs(1.0).open(folder)


def test_the_table_of_lite0_are_directions_of_its_classes() -> None:
    teacher = lite0(64)
    texts = class_rows(teacher, tuple(KINDS))
    assert texts.vectors.shape == (10, 1280)
    assert np.allclose(np.linalg.norm(texts.vectors, axis=1), 1, atol=1e-5)
    assert len({number for each in KINDS.values() for number in each}) == sum(
        map(len, KINDS.values())
    )
    with pytest.raises(UserError, match="no classes of ImageNet are known for lemon"):
        class_rows(teacher, ("lemon",))


def test_the_recipe_runs(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clip_distill.study import photographs, stages

    monkeypatch.setattr(photographs, "lite0", lambda: lite0(32))  # for its speed
    command: Callable[..., list[str]] = lambda name: [  # noqa: E731
        "reproduce", "--scale", "smoke", "--table", name, "--data", str(folder),
        "--out", str(tmp_path),
    ]  # fmt: skip
    # Random pictures are nothing that the teacher knows, and it is asked.
    assert main(PAPER, command("confounded_photographs")) == 2
    assert "the teacher looks untrained" in capsys.readouterr().err
    monkeypatch.setattr(stages, "teacher_check", lambda *_, **__: {})
    assert main(PAPER, command("confounded_photographs")) == 0
    assert "share of the teacher" in capsys.readouterr().out
