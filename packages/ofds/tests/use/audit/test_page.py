"""The audit page: sound HTML, whatever names hold, with the numbers of the selection."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ofds.use.audit.thumbnails import MOST_BYTES, data_uri
from ofds.use.audit_command import audit
from ofds.use.estimate_command import estimate
from ofds.use.sample_command import sample
from repro_shared.runtime.cli import run
from repro_shared.runtime.errors import UserError

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = "\"><script>alert(1)</script>&<img src=x onerror=alert(1)>\u202e\x07 '日本' .jpg"


class Page(HTMLParser):
    """Reads a page; fails where tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def rows(self) -> str:
        """All text, spaces made one."""
        return " ".join(" ".join(self.text).split())


def command(files: Any, verb: str, *more: str) -> int:
    given = f"--images {files.folder}/images.json --proposals {files.folder}/results.json".split()
    verbs = {"audit": audit, "sample": sample, "estimate": estimate}
    return run("ofds", "", verbs, [verb, *given, *more], version="0")


def audited(files: Any, *more: str, selection: str = "out") -> Page:
    out = files.folder / "audit.html"
    given = ("--selection", str(files.folder / selection), "--out", str(out))
    assert command(files, "audit", *given, *more) == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith('<!doctype html>\n<html lang="en">')
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base"}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    assert not re.search(r"url\(|@import|http:|https:", text)
    return page


def photographs(files: Any, side: int = 100) -> Path:
    g = np.random.default_rng(0)
    for image in files.images:
        path = files.folder / "photos" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = g.integers(0, 255, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(path, "PNG")
    folder: Path = files.folder / "photos"
    return folder


def test_without_photographs(files: Any) -> None:
    assert files.select("--budget", "20") == 0
    page, made = audited(files), files.made()
    assert not page.all("image")
    for entry in made["images"]:
        why = f"{entry['rank']}. {entry['name']} for {entry['class']}, cluster {entry['cluster']}"
        assert why in page.rows
    for each in made["classes"]:
        assert f"{each['name']} {each['minimum']} {each['found']} yes" in page.rows
    assert "Cost: 20 of 20 objects (predicted)" in page.rows
    assert "Minima, on proposals: met." in page.rows
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    targets = [attributes["href"] for attributes in page.all("a")]
    assert [f"#{each}" for each in ids] == targets
    assert len(set(ids)) == len(ids)


def test_the_box_that_an_image_was_chosen_for(files: Any) -> None:
    assert files.select("--budget", "6") == 0
    page, first = audited(files), files.made()["images"][0]
    thick = [r for r in page.all("rect") if r.get("stroke") == "#D55E00"]
    assert len(thick) == len(files.made()["images"])
    box = [float(thick[0][side] or "") for side in ("x", "y", "width", "height")]
    assert box == pytest.approx(first["object"]["box"], rel=1e-4)
    dashed = [r for r in page.all("rect") if r.get("stroke") == "#0072B2"]
    total = sum(sum(image["objects"].values()) for image in files.made()["images"])
    assert len(dashed) == total - len(thick)


def test_pictures_lie_in_the_page(files: Any) -> None:
    assert files.select("--budget", "20") == 0
    folder = photographs(files)
    bad = files.made()["images"][1]["name"]
    (folder / bad).write_bytes(b"no picture")
    other = files.made()["images"][2]["name"]
    Image.new("RGB", (30, 40)).save(folder / other, "PNG")
    page = audited(files, "--folder", str(folder), "--side", "64")
    with pytest.raises(UserError, match="no file can have this name"):
        data_uri(folder, "a\0b.jpg", 64)
    pictures = page.all("image")
    assert len(pictures) == len(files.made()["images"]) - 1
    stored = base64.b64decode((pictures[0]["href"] or "").partition(",")[2])
    with Image.open(io.BytesIO(stored)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))
    assert "no picture: not an 8- or 16-bit PNG" in page.rows
    assert "the file has 30 x 40 pixels, not 100 x 100" in page.rows


def test_a_picture_is_never_large(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    uri, size = data_uri(tmp_path, "noise.png", 200)
    assert size == (900, 700)
    assert len(uri) < MOST_BYTES * 4 / 3 + 40


def test_names_are_text(files: Any) -> None:
    for image in files.images:
        image["file_name"] = f"{image['id']}{HOSTILE}"
    files.categories[0]["name"] = "</style><b>cat&amp;"
    files.write()
    assert files.select("--budget", "20") == 0
    page = audited(files)
    shown = HOSTILE.replace("\u202e", "?").replace("\x07", "?")
    assert f"1. {files.made()['images'][0]['id']}{shown}" in "".join(page.text)
    assert "</style><b>cat&amp;" in "".join(page.text)
    assert not page.all("img")
    assert len(page.all("b")) == len(files.made()["images"])


def test_true_cost_beside_predicted(
    files: Any, true_objects: Callable[..., dict[str, Any]]
) -> None:
    assert files.select("--budget", "30", "--minimum", "3") == 0
    truth = true_objects(files)
    labels = files.json("truth.json", truth)
    page = audited(files, "--labels", str(labels))
    names = {image["name"] for image in files.made()["images"]}
    ids = {image["id"] for image in files.images if image["file_name"] in names}
    true = [each for each in truth["annotations"] if each["image_id"] in ids]
    assert f"objects 30 30 {len(true)} {len(true) / 30:.2f}" in page.rows
    assert f"seconds 1,050 1,050 {35 * len(true):,}" in page.rows
    cats = sum(each["category_id"] == 1 for each in true)
    proposed = files.made()["classes"][0]["found"]
    assert f"cat 3 {proposed} yes {proposed} {cats}" in page.rows
    assert len(page.all("circle")) == len(names)
    given = ("--sample", str(files.folder / "sample"), "--labels", str(labels))
    assert command(files, "sample", "--count", "10", "--out", str(files.folder / "sample")) == 0
    more = ("--selection", str(files.folder / "out"), "--out", str(files.folder / "e.json"))
    assert command(files, "estimate", *given, *more) == 0
    page = audited(files, "--estimate", str(files.folder / "e.json"))
    assert f"objects 30 {len(true)} {len(true)} to {len(true)}" in page.rows
    assert f"cat 3 {proposed} yes {cats} {cats} to {cats} {100 * (cats >= 3)}" in page.rows


def test_classes_that_are_not_selected_for_cost_nothing(
    files: Any, true_objects: Callable[..., dict[str, Any]]
) -> None:
    assert files.select("--budget", "12", "--classes", "dog") == 0
    truth = true_objects(files)
    page = audited(files, "--labels", str(files.json("truth.json", truth)))
    names = {image["name"] for image in files.made()["images"]}
    ids = {image["id"] for image in files.images if image["file_name"] in names}
    dogs = sum(t["image_id"] in ids and t["category_id"] == 3 for t in truth["annotations"])
    assert f"objects 12 12 {dogs} " in page.rows
    assert "cat 1" not in page.rows


def test_given_costs_beside_predicted(files: Any) -> None:
    lines = ["image,cost", *(f"{image['file_name']},3" for image in files.images)]
    (files.folder / "costs.csv").write_text("\n".join(lines))
    costs = ("--unit", "column", "--costs", str(files.folder / "costs.csv"))
    assert files.select("--budget", "30", *costs) == 0
    page = audited(files)
    assert len(page.all("circle")) == 10
    assert "given cost (column)" in page.rows


def test_an_unmet_minimum_and_its_reason(files: Any) -> None:
    assert files.select("--budget", "20", "--minimum", "St. Bernard=500") == 0
    page = audited(files)
    assert "NO" in page.rows
    assert "St. Bernard: 500 wanted" in page.rows


def test_true_objects_on_images_annotated_before(
    files: Any, true_objects: Callable[..., dict[str, Any]]
) -> None:
    labels = true_objects(files)
    for place, image in enumerate(labels["images"]):
        image["labelled"] = place < 5
    path = str(files.json("labels.json", labels))
    assert files.select("--budget", "20", "--annotated", path) == 0
    rows = audited(files).rows
    assert "5 images were annotated before; found: true on annotated images + proposed on" in rows


def test_near_duplicates_that_were_left_aside(files: Any) -> None:
    folder = photographs(files)
    first = files.folder / "photos" / files.images[0]["file_name"]
    for image in files.images[1:4]:
        (folder / image["file_name"]).write_bytes(first.read_bytes())
    must = files.folder / "must.txt"
    must.write_text(files.images[0]["file_name"])
    more = ("--folder", str(folder), "--must", str(must), "--near-duplicates", "1")
    assert files.select("--budget", "20", *more) == 0
    page = audited(files, "--folder", str(folder))
    chosen = {image["name"] for image in files.made()["images"]}
    copies = [image["file_name"] for image in files.images[:4]]
    left = [name for name in copies if name not in chosen]
    assert len(left) == 3
    for name in left:
        assert f"{name} is like {copies[0]} (the same)" in page.rows
    assert f"{len(left)} images are like a chosen or annotated one" in page.rows
    assert len(page.all("image")) == len(chosen) + 2 * len(left)


def test_a_sample_and_a_limit(files: Any) -> None:
    assert command(files, "sample", "--count", "10", "--out", str(files.folder / "sample")) == 0
    page = audited(files, "--limit", "4", selection="sample")
    assert "Audit of a random sample" in page.rows
    assert page.rows.count("drawn at random") >= 4
    assert len(page.all("li")) == 4
    assert "6 more are chosen and not shown" in page.rows


def test_refusals(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.select("--budget", "20") == 0
    out = ("--selection", str(files.folder / "out"), "--out", str(files.folder / "a.html"))
    estimate_ = str(files.json("e.json", {"coverage": [{"name": "cow"}]}))
    for arguments, message in (
        ((), "--selection is missing"),
        ((*out[:2], "--out", "page.txt"), "name an .html file"),
        ((*out, "--limit", "-1"), "--limit must be 0 or more"),
        ((*out, "--folder", "nope"), "--folder nope: no such folder"),
        ((*out, "--estimate", str(files.folder / "images.json")), "no estimate of a selection"),
        ((*out, "--estimate", estimate_), "an estimate of another selection"),
    ):
        capsys.readouterr()
        assert command(files, "audit", *arguments) == 2
        assert message in capsys.readouterr().err
    header = files.made()
    del header["budget"]
    damaged = ("--selection", str(files.json("damaged.json", header)), *out[2:])
    assert command(files, "audit", *damaged) == 2
    assert "a selection without 'budget'" in capsys.readouterr().err
    files.results[0]["score"] = 0.987
    files.write()
    assert command(files, "audit", *out) == 2
    assert "was made from other proposals" in capsys.readouterr().err
    assert not (files.folder / "a.html").exists()


def test_the_same_page_each_time(files: Any) -> None:
    assert files.select("--budget", "20") == 0
    folder = str(photographs(files))
    audited(files, "--folder", folder)
    once = (files.folder / "audit.html").read_bytes()
    audited(files, "--folder", folder)
    assert (files.folder / "audit.html").read_bytes() == once
    assert json.loads((files.folder / "out" / "selection.json").read_text())["images"]
