"""The loop: exact resume, pairing of arms, independence of workers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repro_shared.evidence.hashing import recipe_hash
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import endless_loader
from repro_shared.study.paper import Study
from seg_kd.method.objectives import FEATURE_LOGIT, PLAIN
from seg_kd.rivals.cirkd import Memory, MiniBatch
from seg_kd.rivals.presets import RIVALS
from seg_kd.study.arms import students, teacher
from seg_kd.study.stages import untrained
from seg_kd.train import Job, Optimiser, make_model, start, train
from seg_kd.use import adapter
from seg_kd.use.data import Samples, Views


@pytest.fixture(scope="module")
def source(tiny: Study) -> Samples:
    return tiny.data.open(None).train


def job_of(study: Study, source: Samples, directory: Path, iterations: int = 6) -> Job:
    student = students(study, "time")[0].config
    return Job(
        student_config=student.model.config(student.classes, student.view.crop),
        view=student.view,
        source=source,
        optimiser=student.optimiser,
        iterations=iterations,
        seed=3,
        objective=FEATURE_LOGIT,
        teacher=untrained(teacher(study).config, 0),
        directory=directory,
        checkpoint_interval=2,
        identity="test",
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_equals_uninterrupted(
    tiny: Study, source: Samples, tmp_path: Path, workers: int
) -> None:
    whole = train(job_of(tiny, source, tmp_path / "whole"))
    stopped = start(replace(job_of(tiny, source, tmp_path / "part"), workers=workers))
    for _ in range(5):  # the checkpoint is of iteration 4: the fifth is lost
        stopped.step()
        if stopped.iter == 4:
            assert stopped.store is not None
            stopped.store.save(4, stopped.snapshot())
    torch.randn(7)  # whatever happened between the two processes
    resumed = train(replace(job_of(tiny, source, tmp_path / "part"), workers=workers))
    expected, found = whole.student.state_dict(), resumed.student.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.curve == whole.curve
    other = train(replace(job_of(tiny, source, tmp_path / "other"), seed=4))
    assert any(
        not torch.equal(expected[name], value) for name, value in other.student.state_dict().items()
    )


def test_checkpoint_of_another_job_is_refused(tiny: Study, source: Samples, tmp_path: Path) -> None:
    loop = start(job_of(tiny, source, tmp_path))
    loop.step()
    assert loop.store is not None
    loop.store.save(1, loop.snapshot())
    with pytest.raises(UserError, match="another recipe or plan"):
        start(replace(job_of(tiny, source, tmp_path), identity="other"))


def test_arms_of_a_seed_share_initialisation(tiny: Study, source: Samples, tmp_path: Path) -> None:
    job = job_of(tiny, source, tmp_path)
    plain = make_model(replace(job, objective=PLAIN, teacher=None))
    both = make_model(job)
    for name, value in plain.student.state_dict().items():
        assert torch.equal(value, both.student.state_dict()[name])
    assert not any("teacher" in name for name in both.state_dict())


def test_stream_does_not_depend_on_workers_or_start(tiny: Study, source: Samples) -> None:
    views = Views(source, adapter.training_transform(students(tiny, "time")[0].config.view), seed=1)

    def images(start: int, workers: int, count: int) -> list[torch.Tensor]:
        loader = endless_loader(views, 1, 4, start, workers, collate_fn=adapter.collate)
        batches = iter(loader)
        return [image for _ in range(count) for image in next(batches)["inputs"]]

    all_of_them = images(0, 0, 5)
    assert all(map(torch.equal, all_of_them, images(0, 2, 5)))
    assert all(map(torch.equal, all_of_them[12:], images(12, 0, 2)))
    assert not torch.equal(all_of_them[0], all_of_them[1])


def test_schedule_is_complete(tiny: Study, source: Samples, tmp_path: Path) -> None:
    loop = start(job_of(tiny, source, tmp_path, iterations=5))
    rates = []
    for _ in range(5):
        rates.append(loop.runner.optim_wrapper.get_lr()["lr"][0])
        loop.step()
    spec = students(tiny, "time")[0].config.optimiser
    expected = [
        (spec.learning_rate - spec.minimum_rate) * (1 - i / 4) ** 0.9 + spec.minimum_rate
        for i in range(5)
    ]  # mmengine reaches the floor at the last iteration, not after it
    assert rates == pytest.approx(expected)


TRANSFORMERS = Optimiser(
    kind="AdamW",
    learning_rate=1e-3,
    weight_decay=0.01,
    minimum_rate=0.0,
    power=1.0,
    batch_size=2,
    warmup=0.4,
    warmup_start=0.1,
    clip_norm=1.0,
    multipliers='{"custom_keys":{"decode_head":{"lr_mult":10.0},"bn":{"decay_mult":0.0}}}',
)


def test_rates_rise_then_fall(tiny: Study, source: Samples, tmp_path: Path) -> None:
    job = replace(job_of(tiny, source, tmp_path, iterations=10), optimiser=TRANSFORMERS)
    loop = start(replace(job, checkpoint_interval=0))
    groups = loop.runner.optim_wrapper.param_groups
    names = [name for name, _ in loop.bare_model.named_parameters()]
    rates: list[list[float]] = []
    for _ in range(10):
        rates.append([group["lr"] for group in groups])
        loop.step()
    head = [i for i, name in enumerate(names) if "decode_head" in name]
    norm = [i for i, name in enumerate(names) if "bn" in name and i not in head]
    backbone = names.index("student.backbone.stem.0.weight")
    rise, fall = [1e-4, 4e-4, 7e-4, 1e-3], [1e-3 * (1 - i / 5) for i in range(6)]
    assert [row[backbone] for row in rates] == pytest.approx([*rise, *fall])
    assert [row[head[0]] for row in rates] == pytest.approx([10 * r for r in (*rise, *fall)])
    assert {groups[i]["weight_decay"] for i in norm} == {0.0}
    assert groups[backbone]["weight_decay"] == 0.01
    assert isinstance(loop.runner.optim_wrapper.optimizer, torch.optim.AdamW)


def test_a_gradient_is_clipped(tiny: Study, source: Samples, tmp_path: Path) -> None:
    plain = replace(job_of(tiny, source, tmp_path), optimiser=Optimiser(clip_norm=1e-3))
    loop = start(replace(plain, checkpoint_interval=0))
    before = torch.cat([p.detach().flatten().clone() for p in loop.bare_model.parameters()])
    loop.step()
    after = torch.cat([p.detach().flatten() for p in loop.bare_model.parameters()])
    decay = 0.01 * 5e-4 * before  # rate x weight decay, outside the norm that is clipped
    assert (after - before + decay).norm() == pytest.approx(0.01 * 1e-3, rel=0.05)


def test_another_optimiser_resumes_to_the_same_bytes(
    tiny: Study, source: Samples, tmp_path: Path
) -> None:
    whole = train(replace(job_of(tiny, source, tmp_path / "whole"), optimiser=TRANSFORMERS))
    job = replace(job_of(tiny, source, tmp_path / "part"), optimiser=TRANSFORMERS)
    stopped = start(job)
    for _ in range(2):
        stopped.step()
    assert stopped.store is not None
    stopped.store.save(2, stopped.snapshot())
    resumed = train(job)
    assert resumed.curve == whole.curve
    found = resumed.student.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in whole.student.state_dict().items())


SMALL = {"pixel_queue": 32, "region_queue": 8, "pixels": 28, "regions": 14}
STATEFUL = {
    "a discriminator with Adam": RIVALS["skd-as-published"],
    "queues": replace(RIVALS["cirkd"], terms=(MiniBatch(), Memory(**SMALL))),
    "a generator, clipped": RIVALS["af-dcd-as-published"],
    "an adapter": RIVALS["cwd-features"],
}


@pytest.mark.parametrize("name", STATEFUL)
def test_an_objective_with_state_resumes_to_the_same_bytes(
    tiny: Study, source: Samples, tmp_path: Path, name: str
) -> None:
    job = replace(job_of(tiny, source, tmp_path / "part"), objective=STATEFUL[name])
    whole = start(replace(job, directory=tmp_path / "whole"))
    for _ in range(6):
        whole.step()
    stopped = start(job)
    for _ in range(3):
        stopped.step()
        if stopped.iter == 2:
            assert stopped.store is not None
            stopped.store.save(2, stopped.snapshot())
    resumed = start(job)
    assert resumed.iter == 2
    for _ in range(4):
        resumed.step()
    expected, found = whole.bare_model.state_dict(), resumed.bare_model.state_dict()
    assert expected.keys() == found.keys()
    assert any(key.startswith("terms.") for key in expected)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert resumed.curve == whole.curve


def test_what_an_objective_trains_beside_is_trained(
    tiny: Study, source: Samples, tmp_path: Path
) -> None:
    for name, objective in STATEFUL.items():
        job = replace(job_of(tiny, source, tmp_path / name), objective=objective)
        loop = start(replace(job, checkpoint_interval=0))
        before = {k: p.detach().clone() for k, p in loop.bare_model.terms.named_parameters()}
        assert before
        loop.step()
        after = dict(loop.bare_model.terms.named_parameters())
        still = [k for k in before if torch.equal(before[k], after[k].detach())]
        # Attention begins closed (gamma 0), and the two halves of the hinge loss cancel in a bias.
        assert [key for key in still if not re.search(r"\.attention\.|last\.bias", key)] == []


def test_settings_added_later_leave_keys_and_configs_alone() -> None:
    of_the_digits = "c22b3577452f198ae6456cd54cac31fec548eb069dfe5d31b38514c6333ca547"
    assert recipe_hash(Optimiser(learning_rate=0.2)) == of_the_digits
    assert Optimiser().wrapper_config() == {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
    }
    assert Optimiser(amp=True).wrapper_config()["type"] == "AmpOptimWrapper"
    assert [part["type"] for part in Optimiser().schedule_config(100)] == ["PolyLR"]


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 10])
def test_every_length_has_a_schedule(iterations: int) -> None:
    parts = TRANSFORMERS.schedule_config(iterations)
    assert parts[-1]["end"] == iterations
    assert all(part["end"] - part["begin"] > 1 for part in parts) or iterations == 1
