"""How much memory a run took, when it ran out, and an allocator whose speed has no past."""

import ctypes
from pathlib import Path

import torch

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt(3)
_LARGEST = 32 * 2**20  # where glibc's own adjusting ends
_RESET_PEAK = "5"  # proc_pid_clear_refs(5)


class PeakMemory:
    """Largest memory since it was made: of the CUDA device if it is used, else of the process.

    What the process held before counts, freed blocks do not. One at a time: a new one starts anew.
    """

    def __init__(self) -> None:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.reset_peak_memory_stats()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)
        try:
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
            self._known = True
        except OSError:  # not Linux
            self._known = False

    def mb(self) -> float | None:
        """In 2**20 bytes; None where the system gives a process's maximum and no run's."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return torch.cuda.max_memory_allocated() / 2**20
        if not self._known:
            return None
        status = Path("/proc/self/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 2**10  # KiB


def pin_allocator() -> None:
    """Let glibc's allocator work from now on as it does after long use; elsewhere nothing.

    glibc maps large blocks afresh, page by page, until it has freed some, then takes blocks as
    large from its heap. A training step may cost an eighth less after whatever freed large ones.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(_MMAP_THRESHOLD, _LARGEST)
        adjust(_TRIM_THRESHOLD, 2 * _LARGEST)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or as the CPU's allocator says it."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
