"""The audit page of a set that is written by hand: everything on it, nothing that runs."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cg_augment.use.audit_command import audit
from repro_shared.runtime.errors import UserError


def line(name: str, number: int, accepted: Any, file: str | None, **more: Any) -> dict[str, Any]:
    return {
        "file_name": file, "class": name, "number": number, "accepted": accepted, "seed": 77,
        "teacher": 0.9125, "student": 0.25, "teacher_before": 0.5, "student_before": 0.75,
        "objective": 1.4, "objective_before": 0.3, "evaluations": 12, "seconds": 0.5,
        "stopped": "", "train_image": "a<b>.png", "train_distance": 31.25, **more,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    g = np.random.default_rng(0)
    accepted = [line("cat", 0, True, "cat/000000.png"), line("dog", 0, True, "dog/000000.png")]
    apart = [
        line("cat", 1, "duplicate: like cat/000000, 0.10 grey levels apart",
             "duplicate/cat/000001.png"),
        line("dog", 1, "not finite: step 3 of 5", None, teacher=None, student=None,
             objective=None),
    ]  # fmt: skip
    for side, lines in (("images", accepted), ("set-apart", apart)):
        for each in lines:
            if each["file_name"]:
                path = tmp_path / side / each["file_name"]
                path.parent.mkdir(parents=True)
                pixels = g.integers(0, 255, (100, 100, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(path)
        text = "".join(f"{json.dumps(each)}\n" for each in lines)
        (tmp_path / side / "metadata.jsonl").write_text(text)
    reasons = {"not finite": 1, "constant": 0, "teacher unsure": 0, "memorised": 0, "duplicate": 1}
    none = dict.fromkeys(reasons, 0)
    report = {
        "images": 4, "accepted": 2, "set_apart": reasons, "set_apart_share": 0.5,
        "rules": {"least_teacher": 0.0, "alike": 4.0, "train_folder": True}, "measure": "rms",
        "counts": {"cat": {"accepted": 1, **none, "duplicate": 1},
                   "dog": {"accepted": 1, **none, "not finite": 1}},
        "mean_per_image": {"forward": 8, "backward": 4, "decodes": 5, "guided": 4},
        "engine": {"name": "stepwise", "scale": 1.0}, "diffusion": {"name": "<sd>", "kind": "SD"},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    return tmp_path


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen, self.sources, self.text = list[str](), list[str](), ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_of_a_set(folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "page.html"
    audit(str(folder), out=str(out))
    assert "2 images accepted, 2 set apart" in capsys.readouterr().out
    page = Tags(out.read_text(encoding="utf-8"))
    assert "script" not in page.seen
    assert page.seen.count("img") == 3
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    for said in (
        "2 of 4 images accepted, 50.0 % set apart", "teacher 0.500 \u2192 0.912",
        "student 0.750 \u2192 0.250", "J 0.300 \u2192 1.400", "12 evaluations, 0.5 s", "seed 77",
        "Set apart: duplicate", "like cat/000000, 0.10 grey levels apart", "step 3 of 5",
        "no picture", "nearest training image: a<b>.png, 31.2", "teacher 0.500 \u2192 ?",
        "Engine stepwise, SD <sd>", "+0.4125", "seconds for each accepted", "cat: accepted",
    ):  # fmt: skip
        assert said in page.text, said
    first = out.read_bytes()
    audit(str(folder), out=str(out))
    assert out.read_bytes() == first
    audit(str(folder), out=str(out), limit=1)
    assert "more are not shown" not in out.read_text()


def test_what_is_no_set(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no complete set of images"):
        audit(str(tmp_path / "none"), out=str(tmp_path / "page.html"))
    with pytest.raises(UserError, match="--limit must be at least 1"):
        audit(str(folder), limit=0)
    path = folder / "images" / "metadata.jsonl"
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(UserError, match=r"metadata.jsonl, line 3: damaged \(KeyError"):
        audit(str(folder), out=str(tmp_path / "page.html"))
    (folder / "report.json").write_text("{}")
    with pytest.raises(UserError, match=r"report.json: damaged"):
        audit(str(folder), out=str(tmp_path / "page.html"))
    assert not (tmp_path / "page.html").exists()


def test_a_picture_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    (folder / "images" / "cat" / "000000.png").write_bytes(b"x")
    audit(str(folder), out=str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text()
    assert "the picture cannot be read" in text
