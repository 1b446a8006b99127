"""What a timing was taken on, and when work handed to a GPU is done."""

import platform
from pathlib import Path

import torch


def describe_machine() -> dict[str, str]:
    """CPU model, torch version, and the GPU where this process used one; names nobody."""
    machine = {"cpu": cpu_model(), "torch": torch.__version__}
    if _uses_cuda():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def cpu_model() -> str:
    """The processor's name, or at least its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no such file outside Linux
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def synchronize() -> None:
    """Wait for the GPU, so that a clock read next includes the work; nothing on a CPU."""
    if _uses_cuda():
        torch.cuda.synchronize()


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
