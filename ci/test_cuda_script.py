"""ci/cuda says in one line what it lacks, and knows what a bare machine needs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).with_name("cuda")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("cuda_script", str(SCRIPT))
    spec = importlib.util.spec_from_loader("cuda_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def refused(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    assert "give either --fetch DIR or --wheels DIR" in refused()
    assert "no such folder" in refused("--wheels", str(tmp_path / "no"), "--dry-run", "--out",
                                       str(tmp_path / "out"))  # fmt: skip
    assert "no step 'tets'" in refused("--wheels", str(tmp_path), "--dry-run", "--only", "tets",
                                       "--out", str(tmp_path / "out"))  # fmt: skip


def test_what_the_machine_lacks_is_named(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(script, "installed", lambda name: None)
        with pytest.raises(script.BadInputError, match="has no torch"):
            script.check_machine(dry=True)
        with pytest.raises(script.BadInputError, match=r"python3 lacks .*torchvision"):
            script.install(tmp_path, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(script, "installed", lambda name: "2.10.0+cu128")
        with pytest.raises(script.BadInputError, match=r"torch 2\.10\.0\+cu128 is too old: 2\.11"):
            script.check_machine(dry=False)
    with monkeypatch.context() as patch:
        patch.setattr(script, "installed", lambda n: None if n in ("timm", "tyro") else "9999")
        (tmp_path / "tyro-1.0.17-py3-none-any.whl").touch()
        with pytest.raises(script.BadInputError, match="has no wheel of timm: fill it"):
            script.install(tmp_path, tmp_path)
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(script.BadInputError, match="finds no CUDA device"):
            script.check_machine(dry=False)


def test_the_wheels_are_all_that_the_packages_need(script: ModuleType) -> None:
    carried, everything = script.carried(), script.locked()
    assert {"timm", "mmengine", "onedl-mmsegmentation", "tyro", "safetensors"} <= carried.keys()
    assert not {"torch", "numpy", "nvidia-cublas", "amod", "onnx", "ruff"} & carried.keys()
    assert script.SYSTEM - {"triton", "setuptools"} <= everything.keys()
    assert script.numbers("2.14.1+cu130") == (2, 14, 1)
    assert script.least()["mmengine"] == (0, 10, 7)
    assert script.least()["pytest"] == (9, 1)  # an older one does not read the options


def test_a_finished_step_is_not_run_again(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ran = []

    def one(name: str, *_: object) -> str:
        ran.append(name)
        return "FAILED (exit code 1)" if name == "tests" else "ok        1 s"

    monkeypatch.setattr(script, "one", one)
    monkeypatch.setattr(script, "install", lambda wheels, site: None)
    assert script.run(tmp_path, tmp_path / "out", [], True) == 1
    plan = list(script.steps(tmp_path, True))
    assert ran == plan
    assert script.run(tmp_path, tmp_path / "out", [], True) == 1
    assert ran[len(plan) :] == ["tests"]  # the one that failed
    assert "ok, before" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out" / "steps.json").read_text())) == len(plan)
    monkeypatch.setattr(script, "code_state", lambda: "other")
    assert script.run(tmp_path, tmp_path / "out", ["facts"], True) == 0
    assert ran[len(plan) + 1 :] == ["facts"]
    assert script.run(tmp_path, tmp_path / "out", [], True, minutes=0.0) == 0
    assert "not run: the minutes are over" in capsys.readouterr().out
    assert ran[len(plan) + 2 :] == []


def test_a_step_that_hangs_fails_and_one_that_the_minutes_end_is_cut(script: ModuleType) -> None:
    sleep = ["-c", "import time; time.sleep(9)"]
    assert script.one("hangs", sleep, 0.2, 60, {}).startswith("FAILED (more than 0.2 s)")
    assert script.one("long", sleep, 60, 0.2, {}).startswith("cut, call again to go on")
    assert script.one("fails", ["-c", "raise SystemExit(3)"], 9, 60, {}).startswith("FAILED (exit")
