"""Where a number comes from: code, lock, versions and machine, and nothing that names a person.

No path, no host name, no user name, no environment variable is recorded.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_CORE = ("numpy", "torch", "repro-shared")
# Records are written below results/ while a series of runs goes on: they are no change of code.
_NOT_CODE = ":(top,exclude,glob)packages/*/results/**"


def provenance(dists: Iterable[str] = (), anchor: Path | str = __file__) -> dict[str, Any]:
    """Collects the provenance of a run that starts now.

    Args:
        dists: Further distributions whose versions matter, e.g. `("seg-kd", "mmengine")`.
        anchor: A source file of the code that runs; its checkout is the one described.

    Returns:
        A JSON-ready dictionary: `git` ({commit, dirty} or None outside a checkout), `lock_sha256`
        (None without a checkout or lock), `python`, `versions`, `platform`, `cpu`, `cpus`,
        `torch_threads`, `deterministic`, `gpu` (None without one).
    """
    root = _checkout(Path(anchor).resolve())
    return {
        "git": None if root is None else _git_state(root),
        "lock_sha256": None if root is None else _lock_sha256(root),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in sorted({*_CORE, *dists})},
        "platform": " ".join(
            part for part in (platform.system(), platform.machine(), *platform.libc_ver()) if part
        ),
        "cpu": _cpu_model(),
        "cpus": _usable_cpus(),
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
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _checkout(anchor: Path) -> Path | None:
    """Top folder of the checkout that tracks `anchor`.

    A wheel installed below somebody's own repository lies in a checkout, yet is not of it; so the
    file must be tracked.
    """
    if _git(anchor.parent, "ls-files", "--error-unmatch", "--", anchor.name) is None:
        return None
    top = _git(anchor.parent, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def _git_state(root: Path) -> dict[str, Any]:
    changes = _git(root, "status", "--porcelain", "--", ".", _NOT_CODE)
    return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": changes != ""}


def _lock_sha256(root: Path) -> str | None:
    lock = root / "uv.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
