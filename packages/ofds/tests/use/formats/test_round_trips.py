"""A data set in a format and back is the same but for what the format cannot hold."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ofds.use.coco import dataset_of, read_dataset
from ofds.use.dataset import Dataset
from ofds.use.formats import coco, cvat, label_studio, label_studio_export, voc, yolo
from ofds.use.masks import extent
from ofds.use.repairs import Repairs

some = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def start(content: Any) -> Dataset:
    return dataset_of(content, "start.json", Repairs())


def classes(dataset: Dataset) -> list[str]:
    return [each.name for each in dataset.categories]


def near(one: Any, two: Any) -> bool:
    """Lists of the same shape, to what nine digits of a share leave."""
    return len(one) == len(two) and all(
        len(a) == len(b) and all(abs(x - y) < 2e-3 for x, y in zip(a, b, strict=True))
        for a, b in zip(one, two, strict=True)
    )


@some
@given(st.data())
def test_coco_keeps_everything(drawn: Any, shown: Any, data: Any) -> None:
    first = start(data.draw(drawn(positive=False)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_text(json.dumps(coco.content(first)), encoding="utf-8")
        second = read_dataset(path, Repairs())
    parts = ("box", "mask", "pixels", "score", "source", "mark")
    assert shown(second, *parts) == shown(first, *parts)
    assert [(c.id, c.name) for c in second.categories] == [(c.id, c.name) for c in first.categories]
    assert [i.id for i in second.images] == [i.id for i in first.images]
    assert second.objects.id == first.objects.id
    assert second.labelled == first.labelled


@some
@given(st.data())
def test_cvat_keeps_all_but_ids(drawn: Any, shown: Any, data: Any) -> None:
    first, repairs = start(data.draw(drawn())), Repairs()
    with tempfile.TemporaryDirectory() as folder:
        cvat.write(Path(folder), first, repairs)
        second = dataset_of(cvat.read(folder, repairs), folder, repairs)
    parts = ("box", "mask", "pixels", "score", "source", "mark")
    assert shown(second, *parts) == shown(first, *parts)
    assert [(c.id, c.name) for c in second.categories] == [(c.id, c.name) for c in first.categories]
    assert not second.objects.crowd.any()


@some
@given(st.data())
def test_voc_keeps_boxes_of_whole_pixels(drawn: Any, shown: Any, data: Any) -> None:
    first, repairs = start(data.draw(drawn(whole=True, masks=""))), Repairs()
    with tempfile.TemporaryDirectory() as folder:
        voc.write(Path(folder), first, repairs, "train")
        second = dataset_of(voc.read(folder, repairs, first.images), folder, repairs)
    parts = ("box", "score", "source", "mark")
    assert shown(second, *parts) == shown(first, *parts)
    assert classes(second) == classes(first)
    assert {i.name: (i.width, i.height) for i in second.images} == {
        i.name: (i.width, i.height) for i in first.images
    }
    assert not repairs.rows()


@some
@given(st.data())
def test_voc_moves_no_end_of_a_box_by_more_than_half_a_pixel(
    drawn: Any, shown: Any, data: Any
) -> None:
    first, repairs = start(data.draw(drawn(masks=""))), Repairs()
    with tempfile.TemporaryDirectory() as folder:
        voc.write(Path(folder), first, repairs, "train")
        second = dataset_of(voc.read(folder, repairs, first.images), folder, repairs)
    before, after = shown(first, "box"), shown(second, "box")
    for name, own in before.items():
        for (_, old), (_, new) in zip(own, after[name], strict=True):
            ends = [(b[0], b[1], b[0] + b[2], b[1] + b[3]) for b in (old, new)]
            assert all(abs(one - two) <= 0.5 + 1e-9 for one, two in zip(*ends, strict=True))


@some
@given(st.data())
def test_yolo_keeps_boxes_and_polygons(drawn: Any, shown: Any, data: Any) -> None:
    content = data.draw(drawn(masks="polygons"))
    for note in content["annotations"]:
        note["segmentation"] = note.get("segmentation", [])[:1]
    first, repairs = start(content), Repairs()
    with tempfile.TemporaryDirectory() as folder:
        yolo.write(Path(folder), first, repairs, "train")
        second = dataset_of(yolo.read(folder, repairs, first.images), folder, repairs)
    assert classes(second) == classes(first)
    before, after = shown(first, "box", "mask"), shown(second, "box", "mask")
    for name, own in before.items():
        polygons = any(mask for _, _, mask in own)
        for label, (x, y, w, h), mask in own:
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            known = mask or ([corners] if polygons else [])
            assert any(
                label == label_ and near([(x, y, w, h), *known], [box, *mask_])
                for label_, box, mask_ in after[name]
            )
        assert len(after[name]) == len(own)
    assert not repairs.rows()


@some
@given(st.data())
def test_several_polygons_in_yolo_keep_their_area(drawn: Any, data: Any) -> None:
    first, repairs = start(data.draw(drawn(masks="polygons"))), Repairs()
    with tempfile.TemporaryDirectory() as folder:
        yolo.write(Path(folder), first, repairs, "val")
        second = dataset_of(yolo.read(folder, repairs, first.images), folder, repairs)
    for dataset in (first, second):
        assert len(dataset.objects) == len(first.objects)
    areas = [
        sorted(
            round(found.area, 1)
            for entry in dataset.objects.entries
            if (found := extent(entry.get("segmentation")))
        )
        for dataset in (first, second)
    ]
    boxes = [len(e.get("segmentation") or []) for e in first.objects.entries].count(0)
    if not boxes:
        assert all(abs(a - b) <= 0.11 for a, b in zip(*areas, strict=True))


@some
@given(st.data())
def test_label_studio_keeps_all_but_ids(drawn: Any, shown: Any, data: Any) -> None:
    first, repairs = start(data.draw(drawn())), Repairs()
    with tempfile.TemporaryDirectory() as folder:
        label_studio.write(Path(folder), first)
        tasks = json.loads((Path(folder) / label_studio.TASKS).read_text(encoding="utf-8"))
        for task in tasks:  # as if somebody had submitted all predictions unchanged
            regions = [r for p in task.pop("predictions", []) for r in p["result"]]
            task["annotations"] = [{"result": regions}]
        path = Path(folder) / "export.json"
        path.write_text(json.dumps(tasks), encoding="utf-8")
        names = [each.name for each in first.categories]
        read = label_studio_export.read(path, repairs, first.images, names)
        second = dataset_of(read, path, repairs)
    parts = ("mask", "pixels", "score", "source", "mark")
    assert shown(second, *parts) == shown(first, *parts)
    before, after = shown(first, "box", "mask", "pixels"), shown(second, "box")
    for name, own in before.items():
        for (_, box, mask, drawn_), (_, back) in zip(own, after[name], strict=True):
            assert mask or drawn_ or box == back
    assert classes(second) == classes(first)
    assert second.labelled == first.labelled == {image.name for image in first.images}
    assert not repairs.rows()
