"""Lists of names and of costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ofds.use.lists import Names, places, read_costs, read_names
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

POOL = ("a/1.jpg", "b/1.jpg", "Caf\u00e9 2.png", "x\\3.jpg")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a/1.jpg", 0),
        ("b\\1.jpg", 1),
        ("./b/1.jpg", 1),
        ("Cafe\u0301 2.png", 2),
        ("x/3.jpg", 3),
        ("1.jpg", -1),
        ("A/1.jpg", -1),
    ],
)
def test_names(name: str, place: int) -> None:
    assert Names(POOL).find(name, "list") == place


def test_a_name_that_may_be_two() -> None:
    names = Names(["a/1.jpg", "a\\1.jpg"])
    assert names.find("a\\1.jpg", "list") == 1
    with pytest.raises(UserError, match=r"list: './a/1.jpg' may be 'a/1.jpg' or 'a\\\\1.jpg'"):
        names.find("./a/1.jpg", "list")


@pytest.mark.parametrize(
    ("file", "content", "names"),
    [
        ("x.txt", "\ufeffa/1.jpg\r\n\r\n b 2.jpg\n", ["a/1.jpg", " b 2.jpg"]),
        ("x.txt", "line\u2028separator.jpg\nb", ["line\u2028separator.jpg", "b"]),
        ("x.json", '["a", "b"]', ["a", "b"]),
        ("x.txt", "", []),
    ],
)
def test_lists(tmp_path: Path, file: str, content: str, names: list[str]) -> None:
    (tmp_path / file).write_bytes(content.encode())
    assert read_names(tmp_path / file) == names


def test_a_coco_file_as_a_list(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "b", "labelled": False}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    assert read_names(path) == ["a", "b"]
    assert read_names(path, annotated=True) == ["a"]
    path.write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(UserError, match="no image is annotated"):
        read_names(path, annotated=True)


def test_places() -> None:
    repairs, names = Repairs(), Names(POOL)
    assert places(["b/1.jpg", "?", "b/1.jpg", "a/1.jpg"], "--x f", names, repairs) == [1, 0]
    assert repairs.count("name in --x that no image has") == 1
    with pytest.raises(UserError, match=r"--x f: no image of the pool is called '\?'"):
        places(["b/1.jpg", "?"], "--x f", names, repairs, strict=True)
    with pytest.raises(UserError, match=r"--x f: none of its names, such as '\?', is in the pool"):
        places(["?"], "--x f", names, repairs)
    assert places([], "--x f", names, repairs) == []


def costs(folder: Path, text: str, column: str = "cost") -> list[float]:
    path = folder / "costs.csv"
    path.write_bytes(text.encode())
    return read_costs(path, column, Names(["a", "b, c"]), Repairs()).tolist()


def test_costs(tmp_path: Path) -> None:
    text = '\ufefffile_name,cost,extra\r\n"b, c",2.5,x\r\na,0,y\r\nz,9,\r\n'
    assert costs(tmp_path, text) == [0, 2.5]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name,price\na,1\n", "no column 'cost'; it has name, price"),
        ("title,cost\na,1\n", r"no column of names \(image or file_name or name\)"),
        ("", "it has none"),
        ("name,cost\na,1\n", "no cost for 1 images, such as 'b, c'"),
        ("name,cost\na,1\na,1\n", "line 3: 'a' has a value already"),
        ("name,cost\na,-1\n", "line 2: '-1' is no cost of 0 or more"),
        ("name,cost\na,nan\n", "line 2: 'nan' is no cost"),
        ("name,cost\na,1e999\n", "is no cost"),
        ("name,cost\na\n", "line 2: '' is no cost"),
    ],
)
def test_costs_that_are_refused(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        costs(tmp_path, text)
