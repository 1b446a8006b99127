"""The small diffusion models: what they are trained on, resuming, and what comes along."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cg_augment.method.schedule import clean
from cg_augment.rivals.generating import Order
from cg_augment.study import committed, generator
from cg_augment.study.committed import Committed, sampler_of
from cg_augment.study.generator import (
    Network,
    TrainGenerator,
    folded,
    scheduler,
    train,
    unfolded,
)
from cg_augment.study.image_worlds import BLIND, DRAWN, SAMPLED
from cg_augment.study.try_recipes import generator_training
from cg_augment.study.worlds import Pool
from cg_augment.use.schedules import read_schedule
from repro_shared.evidence.hashing import resolved_config
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import save_weights

TINY = TrainGenerator(4, Network(2, (8, 8), 32), batch_size=4, amp=False)


def pictures() -> Any:
    return Pool(DRAWN[0].pool.world, 0.9, 12).open(None).pictures


def test_folding_is_turned_round_and_has_about_unit_variance() -> None:
    images = torch.from_numpy(pictures().pixels).permute(0, 3, 1, 2).float() / 255
    latents = folded(images)
    assert latents.shape == (12, 12, 16, 16)
    assert torch.allclose(unfolded(latents), images, atol=1e-6)
    assert 0.4 < float(latents.std()) < 1.4


def test_what_is_trained_gives_x0_back() -> None:
    """A network that gave the target of the loss exactly would predict x0 exactly."""
    steps, levels = read_schedule(scheduler(), 12).steps, scheduler().alphas_cumprod.double()
    x0, noise = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    for step in steps:
        level = levels[int(step.timestep)]
        alpha, sigma = level.sqrt(), (1 - level).sqrt()
        found = clean(step, "v_prediction", alpha * x0 + sigma * noise, alpha * noise - sigma * x0)
        assert torch.allclose(found, x0, atol=1e-6)


def test_the_first_step_alone_is_blind() -> None:
    assert read_schedule(scheduler(), SAMPLED).blind == BLIND


def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    def run(store: CheckpointStore | None, steps: int = 4, identity: str = "x") -> Any:
        torch.manual_seed(0)
        network = TINY.network.make()
        return train(network, pictures(), replace(TINY, steps=steps), 0, store, identity)

    whole = run(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "CHECKPOINT_SECONDS", 0.0)
        store, calls = CheckpointStore(tmp_path), list[int]()
        saved = store.save

        def dying(step: int, state: dict[str, Any]) -> None:
            saved(step, state)
            calls.append(step)
            if step == 2:
                raise KeyboardInterrupt

        patch.setattr(store, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            run(store)
    resumed = run(CheckpointStore(tmp_path))
    for one, other in zip(whole[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(one, other)
    assert whole[1] == resumed[1]
    with pytest.raises(UserError, match="holds another run"):
        run(CheckpointStore(tmp_path), identity="y")


def test_sampling_is_of_the_class_and_of_each_seed(classifier_of: Callable[..., Any]) -> None:
    network, (one, other) = TINY.network.make().eval(), (classifier_of(1), classifier_of(2))
    order = Order(torch.tensor([0, 1]), (5, 6), one, other)
    sampler = sampler_of(network, 3)(order)
    rows, x = torch.arange(2), torch.randn(1, 12, 16, 16).expand(2, -1, -1, -1)
    found = sampler.predict(x, 0, rows)
    assert sampler.shape == (12, 16, 16)
    assert not torch.equal(found[0], found[1])  # the classes differ
    assert sampler.decode(x).shape == (2, 3, 32, 32)
    start = torch.rand(2, 3, 32, 32)
    begun = sampler_of(network, 3)(replace(order, start=start))
    assert begun.origin is not None
    assert torch.allclose(unfolded(begun.origin), start, atol=1e-6)


def test_a_file_that_is_not_what_was_committed_is_refused(tmp_path: Path) -> None:
    network = Network(2, (8, 8), 32)
    digest = save_weights(network.make(), tmp_path / "own.safetensors", half=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(committed, "FOLDER", tmp_path)
        assert Committed("own", digest, network, 3).load() is not None
        with pytest.raises(UserError, match=r"own\.safetensors is missing or damaged: restore it"):
            Committed("own", "0" * 64, network, 3).load()
        with pytest.raises(UserError, match="missing or damaged"):
            Committed("other", digest, network, 3).load()
        with pytest.raises(UserError, match="another architecture"):
            Committed("own", digest, replace(network, channels=(8, 16)), 3).load()


@pytest.mark.parametrize("drawn", [d for d in DRAWN if d.sha256], ids=lambda drawn: drawn.file)
def test_recipe_record_and_file_belong_together(drawn: Any) -> None:
    file = drawn.committed.file
    assert file.stat().st_size <= 4_000_000
    assert sha256_file(file) == drawn.sha256
    beside = json.loads(file.with_suffix(".json").read_text())
    arms = [arm for arm in generator_training("cpu").arms if arm.data == drawn.pool]
    (arm,) = (
        arm for arm in arms if arm.config == drawn.training(generator.train_generator, False).config
    )
    assert beside["record"]["arm"] in (arm.id, "shapes-97-aligned")  # before it had its steps
    assert beside["record"]["origin"]["data_fingerprint"] == drawn.pool.open(None).fingerprint
    assert beside["record"]["notes"] == f"weights sha256 {drawn.sha256}"
    assert beside["config"] == json.loads(json.dumps(resolved_config(arm.config)))
    assert beside["pictures"] == json.loads(json.dumps(resolved_config(drawn.pool)))
    assert drawn.committed.load().config.num_class_embeds == len(drawn.pool.world.scene.classes)
