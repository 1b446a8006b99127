"""COCO files as they come: each case was met by somebody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ofds.use.coco import read_dataset, read_proposals
from ofds.use.dataset import Dataset, Objects
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

CATS = [{"id": 90, "name": "c"}, {"id": 1, "name": "a"}, {"id": 3, "name": "b"}]


def image(id_: Any = 1, name: Any = "1.jpg", **more: Any) -> dict[str, Any]:
    return {"id": id_, "file_name": name, "width": 20, "height": 10, **more}


def note(**more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **more}


def dataset(folder: Path, annotations: Any = (), images: Any = None, cats: Any = CATS) -> Dataset:
    content = {"images": images or [image()], "categories": cats, "annotations": [*annotations]}
    path = folder / "images.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return read_dataset(path, Repairs())


def noted(folder: Path, *annotations: Any, **more: Any) -> tuple[Objects, Repairs]:
    repairs = Repairs()
    content = {"images": [image(**more)], "categories": CATS, "annotations": annotations}
    path = folder / "images.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return read_dataset(path, repairs).objects, repairs


def results(folder: Path, *entries: Any) -> tuple[Objects, Repairs]:
    repairs = Repairs()
    path = folder / "results.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return read_proposals(path, dataset(folder), repairs)[0], repairs


@pytest.mark.parametrize("ids", [(1, 3, 90), (0, 1, 3), (10, 19, 2), ("1", "3", "90"), ("x", "y")])
def test_ids_of_classes_with_gaps_from_zero_and_as_text(tmp_path: Path, ids: Any) -> None:
    cats = [{"id": id_, "name": f"class {id_}"} for id_ in ids]
    notes = [note(id=n, category_id=id_) for n, id_ in enumerate(ids)]
    found = dataset(tmp_path, notes, cats=cats)
    assert [c.id for c in found.categories] == sorted(ids)
    assert [found.categories[label].id for label in found.objects.label] == list(ids)
    as_text = [note(id=n, category_id=str(id_)) for n, id_ in enumerate(ids)]
    assert dataset(tmp_path, as_text, cats=cats).objects.label.tolist() == [
        *found.objects.label.tolist()
    ]


def test_the_mapping_is_not_made_from_the_annotations_present(tmp_path: Path) -> None:
    found = dataset(tmp_path, [note(category_id=90), note(id=2, category_id=3)])
    assert [c.id for c in found.categories] == [1, 3, 90]
    assert found.objects.label.tolist() == [2, 1]


def test_empty_segmentation_with_a_box_of_zeros(tmp_path: Path) -> None:
    empty = note(segmentation=[], area=0, bbox=[0, 0, 0, 0], iscrowd=False)
    found, repairs = noted(tmp_path, empty, note(id=2, iscrowd=False))
    assert found.id == (2,)
    assert found.area.tolist() == [12.0]
    assert found.crowd.tolist() == [False]
    assert repairs.count("dropped: box of zero size and no mask") == 1


def test_a_mask_without_a_box(tmp_path: Path) -> None:
    mask = {"size": [10, 20], "counts": [5, 3, 192]}
    found, repairs = noted(tmp_path, {**note(segmentation=mask), "bbox": None})
    assert found.box.tolist() == [[0, 5, 1, 3]]
    assert found.area.tolist() == [3]
    assert repairs.count("box missing: taken from the mask") == 1
    found, repairs = noted(tmp_path, {**note(), "bbox": None})
    assert not len(found)
    assert repairs.count("dropped: no box and no mask") == 1


def test_a_damaged_mask_costs_the_mask_and_not_the_box(tmp_path: Path) -> None:
    mask = {"size": [4, 4], "counts": [5, 3, 8]}
    found, repairs = noted(tmp_path, note(segmentation=mask))
    assert found.area.tolist() == [12]
    assert repairs.count("mask left out: a mask of another size than its image") == 1


def test_a_crowd_is_known_as_one_and_kept(tmp_path: Path) -> None:
    flags = [1, True, "1", 0, False, "0", None]
    found, _ = noted(tmp_path, *(note(id=n, iscrowd=flag) for n, flag in enumerate(flags)))
    assert found.crowd.tolist() == [True, True, True, False, False, False, False]


def test_images_without_objects_stay_and_labelled_is_not_empty(tmp_path: Path) -> None:
    three = [image(), image(2, "2.jpg"), image(3, "3.jpg", labelled=False)]
    found = dataset(tmp_path, [note()], three)
    assert [each.name for each in found.images] == ["1.jpg", "2.jpg", "3.jpg"]
    assert found.labelled == {"1.jpg", "2.jpg"}
    found = dataset(tmp_path, [], [image(), image(2, "2.jpg", labelled=True)])
    assert found.labelled == {"2.jpg"}


def test_nothing_has_the_shape_of_boxes(tmp_path: Path) -> None:
    found = dataset(tmp_path).objects
    assert found.box.shape == (0, 4)
    assert found.image.shape == found.score.shape == found.crowd.shape == (0,)
    assert results(tmp_path)[0].box.shape == (0, 4)


def test_annotation_ids_that_repeat(tmp_path: Path) -> None:
    two = [image(), image(2, "2.jpg")]
    notes = [note(id=1), note(id=1, image_id=2), note(id=5), {**note(), "id": None}]
    found = dataset(tmp_path, notes, two).objects
    assert found.id == (1, 6, 5, 7)
    assert found.image.tolist() == [0, 1, 0, 0]


def test_names_that_differ_in_folder_or_suffix_only(tmp_path: Path) -> None:
    names = ["a/1.jpg", "b/1.jpg", "1.png", "1.jpg", "a\\2.jpg", "ä ö/猫 3.jpg"]
    found = dataset(tmp_path, [], [image(n, name) for n, name in enumerate(names)])
    assert [each.name for each in found.images] == names


@pytest.mark.parametrize(
    ("box", "kept", "reason"),
    [
        ([1, 2, 0, 4], None, "dropped: box of zero size and no mask"),
        ([1, 2, -3, 4], None, "dropped: box of zero size and no mask"),
        ([20, 2, 3, 4], None, "dropped: box outside its image"),
        ([-9, 2, 3, 4], None, "dropped: box outside its image"),
        ([18, 8, 9, 9], [18, 8, 2, 2], "box that reaches outside its image: clipped"),
        ([-1, -1, 3, 4], [0, 0, 2, 3], "box that reaches outside its image: clipped"),
        ([1, 2, 3], None, "box left out: not four finite numbers"),
        ([1, 2, float("nan"), 4], None, "box left out: not four finite numbers"),
        ([1, 2, "3", 4], None, "box left out: not four finite numbers"),
        ([0, 0, 20, 10], [0, 0, 20, 10], ""),
    ],
)
def test_boxes(tmp_path: Path, box: Any, kept: Any, reason: str) -> None:
    found, repairs = noted(tmp_path, note(bbox=box))
    assert found.box.tolist() == ([kept] if kept else [])
    assert repairs.count(reason) == bool(reason)
    assert all(row["example"] == "'1.jpg'" for row in repairs.rows())
    if kept:
        assert found.area.tolist() == [kept[2] * kept[3]]


def test_an_image_of_unknown_size_clips_nothing(tmp_path: Path) -> None:
    found, repairs = noted(tmp_path, note(bbox=[1, 1, 99, 99]), width=None)
    assert found.box.tolist() == [[1, 1, 99, 99]]
    assert repairs.count("image whose size is not known: its boxes were not clipped") == 1


def test_results_keep_their_rows(tmp_path: Path) -> None:
    good = {"image_id": "1", "category_id": 90, "bbox": [1, 1, 5, 5], "score": 0.5}
    bad = [
        {**good, "bbox": [1, 1, 0, 0]},
        {**good, "image_id": 7},
        {**good, "score": float("nan")},
        good,
        {key: value for key, value in good.items() if key != "score"},
    ]
    found, repairs = results(tmp_path, *bad, good)
    assert found.row.tolist() == [3, 4]
    assert found.score.tolist() == [0.5, 1]
    assert found.label.tolist() == [2, 2]
    assert [row["reason"] for row in repairs.rows()] == [
        "dropped: box of zero size and no mask",
        "dropped: on an image that is not listed",
        "dropped: score that is not a number",
        "dropped: the same box, class and score on an image again",
        "proposal without a score: taken as 1",
    ]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"category_id": 2}, r"result 0 \(from 0\) has category_id 2; the classes are 1, 3, 90"),
        ({"category_id": True}, "has category_id True"),
        ({"score": 87}, r"has score 87; scores must be 0 to 1"),
        ({"image_id": None}, "has no image_id"),
        ({"image_id": 99}, "no image_id, such as 99, is one listed"),
    ],
)
def test_results_that_are_refused(tmp_path: Path, entry: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        results(tmp_path, {**note(score=0.5), **entry})


@pytest.mark.parametrize(
    ("images", "cats", "line"),
    [
        ([image(), image(2)], CATS, "'1.jpg' has two ids, 1 and 2"),
        ([image(), image("1", "2.jpg")], CATS, "id 1 of the images is both '1.jpg' and '2.jpg'"),
        ([image(None)], CATS, "entry 0 of the images has no `id` or no `file_name`"),
        ([image(name=3)], CATS, "entry 0 of the images has no `id` or no `file_name`"),
        ([image()], [], "lists no categories"),
        ([image()], [*CATS, {"id": 4, "name": "a"}], "'a' has two ids, 1 and 4"),
        ([image()], [*CATS, {"id": "3", "name": "d"}], "id 3 of the categories is both 'b' and"),
    ],
)
def test_files_that_contradict_themselves(
    tmp_path: Path, images: Any, cats: Any, line: str
) -> None:
    with pytest.raises(UserError, match=line):
        dataset(tmp_path, [], images, cats)


@pytest.mark.parametrize(
    ("cats", "line"),
    [
        (CATS[:2], r"category 3 \('b'\) is in .*images.json alone"),
        ([*CATS, {"id": 4, "name": "d"}], r"category 4 \('d'\) is in .*results.json alone"),
        ([*CATS[:2], {"id": 3, "name": "z"}], "category 3 is 'b' in .* and 'z' in"),
    ],
)
def test_files_that_disagree_about_classes(tmp_path: Path, cats: Any, line: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"categories": cats, "annotations": [note(score=0.5)]}))
    with pytest.raises(UserError, match=line):
        read_proposals(path, dataset(tmp_path), Repairs())
    path.write_text(json.dumps({"categories": CATS[::-1], "annotations": [note(score=0.5)]}))
    assert len(read_proposals(path, dataset(tmp_path), Repairs())[0]) == 1


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "no COCO file: an object with `images`"),
        (b'{"images": {}}', "no COCO file"),
        (b'{"images": []}', "lists no images"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "images.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=line):
        read_dataset(path, Repairs())


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_dataset(tmp_path / "none.json", Repairs())
    with pytest.raises(UserError, match="cannot be read"):
        read_dataset(tmp_path, Repairs())


def test_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"images": [image()], "categories": CATS}).encode()
    )
    assert len(read_dataset(path, Repairs()).images) == 1
