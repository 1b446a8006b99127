"""How much memory a run took."""

import resource
import sys

import torch


def peak_memory_mb() -> float:
    """Largest memory so far, in 2**20 bytes: CUDA's if it is used, else the process's."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
