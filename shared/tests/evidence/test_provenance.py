"""Provenance: the right commit, honest about changes, and silent about people and machines."""

import hashlib
import json
import socket
import subprocess
from getpass import getuser
from pathlib import Path

import pytest

from repro_shared.evidence.provenance import commit_label, provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one committed source file and a lock."""
    source = tmp_path / "shared" / "module.py"
    source.parent.mkdir()
    source.write_text("x = 1\n")
    (tmp_path / "uv.lock").write_text("version = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--no-verify", "-m", "first")
    return source


def test_commit_and_lock_of_a_clean_checkout(checkout: Path) -> None:
    found = provenance(anchor=checkout)
    commit = git(checkout.parent, "rev-parse", "HEAD")
    assert found["git"] == {"commit": commit, "dirty": False}
    assert found["lock_sha256"] == hashlib.sha256(b"version = 1\n").hexdigest()
    assert commit_label(found) == commit[:12]


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("shared/module.py", True),
        ("shared/new.py", True),
        ("packages/seg-kd/src/new.py", True),
        ("results/new.json", True),
        ("packages/seg-kd/results/records/r/a/seed-0.json", False),
    ],
)
def test_dirty_means_changed_code_not_new_records(
    checkout: Path, changed: str, dirty: bool
) -> None:
    path = checkout.parents[1] / changed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("changed\n")
    found = provenance(anchor=checkout)
    assert found["git"]["dirty"] is dirty
    assert commit_label(found).endswith("-dirty") is dirty


def test_a_wheel_inside_somebodys_repository_is_not_of_that_repository(checkout: Path) -> None:
    installed = checkout.parents[1] / "venv" / "module.py"
    installed.parent.mkdir()
    installed.write_text("x = 1\n")
    found = provenance(anchor=installed)
    assert found["git"] is None
    assert found["lock_sha256"] is None
    assert commit_label(found) == ""


def test_a_hooks_git_dir_does_not_mislead(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    expected = provenance(anchor=checkout)["git"]
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert provenance(anchor=checkout)["git"] == expected


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance(anchor=checkout)["git"] is None


def test_versions_and_machine(checkout: Path) -> None:
    found = provenance(["pytest", "no-such-distribution"], anchor=checkout)
    assert found["versions"]["pytest"] == pytest.__version__
    assert found["versions"]["no-such-distribution"] is None
    assert {"numpy", "torch", "repro-shared"} <= set(found["versions"])
    assert found["cpu"]
    assert found["cpus"] >= 1
    assert found["torch_threads"] >= 1


def test_nothing_names_a_path_a_host_a_user_or_a_token(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "tok-1234567890")
    found = provenance(["pytest"], anchor=checkout)
    assert found.pop("cpu")  # a model name may hold anything, a slash too
    found.pop("gpu")
    text = json.dumps(found)
    assert "tok-1234567890" not in text
    assert socket.gethostname() not in text
    assert f'"{getuser()}"' not in text
    assert "/" not in text
