"""SIGKILL at every boundary inside a save, and at random moments.

One child process imports torch, and forks a victim for each kill: an import for each would take
minutes.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from repro_shared.runtime.checkpoint import CheckpointStore

SCRIPT = '''
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from repro_shared.runtime import checkpoint, files
from repro_shared.runtime.checkpoint import CheckpointStore

torch.set_num_threads(1)
root = Path(sys.argv[1])


def state(step):
    return {"weight": torch.full((2000,), float(step))}


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


class DieAt:
    """The n-th call kills; those before go through."""

    def __init__(self, function, n):
        self.function, self.n = function, n

    def __call__(self, *args):
        self.n -= 1
        return die() if self.n == 0 else self.function(*args)


def victim(action):
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(3)
    return child


def boundary(name):
    store = CheckpointStore(root / name)
    if name == "before-temporary":
        checkpoint.temporary_file = die
    elif name == "inside-temporary":
        store._write = DieAt(lambda handle, piece: (handle.write(piece), handle.flush()), 12)
    elif name == "before-sync":
        files.os.fsync = DieAt(os.fsync, 1)
    elif name == "before-rename":
        files.os.replace = DieAt(os.replace, 1)
    elif name == "before-pointer":
        checkpoint.atomic_write_json = die
    elif name == "inside-pointer":
        files.os.replace = DieAt(os.replace, 2)
    elif name == "before-delete":
        store._remove_superseded = die
    elif name == "between-deletes":
        checkpoint.sync_directory = die
    store.save(100, state(100))


for name in sys.argv[2].split(","):
    for step in (0, 50):
        CheckpointStore(root / name).save(step, state(step))
    _, status = os.waitpid(victim(lambda: boundary(name)), 0)
    assert os.WIFSIGNALED(status), (name, status)

# The very first save of a run has nothing to fall back to.
for name in ("before-rename", "before-pointer", "before-delete"):
    (root / f"first-{name}").mkdir()
    os.rename(root / name, root / "aside")
    os.rename(root / f"first-{name}", root / name)
    os.waitpid(victim(lambda: boundary(name)), 0)
    os.rename(root / name, root / f"first-{name}")
    os.rename(root / "aside", root / name)


def endless(step):
    def slow(handle, piece):
        handle.write(piece)
        handle.flush()
        time.sleep(0.0003)

    store = CheckpointStore(root / "random", write=slow)
    while True:
        step += 1
        store.save(step, state(step))


chance, reached, torn = random.Random(0), [], 0
CheckpointStore(root / "random").save(0, state(0))
for _ in range(20):
    child = victim(lambda: endless(reached[-1] if reached else 0))
    time.sleep(chance.uniform(0.03, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    torn += any((root / "random").glob(".*.tmp"))
    step, content = CheckpointStore(root / "random").load_latest()
    assert torch.equal(content["weight"], state(step)["weight"])
    reached.append(step)
print(json.dumps({"reached": reached, "torn": torn}))
'''

# Where the kill comes, and the step that must load afterwards.
BOUNDARIES = {
    "before-temporary": 50,
    "inside-temporary": 50,
    "before-sync": 50,
    "before-rename": 50,
    "before-pointer": 50,
    "inside-pointer": 50,
    "before-delete": 100,
    "between-deletes": 100,
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    root = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), ",".join(BOUNDARIES)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_kill_at_a_boundary(boundary: str, killed: tuple[Path, dict[str, object]]) -> None:
    directory = killed[0] / boundary
    leftovers = list(directory.glob(".*.tmp"))
    has_leftover = boundary in {
        "inside-temporary",
        "before-sync",
        "before-rename",
        "inside-pointer",
    }
    assert bool(leftovers) == has_leftover
    store = CheckpointStore(directory)
    loaded = store.load_latest()
    assert loaded is not None
    assert loaded[0] == BOUNDARIES[boundary]
    assert torch.equal(loaded[1]["weight"], torch.full((2000,), float(loaded[0])))
    # The next save works, and clears what the kill left.
    store.save(101, {"weight": torch.zeros(1)})
    assert len(list(directory.iterdir())) == 3
    reloaded = store.load_latest()
    assert reloaded is not None
    assert reloaded[0] == 101


@pytest.mark.parametrize(
    ("boundary", "step"), [("before-rename", None), ("before-pointer", 100), ("before-delete", 100)]
)
def test_kill_inside_the_first_save(
    boundary: str, step: int | None, killed: tuple[Path, dict[str, object]]
) -> None:
    loaded = CheckpointStore(killed[0] / f"first-{boundary}").load_latest()
    assert (loaded and loaded[0]) == step


def test_random_kills(killed: tuple[Path, dict[str, object]]) -> None:
    outcome = killed[1]
    reached = outcome["reached"]
    assert isinstance(reached, list)
    assert reached == sorted(reached)
    assert reached[-1] > 2
    assert isinstance(outcome["torn"], int)
    assert outcome["torn"] >= 5  # enough of them came in the middle of a save
