"""Stages of the studies on images: what they measure, golden values, and labels that none reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cg_augment.cli import PAPER
from cg_augment.method.groups import Figure
from cg_augment.rivals.generating import Order
from cg_augment.study import stages
from cg_augment.study.committed import sampler_of
from cg_augment.study.generator import train_generator
from cg_augment.study.image_worlds import CHAIN, SHAPES, SHAPES_97, STEPWISE, before, lengths
from cg_augment.study.manifold import denoising_error, off_manifold, saturated
from cg_augment.study.nets import STUDENT
from cg_augment.study.nothing import KINDS, nothing
from cg_augment.study.scoring import judged_classes, judged_pictures, percent
from cg_augment.study.stages import Rowed
from cg_augment.study.tries import chosen, tries
from cg_augment.study.try_recipes import tries_on_shapes
from cg_augment.use.grouped import Grouped
from cg_augment.use.lessons import corrupted
from cg_augment.use.pictures import Arrays
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import read_weights
from repro_shared.study.paper import Arm, Context, Outcome, Start
from repro_shared.study.results import load_results

OWN = lengths(True)
(TEACHER, JUDGE, KD), WORLD = before((stages.teach, stages.judge, stages.biased), SHAPES, OWN, True)
TRAINING = SHAPES_97.training(train_generator, True)
MODEL = SHAPES_97.before(train_generator, True, False, False)[1]


class Refused:
    """Group labels that nobody may look at."""

    def _refuse(self, *_: Any) -> Any:
        raise AssertionError("a group label was read")

    __len__ = __getitem__ = __array__ = __iter__ = __eq__ = __floordiv__ = _refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Runner:
    """Runs arms in one folder, each from those before."""

    def __init__(self, folder: Path, seed: int = 100) -> None:
        self.folder, self.seed, self.made = folder, seed, dict[str, Start]()
        self.world = WORLD.open(None)

    def __call__(self, arm: Arm, *starts: str) -> Outcome:
        folder = self.folder / arm.id
        folder.mkdir(parents=True, exist_ok=True)
        data = arm.data.open(None) if arm is TRAINING and arm.data is not None else self.world
        found = arm.run(arm.config, Context(
            data, self.seed, "cpu", folder, arm.id, arm.name,
            tuple(self.made[name] for name in starts),
        ))  # fmt: skip
        self.made[arm.name] = Start(arm, folder)
        return found


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    made = Runner(tmp_path_factory.mktemp("stages"))
    for arm, starts in ((TRAINING, ()), (TEACHER, ()), (JUDGE, ()), (KD, ("teacher",))):
        made(arm, *starts)
    return made


def row_of(name: str) -> Arm:
    row = OWN.row(name)
    return Arm(name, Rowed(row, STUDENT, generator=MODEL if row.way else None), stages.row)


STARTS = ("teacher", "KD", "judge", TRAINING.name)

WEIGHTS = {  # sums of absolute weights of one layer: a step that differs at all moves them
    "teacher": ("teacher.safetensors", "head.weight", 7.4156),
    "judge": ("judge.safetensors", "head.weight", 24.7664),
    "KD": ("student.safetensors", "head.weight", 9.2157),
    TRAINING.name: ("generator.safetensors", "conv_out.weight", 101.4057),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_golden_weights_of_trainings(chain: Runner, name: str) -> None:
    """Whoever changes these on purpose raises METHOD_VERSION."""
    file, layer, value = WEIGHTS[name]
    found = read_weights(chain.made[name].folder / file)[layer].float().abs().sum()
    assert float(found) == pytest.approx(value, rel=1e-4)


def test_golden_values_of_a_guided_row(chain: Runner) -> None:
    """As above."""
    found = chain(row_of("ConfiG, stepwise"), *STARTS).metrics
    assert found["student"] == pytest.approx(50.1405, abs=2e-3)
    assert found["teacher"] == pytest.approx(50.0025, abs=2e-3)
    assert found["error"] == pytest.approx(0.90434, abs=1e-3)
    assert (found["forward"], found["backward"], found["decodes"]) == (3, 2, 3)


def test_no_stage_reads_a_group_label_for_training_or_images(chain: Runner, tmp_path: Path) -> None:
    """With labels that raise, rows end with the same student; the judge and the oracle raise."""
    poisoned = Runner(tmp_path)
    poisoned.made = dict(chain.made)
    drawn = poisoned.world._drawn

    def hidden(part: Any, seed: int) -> Grouped:
        found = drawn(part, seed)
        if part == "test":  # scoring alone
            return found
        return Grouped(found.pictures, Refused(), found.names)  # type: ignore[arg-type]

    poisoned.world._drawn = hidden  # type: ignore[method-assign]
    for name in ("ConfiG, stepwise", "KD, longer"):
        arm = row_of(name)
        starts = STARTS if arm.config.generator else STARTS[:2]
        one, other = chain(arm, *starts).metrics, poisoned(arm, *starts).metrics
        same = [key for key in one if key != "generation"]
        assert [one[key] for key in same] == [other[key] for key in same]
    poisoned(TEACHER)
    with pytest.raises(AssertionError, match="a group label was read"):
        poisoned(JUDGE)


def test_pictures_of_nothing_are_of_all_kinds_and_of_a_seed() -> None:
    scene = SHAPES.scene
    pixels, kinds = nothing(scene, 30, "judge", 5)
    assert pixels.shape == (30, 32, 32, 3)
    assert np.bincount(kinds).tolist() == [10] * len(KINDS)
    again, other = nothing(scene, 30, "judge", 5)[0], nothing(scene, 30, "test", 5)[0]
    assert (pixels == again).all()
    assert not (pixels == other).all(axis=(1, 2, 3)).any()
    # A mixture is neither of its two: it lies between dark and light outlines.
    blobs = pixels[kinds == KINDS.index("blobs")].astype(int)
    grounds = nothing(scene, 30, "judge", 5)[0][kinds == 0].astype(int)
    assert np.abs(blobs - grounds).mean() > 20


def test_a_judge_learns_groups_and_half_as_many_of_nothing() -> None:
    world = WORLD.open(None)
    grouped = world.part("judge", 100)
    made = judged_pictures(grouped, world, 100)
    assert made.classes == judged_classes(world) == (*world.names, "none of these")
    counts = np.bincount(made.targets)
    assert counts.tolist() == [18, 18, 18, 18, 36]


def test_an_image_off_the_manifold_is_denoised_badly() -> None:
    """By the network that comes along: real pictures, the same with noise, and saturated ones."""
    network = SHAPES_97.committed.load()
    real = WORLD.open(None).part("test", 100).pictures
    assert isinstance(real, Arrays)
    g = np.random.default_rng(0)
    noisy = np.clip(real.pixels + g.normal(0, 60, real.pixels.shape), 0, 255).astype(np.uint8)
    own, worse = (denoising_error(network, p, real.targets) for p in (real.pixels, noisy))
    assert bool((worse > 2 * own).all())
    found = off_manifold(Arrays(noisy, real.targets, real.classes), real, network, "cpu")
    assert found["off"] == 100
    assert found["error"] > 2
    assert found["saturated"] > found["saturated-real"] + 0.5
    assert off_manifold(real, real, network, "cpu")["error"] == 1
    ends = np.array([0, 255, 255, 7], np.uint8)
    assert saturated(ends) == 75


def test_views_are_corrupted_by_their_seed_alone() -> None:
    image = torch.full((3, 32, 32), 0.25)
    found = [corrupted(image, seed) for seed in range(60)]
    assert torch.equal(found[7], corrupted(image, 7))
    assert bool((image == 0.25).all())  # not written to
    changed = [not torch.equal(each, image) for each in found]
    assert 40 <= sum(changed) < 60  # all three miss one in eight; blur leaves a flat image alone
    assert all(0 <= float(each.min()) <= float(each.max()) <= 1 for each in found)
    cut = [float((each == 0.5).float().mean()) for each in found]
    assert 0.02 < max(cut) <= 0.26


def test_an_undefined_accuracy_is_no_zero() -> None:
    assert percent(Figure(0.25)) == 25
    with pytest.raises(UserError, match="undefined: no groups"):
        percent(Figure(None, "no groups"))


def test_the_rule_keeps_the_largest_objective_of_those_that_are_believed() -> None:
    study = tries_on_shapes("cpu")
    arms = [arm for arm in study.arms if arm.name.startswith("stepwise")]
    rows = {  # objective, valid, off
        "unguided": (0.9, 60.0, 4.0),
        arms[0].name: (1.0, 70.0, 4.0),
        arms[1].name: (1.2, 62.0, 9.0),
        arms[2].name: (1.5, 61.0, 15.0),
        arms[3].name: (1.6, 59.0, 5.0),
        arms[4].name: (1.7, 10.0, 90.0),
    }

    class Found:
        def values(self, arm: Arm, metric: str) -> list[float]:
            place = ("objective", "valid", "off").index(metric)
            return [rows[arm.name][place]] if arm.name in rows else []

    found: Any = Found()
    found.study = study
    assert chosen(found, arms) == (
        arms[1],
        True,
    )  # the third is off, the fourth believed too seldom
    rows["unguided"] = (0.9, 95.0, 4.0)  # then 80 % is the bound, and none passes
    assert chosen(found, arms) == (arms[0], False)
    rows[arms[0].name] = (1.0, 80.0, 14.0)
    assert chosen(found, arms) == (arms[0], True)
    del rows[arms[4].name]
    with pytest.raises(UserError, match="has not been run"):
        chosen(found, arms)


def test_settings_are_those_that_the_rule_keeps() -> None:
    """Of the committed tries, once there are any."""
    results = load_results(PAPER, tries_on_shapes("cpu"), PAPER.results)
    for engine, arms in tries(results).items():
        if engine != "Select" and results.records:
            arm, _ = chosen(results, arms)
            assert arm.config.way.engine == {"Stepwise": STEPWISE, "Chain": CHAIN}[engine]


def test_sampling_runs_where_it_is_told() -> None:
    """No GPU here: torch's `meta` device refuses to mix with the CPU as CUDA does."""
    network = SHAPES_97.committed.load()
    order: Any = Order(torch.tensor([0, 1]), (5, 6), None, None, torch.rand(2, 3, 32, 32))  # type: ignore[arg-type]
    sampler = sampler_of(network, 3, "meta")(order)
    assert (sampler.like.device.type, sampler.origin.device.type) == ("meta", "meta")  # type: ignore[union-attr]
    x = torch.empty(2, 12, 16, 16, device="meta")
    assert sampler.predict(x, 1, torch.arange(2)).device.type == "meta"
    assert sampler.decode(x).device.type == "meta"
