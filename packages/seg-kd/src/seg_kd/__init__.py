"""seg-kd: distillation for semantic segmentation at equal wall-clock time (arXiv 2604.25530)."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Raised when a change alters results; records of another version are shown as stale.
METHOD_VERSION = 1

_PUBLIC = {
    "Images": "seg_kd.study.own_arms",
    "Length": "seg_kd.study.own_arms",
    "Network": "seg_kd.use.network",
    "Training": "seg_kd.study.training",
    "compare": "seg_kd.cli",
    "distill": "seg_kd.cli",
    "objective": "seg_kd.method.objectives",
}


__all__ = ["METHOD_VERSION", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """The public names, imported on first use: mmengine takes seconds."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'seg_kd' has no attribute {name!r}")


def __dir__() -> list[str]:
    """With the names that are not imported yet."""
    return sorted({*globals(), *_PUBLIC})
