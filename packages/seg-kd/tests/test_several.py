"""Several processes train as one does: the same batches, one gradient, one record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from repro_shared.evidence.run_folder import RunFolder
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.study.paper import Study
from seg_kd.method.objectives import FEATURE_LOGIT, Objective
from seg_kd.rivals.cirkd import Memory
from seg_kd.study.arms import students, teacher
from seg_kd.study.stages import untrained
from seg_kd.train import Job, start, train
from seg_kd.use import adapter
from seg_kd.use.data import View

START = "fork" if sys.version_info < (3, 12) else "spawn"
NO_BATCH_NORM = {"type": "GN", "num_groups": 4, "requires_grad": True}


def job_of(study: Study, directory: Path) -> Job:
    """A training whose gradient is a mean over images: no batch norm, no dropout, no padding."""
    student = students(study, "time")[0].config
    config = student.model.config(student.classes, student.view.crop)
    config["backbone"]["norm_cfg"] = NO_BATCH_NORM
    for head in ("decode_head", "auxiliary_head"):
        config[head] |= {"norm_cfg": NO_BATCH_NORM, "dropout_ratio": 0.0}
    return Job(
        student_config=config,
        view=View((64, 64), (1.0, 1.0), flip=0.0, photometric=False, largest_class=1.0),
        source=study.data.open(None).train,
        optimiser=student.optimiser,
        iterations=4,
        seed=3,
        objective=FEATURE_LOGIT,
        teacher=untrained(teacher(study).config, 0),
        directory=directory,
        checkpoint_interval=2,
        identity="test",
    )


def joined(rank: int, folder: Path) -> None:
    """What torchrun and `processes` do."""
    torch.set_num_threads(1)
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
    meet = f"file://{folder / 'meet'}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    adapter.set_device("cpu")


def _trains(rank: int, study: Study, folder: Path) -> None:
    joined(rank, folder)
    job = job_of(study, folder / "two")
    whole = train(job)
    # The checkpoint of the second iteration is gone on to, as after a kill.
    stopped = start(replace(job, directory=folder / "part"))
    for _ in range(2):
        stopped.step()
    if rank == 0:
        assert stopped.store is not None
        stopped.store.save(2, stopped.snapshot())
    dist.barrier()
    resumed = train(replace(job, directory=folder / "part"))
    torch.save(
        {"curve": whole.curve, "state": whole.student.state_dict(),
         "resumed": resumed.student.state_dict()}, folder / f"{rank}.pt",
    )  # fmt: skip
    dist.destroy_process_group()


def test_two_processes_make_the_student_that_one_makes(tiny: Study, tmp_path: Path) -> None:
    mp.start_processes(_trains, (tiny, tmp_path), nprocs=2, start_method=START)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    job = job_of(tiny, tmp_path / "one")
    begun = {k: v.clone() for k, v in start(job).bare_model.student.state_dict().items()}
    one = train(job)
    assert [p["loss"] for p in first["curve"]] == pytest.approx([p["loss"] for p in one.curve])
    assert second["curve"] == first["curve"]
    for name, value in one.student.state_dict().items():
        moved = float((value - begun[name]).abs().max())
        assert torch.allclose(first["state"][name], value, atol=1e-3 * moved + 1e-7), name
        assert torch.equal(first["state"][name], second["state"][name])
        assert torch.equal(first["resumed"][name], first["state"][name])
    assert any(not torch.equal(v, begun[k]) for k, v in one.student.state_dict().items())


SMALL = Memory(pixel_queue=64, region_queue=16, pixels=70, regions=14)


def _queues(rank: int, study: Study, folder: Path) -> None:
    joined(rank, folder)
    job = job_of(study, folder / "two")
    for size, said in ((3, "does not divide over 2"), (2, "batch norm on the CPU needs two")):
        with pytest.raises(UserError, match=said):
            start(replace(job, optimiser=replace(job.optimiser, batch_size=size)))
    objective = Objective("memory", terms=(SMALL,))
    loop = start(replace(job, objective=objective))
    loop.step()
    torch.save(loop.bare_model.terms["0"].pixels.state_dict(), folder / f"{rank}.pt")
    model = loop.bare_model
    if rank == 1:
        model.student.decode_head.conv_seg.bias.data.fill_(float("nan"))
    before = next(model.parameters()).detach().clone()
    with pytest.raises(DivergedError, match=r"in iteration 2 .*decode\.loss_ce") as raised:
        loop.step()
    assert torch.equal(next(model.parameters()), before)  # in both: nobody waits for the other
    images = str(raised.value).rpartition("its images: ")[2].split(", ")
    (folder / f"{rank}.json").write_text(json.dumps(images))
    dist.destroy_process_group()


def test_queues_are_filled_alike_and_a_loss_of_one_process_stops_all(
    tiny: Study, tmp_path: Path
) -> None:
    mp.start_processes(_queues, (tiny, tmp_path), nprocs=2, start_method=START)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert int(first["written"].sum()) > 0
    assert torch.equal(first["vectors"], second["vectors"])
    images = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert images[0] == images[1]
    assert len(images[0]) == job_of(tiny, tmp_path).optimiser.batch_size


def test_other_verbs_take_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="this runs in one process: start it without torchrun"):
        adapter.set_device("cpu")


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "seg_kd.cli", *arguments,
    ]  # fmt: skip
    environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_torchrun_keeps_one_record_and_speaks_once(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (
        "train", "--data", str(folder), "--num-classes", "11", "--ignore", "11",
        "--crop", "32", "32", "--batch-size", "4", "--out", str(out),
    )  # fmt: skip
    done = launch(*arguments, "--iterations", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["iterations"] == 2
    assert (out / "model.pth").is_file()
    (record,) = RunFolder(out / "train", "train").read()
    assert record.status == "complete"
    other = launch(*arguments, "--budget-seconds", "9")
    assert other.returncode != 0
    assert other.stderr.count("under torchrun give a length") >= 1
