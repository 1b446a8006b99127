"""The peak of a run is its own, and the allocator is the same for the first step and the last."""

import subprocess
import sys

import pytest
import torch

from repro_shared.runtime import memory
from repro_shared.runtime.memory import PeakMemory

linux = pytest.mark.skipif(sys.platform != "linux", reason="procfs and glibc")


def peak_of(megabytes: int) -> float:
    """Of a run that holds so much for a moment."""
    peak = PeakMemory()
    torch.ones(megabytes * 2**18)
    found = peak.mb()
    assert found is not None
    return found


@linux
def test_a_small_run_after_a_large_one_has_a_small_peak() -> None:
    small, large, after = peak_of(20), peak_of(200), peak_of(20)
    assert large - small == pytest.approx(180, abs=15)
    assert after == pytest.approx(small, abs=15)  # the process's maximum would be 180 above


def test_a_peak_that_cannot_be_known_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        def __init__(self, path: str) -> None:
            raise FileNotFoundError(path)

    monkeypatch.setattr(memory, "Path", Elsewhere)
    assert PeakMemory().mb() is None


FAULTS = """
import resource, torch
from repro_shared.runtime.memory import pin_allocator
torch.set_num_threads(1)
pin_allocator()
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.ones(2**18) for _ in range(40)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(step(), step())
"""


@linux
def test_a_pinned_allocator_keeps_its_pages_from_the_second_step_on() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    first, second = map(int, done.stdout.split())
    assert second < first / 2  # page faults; without the call as many as in the first step
