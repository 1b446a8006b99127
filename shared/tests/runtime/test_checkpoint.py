"""A checkpoint is there, whole and the right one, whatever happened before."""

import errno
import hashlib
import json
import pickle
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pytest
import torch

from repro_shared.runtime import checkpoint
from repro_shared.runtime.checkpoint import POINTER, CheckpointStore
from repro_shared.runtime.errors import UserError, exit_code
from repro_shared.runtime.rng import capture_rng


def state(step: int) -> dict[str, Any]:
    return {"weight": torch.full((50, 3), float(step)), "loss": [0.5, None], "arm": "logit"}


def saved(directory: Path, *steps: int) -> CheckpointStore:
    store = CheckpointStore(directory)
    for step in steps:
        store.save(step, state(step))
    return store


def loaded_step(directory: Path) -> int:
    """Step of what loads, after checking that it is what was saved at that step."""
    loaded = CheckpointStore(directory).load_latest()
    assert loaded is not None
    step, content = loaded
    assert torch.equal(content["weight"], state(step)["weight"])
    return step


def steps_on_disk(directory: Path) -> list[int]:
    assert not [path for path in directory.iterdir() if path.suffix == ".tmp"]
    return sorted(int(path.name.split("-")[1]) for path in directory.glob("*.pt"))


def file_of(directory: Path, step: int) -> Path:
    (path,) = directory.glob(f"step-{step:09d}-*.pt")
    return path


def test_nothing_saved(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none").load_latest() is None
    assert CheckpointStore(tmp_path).load_latest() is None


def test_round_trip_of_a_training_state(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = {
        "state": {0: {"momentum_buffer": torch.randn(2, 3)}},
        "param_groups": [{"lr": 0.1, "nesterov": False, "params": [0, 1, 2, 3]}],
    }
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer,
        "rng": capture_rng(),
        "curve": [{"step": 1, "loss": 0.25}, ()],
        "pair": (1, True, None, "é"),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    CheckpointStore(tmp_path).save(7, content)
    loaded = CheckpointStore(tmp_path).load_latest()
    assert loaded is not None
    step, back = loaded
    assert step == 7
    assert isinstance(back["model"], OrderedDict)
    assert back["pair"] == content["pair"]
    assert back["curve"] == content["curve"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(back["model"][name], tensor)
    assert back["optimizer"]["param_groups"] == optimizer["param_groups"]
    assert str(back["optimizer"]["state"]) == str(optimizer["state"])


def test_keeps_the_newest_and_the_one_before(tmp_path: Path) -> None:
    saved(tmp_path, 0, 50, 100, 150)
    assert steps_on_disk(tmp_path) == [100, 150]
    pointer = json.loads((tmp_path / POINTER).read_text())
    newest = file_of(tmp_path, 150)
    digest = hashlib.sha256(newest.read_bytes()).hexdigest()
    assert pointer == {"file": newest.name, "sha256": digest, "step": 150}


def test_large_steps_sort_as_numbers(tmp_path: Path) -> None:
    saved(tmp_path, 999_999_999, 1_000_000_000, 1_000_000_001)
    (tmp_path / POINTER).unlink()
    assert loaded_step(tmp_path) == 1_000_000_001


def test_an_earlier_step_supersedes_later_ones(tmp_path: Path) -> None:
    """After a fall-back, or a new start in the same folder."""
    store = saved(tmp_path, 50, 100)
    store.save(75, state(75))
    assert steps_on_disk(tmp_path) == [50, 75]
    store.save(75, {**state(75), "loss": 1.0})
    assert steps_on_disk(tmp_path) == [50, 75]
    assert loaded_step(tmp_path) == 75


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints")
    saved(directory, 50, 100)
    return directory


def damaged(two: Path, tmp_path: Path, step: int, damage: Callable[[bytes], bytes]) -> Path:
    directory = tmp_path / "copy"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(two, directory)
    path = file_of(directory, step)
    path.write_bytes(damage(path.read_bytes()))
    return directory


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncation_falls_back(
    kept: float, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = damaged(two, tmp_path, 100, lambda data: data[: int(kept * len(data))])
    assert loaded_step(directory) == 50
    warning = capsys.readouterr().err
    assert warning.startswith("warning: step-000000100-")
    assert "going on from step-000000050-" in warning
    assert warning.count("\n") == 1


def test_every_flipped_byte_is_detected(two: Path, tmp_path: Path) -> None:
    size = file_of(two, 100).stat().st_size
    for offset in [0, 1, size - 1, *range(0, size, size // 40)]:

        def flip(data: bytes, offset: int = offset) -> bytes:
            return data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :]

        assert loaded_step(damaged(two, tmp_path, 100, flip)) == 50


def test_appended_bytes_are_detected(two: Path, tmp_path: Path) -> None:
    assert loaded_step(damaged(two, tmp_path, 100, lambda data: data + b"\0")) == 50


def test_damage_to_the_older_one_does_not_matter(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loaded_step(damaged(two, tmp_path, 50, lambda _: b"")) == 100
    assert capsys.readouterr().err == ""


def test_both_damaged(two: Path, tmp_path: Path) -> None:
    directory = damaged(two, tmp_path, 100, lambda data: data[:-1])
    file_of(directory, 50).write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"no intact checkpoint in .*delete that folder") as caught:
        CheckpointStore(directory).load_latest()
    assert str(caught.value).count("does not match its SHA-256") == 2


def test_missing_newest_falls_back(two: Path, tmp_path: Path) -> None:
    directory = damaged(two, tmp_path, 100, lambda data: data)
    file_of(directory, 100).unlink()
    assert loaded_step(directory) == 50
    file_of(directory, 50).unlink()
    with pytest.raises(UserError, match="file is missing"):
        CheckpointStore(directory).load_latest()


@pytest.mark.parametrize(
    "pointer",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"file": 3}',
        '{"file": "../step.pt"}',
        '{"file": "/etc/passwd"}',
    ],
)
def test_damaged_pointer(
    pointer: str, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = damaged(two, tmp_path, 100, lambda data: data)
    (directory / POINTER).write_text(pointer)
    assert loaded_step(directory) == 100
    assert capsys.readouterr().err.startswith(f"warning: {POINTER} is damaged; going on from")
    (directory / POINTER).write_bytes(b"\xff\xfe")
    assert loaded_step(directory) == 100


def test_the_pointer_decides_over_the_step(two: Path, tmp_path: Path) -> None:
    """Killed between pointer and deletion, a new start leaves later steps of the old run."""
    directory = damaged(two, tmp_path, 100, lambda data: data)
    (directory / POINTER).write_text(json.dumps({"file": file_of(directory, 50).name}))
    assert loaded_step(directory) == 50


# ---------------------------------------------------------------- hostile files


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def plant(directory: Path, data: bytes) -> None:
    """A file as an attacker would make it: hash and pointer agree with it."""
    directory.mkdir(exist_ok=True)
    digest = hashlib.sha256(data).hexdigest()
    name = f"step-000000200-{digest}.pt"
    (directory / name).write_bytes(data)
    (directory / POINTER).write_text(json.dumps({"file": name, "sha256": digest, "step": 200}))


@pytest.mark.parametrize("form", ["torch", "plain pickle"])
def test_hostile_pickle_is_refused_and_does_not_run(form: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    if form == "torch":
        torch.save({"step": 200, "state": {"x": Payload(marker)}}, tmp_path / "made.pt")
        data = (tmp_path / "made.pt").read_bytes()
    else:
        data = pickle.dumps(Payload(marker))
    directory = tmp_path / "run"
    saved(directory, 50)
    plant(directory, data)
    with pytest.raises(UserError, match="was refused: it holds something other than tensors"):
        CheckpointStore(directory).load_latest()
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", [{"step": 200}, [1, 2], torch.ones(2), {"step": 1, "state": 2}, None]
)
def test_foreign_content_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "made.pt")
    plant(tmp_path / "run", (tmp_path / "made.pt").read_bytes())
    with pytest.raises(UserError, match="not one of ours"):
        CheckpointStore(tmp_path / "run").load_latest()


class Pair(NamedTuple):
    a: int


@pytest.mark.parametrize(
    "value", [np.float64(1), np.ones(2), {1, 2}, Pair(1), Path("x"), 1j, b"x", torch.float32]
)
def test_what_would_not_load_is_not_saved(value: Any, tmp_path: Path) -> None:
    store = saved(tmp_path, 50)
    with pytest.raises(TypeError, match=r"state\['inner'\]\[1\] is a"):
        store.save(100, {"inner": [0, value]})
    with pytest.raises(TypeError, match="key of type float"):
        store.save(100, {0.5: 1})  # type: ignore[dict-item]
    assert steps_on_disk(tmp_path) == [50]


# ---------------------------------------------------------------- full disk


class FullAfter:
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, handle: BinaryIO, piece: bytes) -> None:
        self.room -= len(piece)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        handle.write(piece)


@pytest.mark.parametrize("room", [0, 10, 300, 1000, 2000])
def test_full_disk(room: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, 0, 50)
    full = CheckpointStore(tmp_path, write=FullAfter(room))
    assert exit_code(lambda: full.save(100, state(100))) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"
    assert steps_on_disk(tmp_path) == [0, 50]
    assert loaded_step(tmp_path) == 50
    saved(tmp_path, 100)
    assert loaded_step(tmp_path) == 100


def test_full_disk_while_writing_the_pointer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path, 50)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "atomic_write_json", full)
        with pytest.raises(OSError, match="No space left"):
            store.save(100, state(100))
    assert loaded_step(tmp_path) == 50
    store.save(100, state(100))
    assert steps_on_disk(tmp_path) == [50, 100]


def test_interrupt_inside_a_save(tmp_path: Path) -> None:
    def interrupted(handle: BinaryIO, piece: bytes) -> None:
        handle.write(piece)
        if len(piece) > 500:
            raise KeyboardInterrupt

    saved(tmp_path, 50)
    with pytest.raises(KeyboardInterrupt):
        CheckpointStore(tmp_path, write=interrupted).save(100, state(100))
    assert steps_on_disk(tmp_path) == [50]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        saved(tmp_path / "file" / "run", 1)
