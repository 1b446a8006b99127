"""Which of an annotator's objects is which proposal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.use.coco import read_dataset, read_proposals
from ofds.use.ingest_results import Results, results
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

SHA = "0a1b2c3d" * 8
CLASSES = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 90, "name": "St. Bernard"}]
IMAGES = [
    {"id": 10 * n, "file_name": name, "width": 200, "height": 100}
    for n, name in enumerate(("a/1.jpg", "b/1.jpg", "c/IMG 1.png"), start=1)
]
PARTS = [[20, 10, 40, 10, 40, 30, 20, 30], [100, 10, 120, 10, 120, 30, 100, 30]]
PROPOSED = [
    {"image_id": 10, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.9},
    {"image_id": 10, "category_id": 3, "bbox": [12, 10, 20, 20], "score": 0.8},
    {"image_id": 20, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.7},
    {"image_id": 30, "category_id": 90, "segmentation": PARTS, "score": 0.6},
]


def mark(row: int) -> dict[str, Any]:
    return {"attributes": {"ofds_id": f"0a1b2c3d-{row}"}}


def note(image: int, label: int = 1, box: Any = (10, 10, 20, 20), **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": label, "bbox": list(box), **more}


def read(
    folder: Path, notes: Any, images: Any = None, classes: Any = None, **more: Any
) -> tuple[Results, Repairs]:
    """Results in COCO on the pool; ids of annotations are those of other rows, on purpose."""
    pool = folder / "images.json"
    pool.write_text(json.dumps({"images": IMAGES, "categories": CLASSES}))
    (folder / "p.json").write_text(json.dumps(PROPOSED))
    dataset = read_dataset(pool, Repairs())
    proposals, _ = read_proposals(folder / "p.json", dataset, Repairs())
    path, repairs = folder / "results.json", Repairs()
    content = {"images": images or IMAGES, "categories": classes or CLASSES}
    numbered = [{"id": 3 - place, **each} for place, each in enumerate(notes)]
    path.write_text(json.dumps({**content, "annotations": numbered}))
    given = {"empty": "unlabelled", "shown": np.ones(len(proposals), bool), **more}
    shown = given.pop("shown")
    return results(path, "coco", dataset, proposals, shown, SHA, repairs, **given), repairs


def test_by_mark_whatever_the_ids_and_the_overlap(tmp_path: Path) -> None:
    far = note(10, 1, (100, 50, 20, 20), **mark(1))
    found, repairs = read(tmp_path, [far, note(10, 1, **mark(0))])
    assert found.partner.tolist() == [1, 0]
    assert not repairs.rows()


def test_else_by_overlap_and_by_class_first(tmp_path: Path) -> None:
    # Both boxes overlap both proposals; the second human box is nearer to the first proposal.
    notes = [note(10, 3, (10, 10, 20, 20)), note(10, 1, (12, 10, 20, 20)), note(20, 3)]
    found, _ = read(tmp_path, notes)
    assert found.partner.tolist() == [1, 0, 2]  # the last as another class than was proposed
    found, _ = read(tmp_path, [note(10, 1, (10, 10, 20, 41)), note(20, 1, (22, 10, 20, 20))])
    assert found.partner.tolist() == [-1, -1]
    found, _ = read(tmp_path, [note(10, 1, (10, 10, 20, 41))], least=0.4)
    assert found.partner.tolist() == [0]


def test_a_mark_that_is_given_twice_is_the_closer_ones(tmp_path: Path) -> None:
    copies = [note(10, 1, (50, 10, 20, 20), **mark(0)), note(10, 1, (11, 10, 20, 20), **mark(0))]
    assert read(tmp_path, copies)[0].partner.tolist() == [-1, 0]


@pytest.mark.parametrize("strange", ["ffffffff-0", "0a1b2c3d-99", "0a1b2c3d-2", "x"])
def test_marks_of_another_pool_or_image(tmp_path: Path, strange: str) -> None:
    found, repairs = read(tmp_path, [note(10, 1, attributes={"ofds_id": strange})])
    assert found.partner.tolist() == [0]  # by overlap
    assert repairs.count("mark of another pool or image: passed over") == 1


@pytest.mark.parametrize("marked", [True, False])
def test_polygons_of_one_object_after_a_round_trip(tmp_path: Path, marked: bool) -> None:
    more = mark(3) if marked else {}
    split = [{"image_id": 30, "category_id": 90, "segmentation": [p], **more} for p in PARTS]
    for part, box in zip(split, ([20, 10, 20, 20], [100, 10, 20, 20]), strict=True):
        part |= {"bbox": box, "area": 400}
    found, repairs = read(tmp_path, split)
    assert found.partner.tolist() == [3]
    objects = found.dataset.objects
    assert objects.box.tolist() == [[20, 10, 100, 20]]
    assert objects.area.tolist() == [800]
    assert objects.entries[0]["segmentation"] == PARTS
    assert repairs.count("polygons of one object, joined again") == 2


def test_polygons_of_several_objects_stay_apart(tmp_path: Path) -> None:
    split = [note(10, 1, segmentation=[part], **mark(0)) for part in PARTS]
    for part, own in zip(split, PARTS, strict=True):
        part["bbox"] = [own[0], own[1], 20, 20]
    found, repairs = read(tmp_path, split)
    assert len(found.dataset.objects) == 2
    assert found.partner.tolist() == [0, -1]
    assert not repairs.rows()


def test_label_studios_coco_export(tmp_path: Path) -> None:
    # Classes are numbered from 0 in another order, names have a prefix and backslashes.
    images = [{
        "id": 0, "width": 200, "height": 100,
        "file_name": "..\\..\\label-studio\\media\\upload\\4\\cb0618f6-IMG 1.png",
    }]  # fmt: skip
    classes = [{"id": n, "name": each["name"]} for n, each in enumerate(reversed(CLASSES))]
    found, _ = read(tmp_path, [note(0, 0, (30, 40, 5, 5))], images, classes)
    assert found.dataset.labelled == {"c/IMG 1.png"}
    objects = found.dataset.objects
    assert [found.dataset.categories[n].name for n in objects.label] == ["St. Bernard"]
    assert [i.id for i in found.dataset.images] == [10, 20, 30]
    two = [{"id": 0, "file_name": "upload\\cb0618f6-1.jpg"}]
    with pytest.raises(UserError, match=r"may be 'a/1.jpg' or 'b/1.jpg'"):
        read(tmp_path, [note(0, 0)], two, classes)


def test_images_without_annotations(tmp_path: Path) -> None:
    for empty, labelled in (("labelled", {"a/1.jpg", "b/1.jpg", "c/IMG 1.png"}),
                            ("unlabelled", {"a/1.jpg"})):  # fmt: skip
        assert read(tmp_path, [note(10)], empty=empty)[0].dataset.labelled == labelled
    with pytest.raises(UserError, match=r"2 images have no annotation, such as 'b/1.jpg'.*--empty"):
        read(tmp_path, [note(10)], empty="ask")
    said = [{**image, "labelled": flag} for image, flag in zip(IMAGES, (True, True, False),
                                                               strict=True)]  # fmt: skip
    found, _ = read(tmp_path, [note(10), note(30)], said, empty="ask")
    assert found.dataset.labelled == {"a/1.jpg", "b/1.jpg"}
    assert len(found.dataset.objects) == 1  # what lies on an image that is not done is not counted
    found, _ = read(tmp_path, [note(10), note(30)], said, empty="ask", done=["c/IMG 1.png"])
    assert found.dataset.labelled == {"c/IMG 1.png"}
    nothing = [{**image, "labelled": False} for image in IMAGES]
    with pytest.raises(UserError, match="no image is annotated, as far as it says"):
        read(tmp_path, [note(10)], nothing)


def test_images_that_are_as_they_were_proposed(tmp_path: Path) -> None:
    whole = [note(10, 1, **mark(0)), note(10, 3, (12, 10, 20, 20), **mark(1))]
    assert read(tmp_path, whole)[0].as_proposed == ("a/1.jpg",)
    assert read(tmp_path, whole[:1])[0].as_proposed == ()  # one was taken away
    assert read(tmp_path, [*whole, note(10, 90, (90, 10, 20, 20))])[0].as_proposed == ()
    moved = [whole[0], note(10, 3, (12, 13, 20, 20), **mark(1))]
    assert read(tmp_path, moved)[0].as_proposed == ()
    other = [whole[0], note(10, 90, (12, 10, 20, 20), **mark(1))]
    assert read(tmp_path, other)[0].as_proposed == ()
    shown = np.array([True, False, True, True])
    assert read(tmp_path, whole[:1], shown=shown)[0].as_proposed == ("a/1.jpg",)


def test_sizes_that_the_pool_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text(json.dumps({
        "images": [{key: image[key] for key in ("id", "file_name")} for image in IMAGES],
        "categories": CLASSES,
    }))  # fmt: skip
    pool = read_dataset(tmp_path / "images.json", Repairs())
    (tmp_path / "p.json").write_text(json.dumps(PROPOSED))
    proposals, total = read_proposals(tmp_path / "p.json", pool, Repairs())
    path = tmp_path / "results.json"
    content = {
        "images": IMAGES,
        "categories": CLASSES,
        "annotations": [note(10, 1, (190, 0, 90, 9))],
    }
    path.write_text(json.dumps(content))
    shown = np.ones(total, bool)
    found = results(path, "coco", pool, proposals, shown, SHA, Repairs(), "labelled")
    assert found.dataset.objects.box.tolist() == [[190, 0, 10, 9]]  # clipped


def test_odd_annotations(tmp_path: Path) -> None:
    mask = {"size": [100, 200], "counts": [5, 3, 19992]}
    notes = [
        {"image_id": 10, "category_id": 1, "segmentation": mask, "iscrowd": False},
        note(10, 1, (0, 0, 0, 0), segmentation=[]),
        note(20, 1, (10, 10, 90, 80), iscrowd=1),
    ]
    found, repairs = read(tmp_path, notes)
    assert found.dataset.objects.box.tolist() == [[0, 5, 1, 3], [10, 10, 90, 80]]
    assert found.dataset.objects.crowd.tolist() == [False, True]
    assert found.partner.tolist() == [-1, -1]
    assert {row["reason"] for row in repairs.rows()} == {
        "box missing: taken from the mask", "dropped: box of zero size and no mask",
    }  # fmt: skip
    assert found.dataset.objects.entries[0]["source"] == "human"
    found, _ = read(tmp_path, [], empty="labelled")
    assert found.dataset.objects.box.shape == (0, 4)
    assert found.partner.shape == (0,)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"classes": [{"id": 1, "name": "Cat"}]}, r"class 'Cat' is none .* did you mean 'cat'"),
        ({"classes": [{"id": 2, "name": "cat"}]}, "class None is none of the pool"),
        ({"images": [{**IMAGES[0], "width": 100}]},
         r"'a/1.jpg' is 100 x 100, in .* 200 x 100: the boxes would not fit"),
        ({"images": [IMAGES[0], {**IMAGES[0], "id": 5, "file_name": "x/a/1.jpg"}]},
         r"'a/1.jpg' and 'x/a/1.jpg' are both 'a/1.jpg'"),
        ({"images": [{**IMAGES[0], "file_name": "z.jpg"}]}, "none of its images, such as 'z.jpg'"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, change: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        read(tmp_path, [note(10)], **change)


@pytest.mark.parametrize("format_", ["coco", "cvat", "yolo"])
@pytest.mark.parametrize(
    ("names", "name", "owner"),
    [
        (["cat", "dog", "St. Bernard", "yak"], "yak", "results"),
        (["cat", "dog"], "St. Bernard", "images.json"),
    ],
)
def test_lists_of_classes_that_differ(
    tmp_path: Path, format_: Any, names: list[str], name: str, owner: str
) -> None:
    read(tmp_path, [note(10)])  # writes the pool
    dataset = read_dataset(tmp_path / "images.json", Repairs())
    proposals, _ = read_proposals(tmp_path / "p.json", dataset, Repairs())
    path = tmp_path / "results.json"
    if format_ == "yolo":
        path = tmp_path / "results"
        (path / "labels" / "a").mkdir(parents=True)
        (path / "labels" / "a" / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        (path / "classes.txt").write_text("\n".join(names))
    else:
        classes = [{"id": n, "name": each} for n, each in enumerate(names, start=1)]
        content = {"images": IMAGES, "categories": classes, "annotations": [note(10, id=1)]}
        path.write_text(json.dumps(content))
    line = f"list different classes: '{name}' is in .*{owner}.* alone"
    with pytest.raises(UserError, match=line):
        results(
            path, format_, dataset, proposals, np.ones(len(proposals), bool), SHA, Repairs(),
            empty="unlabelled",
        )  # fmt: skip


def test_images_that_are_more_are_counted(tmp_path: Path) -> None:
    images = [*IMAGES, {"id": 77, "file_name": "z.jpg"}]
    found, repairs = read(tmp_path, [note(10), note(77)], images)
    assert len(found.dataset.objects) == 1
    assert repairs.count("image of the results that is not in the pool") == 1
    assert repairs.count("dropped: annotation on an image that is not in the pool") == 1
