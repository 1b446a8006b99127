"""`clip-distill bench` at tiny sizes: the arms do the same work, and what is kept makes tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from clip_distill.cli import PAPER
from clip_distill.method.objective import Objective
from clip_distill.study import bench_arms
from clip_distill.study.bench import ALL, Sizes, run
from clip_distill.study.bench_tables import table
from clip_distill.use.build_cache import Plan, build_cache
from clip_distill.use.students import Student, StudentConfig
from clip_distill.use.views import Views
from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError
from repro_shared.study.publish import table_of
from repro_shared.timing.bench import Bench, read_benches
from repro_shared.timing.counts import count_operations

MODEL = "tiny-of-the-bench"
TINY = Sizes("test_efficientnet", 32, 6, 2, 3, 40, 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, clip_config: dict[str, Any]) -> Iterator[str]:
    """A small model that open_clip knows by name."""
    path = tmp_path_factory.mktemp("models") / f"{MODEL}.json"
    path.write_text(json.dumps(clip_config))
    open_clip.add_model_config(path)
    yield MODEL
    path.unlink()
    open_clip.factory._MODEL_CONFIGS.pop(MODEL)


@pytest.fixture(scope="module")
def made(model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Bench]]:
    """All benches, two rounds each."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("out")
    return out, run(TINY, ALL, (model,), 2, 1, str(out))


def test_steps_of_all_loops(made: tuple[Path, list[Bench]]) -> None:
    out, (steps, *_) = made
    assert steps.name == f"distillation-{MODEL}"
    found = {row[0]: row[1:] for row in table(steps).rows}
    assert list(found) == [
        "labels alone", "cached teacher", "online teacher", "open_clip --distill",
    ]  # fmt: skip
    assert found["cached teacher"][1] == Interval(1, 1, 1)
    assert found["labels alone"][-1] == "0.952 or more"  # 5 % longer than labels alone
    macs = steps.macs
    teacher = bench_arms.teacher_of(MODEL)
    own = count_operations(teacher.encode, torch.zeros(1, 3, 32, 32)).macs
    # What an online teacher adds is its forward pass; the other loop adds more than that.
    assert macs["online teacher"] - macs["cached teacher"] == own
    assert macs["open_clip --distill"] > macs["online teacher"]
    assert abs(macs["labels alone"] / macs["cached teacher"] - 1) < 0.05
    assert table_of(PAPER, f"bench-distillation-{MODEL}", out)[0] == table(steps)


def test_shares_and_ratios(made: tuple[Path, list[Bench]]) -> None:
    _, (_, scoring, caching) = made
    times = {"encoding a batch": [2.0, 2.0], "classifying all images": [0.1, 0.3]}
    ((images, classes, share, aim),) = table(scoring.model_copy(update={"seconds": times})).rows
    assert (images, classes, aim) == (40, 3, 2.0)
    # Forty images are ten batches: 20 seconds of encoding.
    assert isinstance(share, Interval)
    assert share.mean == pytest.approx(100 * 0.2 / 20)
    times = {"teacher alone": [2.0, 2.0], "making the cache": [4.0, 4.0]}
    ((speed, least, size),) = table(caching.model_copy(update={"seconds": times})).rows
    assert speed == Interval(0.5, 0.5, 0.5)
    assert (least, size) == (1.0, 2 * 16)  # float16


def test_all_are_kept_and_none_twice(made: tuple[Path, list[Bench]], model: str) -> None:
    out, benches = made
    assert read_benches(out) == sorted(benches, key=lambda each: each.name)
    with pytest.raises(UserError, match="has a bench scoring already"):
        run(TINY, ("scoring",), (model,), 2, 1, str(out))


def test_an_online_teacher_says_what_the_cache_holds(model: str, tmp_path: Path) -> None:
    shown, teacher = bench_arms.pictures(4, 32), bench_arms.teacher_of(model)
    plan = Plan(Views(2, "random-crop"), "float32", batch=4, pixels=True)
    cache = build_cache(tmp_path, teacher, shown, plan, checked={})
    lessons = bench_arms.lessons_of(shown, cache)
    asked = bench_arms.online(lessons, teacher)
    student = Student(StudentConfig("test_efficientnet", teacher.width, teacher.preprocessing))
    _, samples, views = next(bench_arms.draws(lessons, 4))
    features = torch.ones(4, teacher.width)
    one, two = (each.batch(features, samples, views) for each in (lessons, asked))
    assert one.teacher is not None
    assert two.teacher is not None
    torch.testing.assert_close(one.teacher, two.teacher, rtol=1e-4, atol=1e-6)
    assert Objective("l2").value(one) == pytest.approx(float(Objective("l2").value(two)))
    before = student.head.weight.clone()
    bench_arms.our_step(student, asked, 4, 1e-3)()
    assert not torch.equal(before, student.head.weight)


def test_bad_input(made: tuple[Path, list[Bench]]) -> None:
    with pytest.raises(UserError, match="open_clip has no model 'no-such'"):
        bench_arms.teacher_of("no-such")
    foreign = made[1][0].model_copy(update={"settings": {"bench": "other"}})
    with pytest.raises(UserError, match="none of this package"):
        table(foreign)
