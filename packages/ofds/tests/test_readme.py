"""What the README says to type works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ofds
from ofds.study.scenes import EASY
from repro_shared.datasets.scenes import DigitScenes

PAGE = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FILES, ARRAYS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photographs of digits and a list of classes, as the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number, scene in enumerate(DigitScenes(EASY, "test", 12)):
        Image.fromarray(scene.image).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in EASY.classes[1:]))
    return tmp_path


def test_three_steps_lead_from_photographs_to_tasks(photographs: Path) -> None:
    assert len(FILES.splitlines()) <= 20
    code = re.sub(r"models = .*", 'models = {"detector": "digits"}', FILES)
    exec(code.replace("2000", "12").replace('"20"', '"0"'), {})
    tasks = json.loads((photographs / "tasks" / "tasks.json").read_text())
    chosen = (photographs / "chosen" / "selection.txt").read_text().splitlines()
    assert 0 < len(tasks) == len(chosen) < 12
    assert all(task["predictions"][0]["result"] for task in tasks)


def test_arrays_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    g = np.random.default_rng(0)
    names = [f"{number}.jpg" for number in range(30)]
    given = {
        "images": names, "classes": ["cat", "dog"], "image": g.choice(names, 80),
        "label": g.integers(2, size=80), "score": g.random(80),
        "box": np.tile([0.0, 0, 9, 9], (80, 1)), "features": g.normal(size=(80, 8)),
    }  # fmt: skip
    exec(ARRAYS.replace("2000", "60"), given)
    assert given["contract"].status == "met"
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(given["choices"])
    assert isinstance(given["pool"], ofds.Pool)
