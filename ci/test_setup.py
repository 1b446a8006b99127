"""ci/setup on a machine of stubs: what is missing is one line, killed runs are made anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["awk", "cat", "cksum", "date", "dirname", "ls", "mkdir", "mv", "rm", "sh"]
UV = """\
#!/bin/sh
case $1 in
--version) echo "uv ${UV_STUB_VERSION:-0.9.17}" ;;
cache) echo / ;;
sync)
    echo "$*" >>"$UV_STUB_LOG"
    mkdir -p .venv/bin
    : >.venv/pyvenv.cfg
    cat "$UV_STUB_PYTHON" >.venv/bin/python
    [ "${UV_STUB_END:-}" = fails ] && exit 1
    [ "${UV_STUB_END:-}" = killed ] && kill -9 $PPID
    ;;
esac
exit 0
"""
PYTHON = f"""\
#!/bin/sh
case "$*" in *ensurepip*) exit 1 ;; esac
exec '{sys.executable}' "$@"
"""
DF = """\
#!/bin/sh
echo header
echo "disk 1 1 $FREE_KIB 1% /"
"""


class Machine:
    """A checkout and a PATH that holds a few tools, stubs of uv and df, and no Python."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.bin = folder / "checkout", folder / "bin"
        self.log = folder / "sync.log"
        for name in ("pyproject.toml", "uv.lock", "shared/pyproject.toml", "ci/setup", "ci/uv"):
            target = self.checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        package = self.checkout / "packages" / "paper"
        package.mkdir(parents=True)
        (package / "pyproject.toml").write_text("")
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.stub("uv", UV)
        self.stub("df", DF)

    def stub(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "PATH": str(self.bin),
            "HOME": "/",
            "FREE_KIB": "99999999",
            "UV_STUB_LOG": str(self.log),
            "UV_STUB_PYTHON": str(self.bin / "python3"),
        }
        result = subprocess.run(
            [self.bin / "sh", "ci/setup"],
            cwd=self.checkout,
            env=settings | environment,
            capture_output=True,
            text=True,
        )
        python = self.checkout / ".venv" / "bin" / "python"
        if python.exists():
            python.chmod(0o755)
        return result

    def syncs(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.stub("python3", PYTHON)
    return machine


def test_second_run_does_nothing_and_a_changed_lock_syncs(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    assert machine.setup().returncode == 0
    assert machine.syncs() == 1
    assert "--locked --all-packages" in machine.log.read_text()
    with (machine.checkout / "uv.lock").open("a") as lock:
        lock.write("\n")
    assert machine.setup().returncode == 0
    assert machine.syncs() == 2


def test_killed_run_is_made_anew(machine: Machine) -> None:
    assert machine.setup(UV_STUB_END="killed").returncode != 0
    (machine.checkout / ".venv" / "half-written").touch()
    result = machine.setup()
    assert (result.returncode, machine.syncs()) == (0, 2)
    assert "incomplete" in result.stderr
    assert not (machine.checkout / ".venv" / "half-written").exists()


def test_failed_sync_is_tried_again(machine: Machine) -> None:
    result = machine.setup(UV_STUB_END="fails")
    assert result.returncode == 2
    assert "uv sync failed" in result.stderr
    assert machine.setup().returncode == 0
    assert machine.syncs() == 2


def test_running_setup_is_left_alone(machine: Machine) -> None:
    (machine.checkout / ".tools").mkdir()
    (machine.checkout / ".tools" / "unfinished").write_text(f"{os.getpid()}\n")
    assert_refused(machine, f"process {os.getpid()} is setting up")


def test_no_python(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    assert_refused(machine, "Python 3.11, 3.12 or 3.13 is needed")


def test_unusable_python_by_name(machine: Machine) -> None:
    assert_refused(machine, "PYTHON=python2 does not run", PYTHON="python2")


def test_old_uv_and_no_venv_module(machine: Machine) -> None:
    assert_refused(machine, "apt install python3-venv", UV_STUB_VERSION="0.9.16")


def test_little_disk(machine: Machine) -> None:
    assert_refused(machine, "7 GiB of free disk are needed", FREE_KIB="7340031")


def test_foreign_folder_is_kept(machine: Machine) -> None:
    kept = machine.checkout / ".venv" / "mine"
    kept.parent.mkdir()
    kept.touch()
    assert_refused(machine, ".venv is not a Python environment")
    assert kept.exists()


def assert_refused(machine: Machine, message: str, **environment: str) -> None:
    result = machine.setup(**environment)
    errors = [line for line in result.stderr.splitlines() if not line.startswith("setup: ")]
    assert result.returncode == 2
    assert machine.syncs() == 0
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("error: ")
    assert message in errors[0]
