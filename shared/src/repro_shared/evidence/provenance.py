"""Where a run comes from: code, versions and machine, and no path, host or user."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from repro_shared.runtime.files import sha256_file
from repro_shared.timing.calibrate import cpu_model

_CORE = ("numpy", "torch", "repro-shared")
# Records are written below results/ while a series of runs goes on: they are no change of code.
_NOT_CODE = ":(top,exclude,glob)packages/*/results/**"


def provenance(dists: Iterable[str] = (), anchor: Path | str = __file__) -> dict[str, Any]:
    """The provenance of a run that starts now, ready for JSON.

    With the versions of further `dists`; `git` and `lock_sha256` are None unless a checkout tracks
    `anchor`, a source file of the code that runs; `gpu` is None without one.
    """
    import torch

    git: dict[str, Any] | None = None
    lock: str | None = None
    source = Path(anchor).resolve()
    # A wheel installed below somebody's own repository lies in a checkout, yet is not of it.
    if _git(source.parent, "ls-files", "--error-unmatch", "--", source.name) is not None:
        root = Path(_git(source.parent, "rev-parse", "--show-toplevel") or "")
        changes = _git(root, "status", "--porcelain", "--", ".", _NOT_CODE)
        git = {"commit": _git(root, "rev-parse", "HEAD"), "dirty": changes != ""}
        lock = sha256_file(root / "uv.lock") if (root / "uv.lock").is_file() else None
    system = (platform.system(), platform.machine(), *platform.libc_ver())
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return {
        "git": git,
        "lock_sha256": lock,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in sorted({*_CORE, *dists})},
        "platform": " ".join(filter(None, system)),
        "cpu": cpu_model(),
        "cpus": cpus,
        "torch_threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gpu": _gpu(),
    }


def commit_label(record: dict[str, Any]) -> str:
    """Short commit, with `-dirty` where the checkout had changes; "" outside a checkout."""
    git = record.get("git")
    if not git or not git.get("commit"):
        return ""
    return str(git["commit"])[:12] + ("-dirty" if git["dirty"] else "")


def _git(directory: Path, *arguments: str) -> str | None:
    """Standard output of a git command, or None where git is absent or says no."""
    # A hook's GIT_DIR would point git at another repository than the one that holds this code.
    environment = {key: text for key, text in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> dict[str, Any] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
