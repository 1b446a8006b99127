"""Annotations in the places of a pool, from one file or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ofds.use.coco import read_dataset
from ofds.use.dataset import Dataset
from ofds.use.repairs import Repairs
from ofds.use.truth import read_truth
from repro_shared.runtime.errors import UserError


def pool(files: Any) -> Dataset:
    return read_dataset(files.folder / "images.json", Repairs(), annotations=False)


def part(files: Any, truth: dict[str, Any], name: str, start: int, stop: int) -> Path:
    ids = {image["id"] for image in truth["images"][start:stop]}
    path: Path = files.json(name, {
        "images": truth["images"][start:stop],
        "categories": truth["categories"],
        "annotations": [a for a in truth["annotations"] if a["image_id"] in ids],
    })  # fmt: skip
    return path


def test_several_files(files: Any, true_objects: Callable[..., dict[str, Any]]) -> None:
    truth = true_objects(files)
    whole = read_truth([part(files, truth, "whole.json", 0, 30)], pool(files), Repairs())
    first, second = part(files, truth, "a.json", 0, 20), part(files, truth, "b.json", 20, 30)
    found = read_truth([first, second], pool(files), Repairs())
    assert found.labelled.tolist() == whole.labelled.tolist() == [True] * 30 + [False] * 10
    kinds = [
        sorted(zip(t.objects.image.tolist(), t.objects.label.tolist(), strict=True))
        for t in (found, whole)
    ]
    assert kinds[0] == kinds[1]


def test_ids_are_of_one_file(files: Any) -> None:
    reason = "annotation id that is missing or repeats: numbered anew"

    def repaired(*ids: list[Any]) -> int:
        paths = []
        for place, own in enumerate(ids):
            image = {**files.images[place], "labelled": True}
            box = {"image_id": image["id"], "category_id": 1, "bbox": [1, 1, 5, 5]}
            notes = [{**box, "id": each} for each in own]
            content = {"images": [image], "categories": files.categories, "annotations": notes}
            paths.append(files.json(f"{place}.json", content))
        repairs = Repairs()
        found = read_truth(paths, pool(files), repairs)
        assert len(found.objects) == sum(map(len, ids))
        return repairs.count(reason)

    assert repaired([1, 2], [1, 2], [2, 1]) == 0
    assert repaired([1, 1], [1, 2, 2, None]) == 3


def test_an_image_in_two_files_counts_as_in_the_first(
    files: Any, true_objects: Callable[..., dict[str, Any]]
) -> None:
    truth, repairs = true_objects(files), Repairs()
    first = part(files, truth, "a.json", 0, 20)
    empty = {**truth, "images": truth["images"][10:30], "annotations": []}
    second = files.json("b.json", empty)
    found = read_truth([first, second], pool(files), repairs)
    alone = read_truth([first], pool(files), Repairs())
    assert found.labelled.sum() == 30
    assert found.objects.image.tolist() == alone.objects.image.tolist()
    assert repairs.count("image annotated in two files: the first counts") == 10


@pytest.mark.parametrize("categories", [None, 3, [], [{"id": 1, "name": "cat"}], ["cat"]])
def test_classes_that_disagree(files: Any, categories: Any) -> None:
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]}
    content = {"images": files.images, "annotations": [annotation], "categories": categories}
    with pytest.raises(UserError, match=r"classes|categories"):
        read_truth([files.json("a.json", content)], pool(files), Repairs())


def test_an_image_without_annotations_is_asked_about(
    files: Any, true_objects: Callable[..., dict[str, Any]]
) -> None:
    truth = true_objects(files)
    truth["images"] = files.images  # that say nothing
    path = files.json("a.json", truth)
    with pytest.raises(UserError, match=r"images have no annotation.*--empty"):
        read_truth([path], pool(files), Repairs())
    noted = {each["image_id"] for each in truth["annotations"]}
    found = read_truth([path], pool(files), Repairs(), "unlabelled")
    assert found.labelled.tolist() == [image["id"] in noted for image in files.images]
    assert read_truth([path], pool(files), Repairs(), "labelled").labelled.all()
