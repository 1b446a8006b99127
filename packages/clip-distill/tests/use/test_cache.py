"""The teacher cache: equal to online, resumed to the same bytes, refused when it lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clip_distill.use import build_cache as module
from clip_distill.use.build_cache import Plan, build_cache
from clip_distill.use.cache import Rows, check_together, open_cache
from clip_distill.use.feature_file import read_features
from clip_distill.use.overlap import pairs, signatures
from clip_distill.use.pictures import Folder
from clip_distill.use.prompts import class_texts, load_class_texts
from clip_distill.use.sanity import teacher_check
from clip_distill.use.teachers import Teacher, encode_pixels
from clip_distill.use.views import Views
from repro_shared.runtime.errors import UserError

CROPS = Views(3, "random-crop")
PLAN = Plan(CROPS, "float32", batch=4)
UNCHECKED = {"checked": "no: a test"}


@pytest.fixture
def folder(tmp_path: Path, pictures: Callable[..., Path]) -> Folder:
    return Folder(pictures(tmp_path / "pictures"))


def test_c4_float32_equals_online_to_the_bit(
    folder: Folder, teacher: Teacher, tmp_path: Path
) -> None:
    cache = build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    rows = Rows(folder, CROPS, teacher.preprocessing)
    flat = cache.features.reshape(len(rows), -1)
    # Online: the same views in another order, so beside other ones in their batches.
    order = np.random.default_rng(0).permutation(len(rows))
    online = encode_pixels(teacher, np.stack([rows[int(i)] for i in order]), PLAN.batch)
    assert np.array_equal(flat[order], online)
    assert cache.features.shape == (12, 3, 16)


def test_float16_is_within_a_thousandth(folder: Folder, teacher: Teacher, tmp_path: Path) -> None:
    one = build_cache(tmp_path / "a", teacher, folder, PLAN, UNCHECKED)
    two = build_cache(tmp_path / "b", teacher, folder, replace(PLAN, storage="float16"), UNCHECKED)
    apart = np.linalg.norm(one.features - two.features, axis=2)
    assert (apart / np.linalg.norm(one.features, axis=2)).max() < 1e-3
    assert two.features.nbytes == 12 * 3 * 16 * 2


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("stop", [1, 5])
def test_interrupted_and_gone_on_with_to_the_same_bytes(
    folder: Folder, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    plan = replace(PLAN, pixels=True)
    texts = class_texts(teacher, folder.classes, ["a photo of a {}."], "folders")
    whole = build_cache(tmp_path / "whole", teacher, folder, plan, UNCHECKED, texts)
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.0)
    calls = 0
    real = module.encode_pixels

    def dying(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls > stop:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "encode_pixels", dying)
    with pytest.raises(KeyboardInterrupt):
        build_cache(tmp_path / "c", teacher, folder, plan, UNCHECKED, texts)
    with pytest.raises(UserError, match="unfinished"):
        open_cache(tmp_path / "c")
    monkeypatch.setattr(module, "encode_pixels", real)
    seen: list[int] = []
    monkeypatch.setattr(module, "encode_pixels", lambda *a: seen.append(len(a[1])) or real(*a))
    again = build_cache(tmp_path / "c", teacher, folder, plan, UNCHECKED, texts)
    assert sum(seen) == 36 - 4 * stop
    assert files(tmp_path / "c") == files(tmp_path / "whole")
    assert again.pixels is not None
    assert np.array_equal(again.pixels, whole.pixels)  # type: ignore[arg-type]
    assert np.array_equal(load_class_texts(tmp_path / "c" / "classes.npz").vectors, texts.vectors)
    seen.clear()
    build_cache(tmp_path / "c", teacher, folder, plan, UNCHECKED, texts)  # finished: only opened
    assert not seen


def test_stopped_before_the_first_batch_it_begins_anew(
    folder: Folder, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*given: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_pixels", dying)
        with pytest.raises(KeyboardInterrupt):
            build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    build_cache(tmp_path / "whole", teacher, folder, PLAN, UNCHECKED)
    assert files(tmp_path / "c") == files(tmp_path / "whole")


def test_weights_are_taken_out_of_captions(
    folder: Folder, teacher: Teacher, tmp_path: Path
) -> None:
    for number, path in enumerate(folder.paths):
        path.with_suffix(".txt").write_text("a beagle++++" if number else "a beagle")
    build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED, captions=True)
    kept = np.load(tmp_path / "c" / "captions.npy")
    assert np.array_equal(kept[0], kept[1])


def test_workers_change_nothing(folder: Folder, teacher: Teacher, tmp_path: Path) -> None:
    one = build_cache(tmp_path / "a", teacher, folder, PLAN, UNCHECKED)
    two = build_cache(tmp_path / "b", teacher, folder, PLAN, UNCHECKED, workers=2)
    assert np.array_equal(one.features, two.features)


def test_the_manifest_says_what_decides_the_bytes(
    folder: Folder, teacher: Teacher, tmp_path: Path
) -> None:
    build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    text = (tmp_path / "c" / "manifest.json").read_text()
    manifest = json.loads(text)
    prepared = manifest["teacher"]["preprocessing"]
    assert (prepared["mean"], prepared["std"]) == ([0.48] * 3, [0.27] * 3)
    assert manifest["teacher"]["normalised"] is False
    assert (manifest["storage"], manifest["compute"], manifest["batch"]) == (
        "float32", "float32", 4,
    )  # fmt: skip
    assert {"torch", "pillow", "open_clip_torch"} <= manifest["versions"].keys()
    assert len(manifest["canaries"]) == 16
    assert str(tmp_path) not in text
    assert (tmp_path / "c" / "ids.txt").read_text().splitlines() == list(folder.ids)


def test_c1_c3_what_differs_is_refused(
    folder: Folder, teacher_of: Callable[..., Teacher], tmp_path: Path
) -> None:
    teacher = teacher_of()
    cache = build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    for changed, said in {
        replace(PLAN, storage="float16"): "storage is float32 there and float16 here",
        replace(PLAN, compute="bfloat16"): "compute is float32 there and bfloat16 here",
        replace(PLAN, views=replace(CROPS, count=2)): "views count is 3 there and 2 here",
    }.items():
        with pytest.raises(UserError, match=said):
            build_cache(tmp_path / "c", teacher, folder, changed, UNCHECKED)
    open_cache(tmp_path / "c", folder, teacher)
    with pytest.raises(UserError, match=r"another preprocessing: .*mean 0\.48.*mean 0\.5"):
        open_cache(tmp_path / "c", folder, teacher_of(mean=0.5))
    with pytest.raises(UserError, match="another weights"):
        open_cache(tmp_path / "c", folder, teacher_of(seed=1))
    half = build_cache(tmp_path / "h", teacher, folder, replace(PLAN, storage="float16"), UNCHECKED)
    with pytest.raises(UserError, match="differ in storage: float32 and float16"):
        check_together([cache, half])
    other = build_cache(tmp_path / "o", teacher_of(seed=1), folder, PLAN, UNCHECKED)
    with pytest.raises(UserError, match="other teachers"):
        check_together([cache, other])
    check_together([cache, cache])


def test_pictures_that_differ(
    folder: Folder, teacher: Teacher, tmp_path: Path, pictures: Callable[..., Path]
) -> None:
    build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    with pytest.raises(UserError, match=r"made of 12 pictures, .* has 15"):
        open_cache(tmp_path / "c", Folder(pictures(tmp_path / "more", each=5)))
    with pytest.raises(UserError, match="made of other pictures"):
        open_cache(tmp_path / "c", Folder(pictures(tmp_path / "other", seed=1)))


def test_captions_that_changed(folder: Folder, teacher: Teacher, tmp_path: Path) -> None:
    for index, path in enumerate(folder.paths):
        path.with_suffix(".txt").write_text(f"caption {index // 2}")
    build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED, captions=True)
    kept = np.load(tmp_path / "c" / "captions.npy")
    assert kept.shape == (12, 16)
    assert np.array_equal(kept[0], kept[1])
    open_cache(tmp_path / "c", folder)
    folder.paths[3].with_suffix(".txt").write_text("another")
    with pytest.raises(UserError, match=r"captions of .* have changed since"):
        open_cache(tmp_path / "c", folder)
    folder.paths[3].with_suffix(".txt").unlink()
    with pytest.raises(UserError, match=r"3\.png has no caption \(3\.txt\); of 12 pictures 11"):
        build_cache(tmp_path / "d", teacher, folder, PLAN, UNCHECKED, captions=True)
    assert not (tmp_path / "d" / "features.npy").exists()


def test_canaries_that_do_not_reproduce(folder: Folder, teacher: Teacher, tmp_path: Path) -> None:
    build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    array = np.lib.format.open_memmap(tmp_path / "c" / "features.npy", mode="r+")
    array[:] = array[::-1].copy()
    array.flush()
    with pytest.raises(UserError, match=r"do not reproduce \(cosine .* from the same views"):
        open_cache(tmp_path / "c", folder, teacher)


def test_damaged_caches(folder: Folder, teacher: Teacher, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no cache"):
        open_cache(tmp_path / "none")
    build_cache(tmp_path / "c", teacher, folder, PLAN, UNCHECKED)
    np.save(tmp_path / "c" / "features.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(UserError, match="were promised"):
        open_cache(tmp_path / "c")
    manifest = tmp_path / "c" / "manifest.json"
    form = json.loads(manifest.read_text())
    for name in form.keys() - {"version"}:
        manifest.write_text(json.dumps({k: v for k, v in form.items() if k != name}))
        with pytest.raises(UserError, match=f"damaged .*{name}"):
            open_cache(tmp_path / "c", folder)
    manifest.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        open_cache(tmp_path / "c")


def test_an_unreadable_picture_is_named(folder: Folder, teacher: Teacher, tmp_path: Path) -> None:
    folder.paths[5].write_bytes(b"no picture")
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"class 1/1\.png: not an"):
            build_cache(tmp_path / f"c{workers}", teacher, folder, PLAN, UNCHECKED, workers=workers)


def brightness_teacher(teacher: Teacher) -> Teacher:
    """Sees how bright a picture is, and knows the names of the classes."""
    assert teacher.texts is not None

    def encode(images: torch.Tensor) -> torch.Tensor:
        angle = images.mean(dim=(1, 2, 3)) * 0.27 + 0.48
        return torch.stack([angle.cos(), angle.sin()], 1)

    def encode_text(texts: list[str]) -> torch.Tensor:
        angle = torch.tensor([60 * (int(text[-2]) + 1) / 255 for text in texts])
        return torch.stack([angle.cos(), angle.sin()], 1)

    texts = replace(teacher.texts, encode=encode_text)
    return replace(teacher, encode=encode, width=2, texts=texts)


def test_c8_a_teacher_at_chance_is_refused(
    teacher: Teacher, tmp_path: Path, pictures: Callable[..., Path]
) -> None:
    folder = Folder(pictures(tmp_path / "p", each=8))
    good = brightness_teacher(teacher)
    texts = class_texts(good, folder.classes, ["a photo of a {}."], "folders")
    found = teacher_check(good, folder, texts)
    assert found == {"checked": "classes", "images": 24, "right": 24, "chance": 0.3333}
    few = Folder(pictures(tmp_path / "few", classes=2, each=2))  # 4 of 4 by luck in 6 % of cases
    found = teacher_check(good, few, class_texts(good, few.classes, ["a photo of a {}."], "few"))
    assert found["right"] == 4
    assert found["checked"].startswith("no: too few images")
    bad = class_texts(teacher, folder.classes, ["a photo of a {}."], "folders")
    with pytest.raises(UserError, match=r"looks untrained: .* of 24 images right, guessing gives"):
        teacher_check(teacher, folder, bad)
    assert teacher_check(teacher, folder, bad, refuse=False)["checked"] == "not passed"
    assert teacher_check(replace(teacher, texts=None), folder, None)["checked"].startswith("no")
    # Class vectors are enough: a teacher without a text encoder is asked, too.
    assert teacher_check(replace(good, texts=None), folder, texts)["checked"] == "classes"
    with pytest.raises(UserError, match="looks untrained"):
        teacher_check(replace(teacher, texts=None), folder, bad)
    assert teacher_check(good, folder, None)["checked"].startswith("no: neither")
    for path, label in zip(folder.paths, folder.targets, strict=True):
        path.with_suffix(".txt").write_text(f"brightness {label}.")
    assert teacher_check(good, folder, None)["right"] == 24


def test_c14_a_feature_file_needs_no_teacher(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    path = tmp_path / "f.npy"
    np.save(path, rows)
    assert read_features(path, 5).shape == (5, 1, 4)
    rows[3] = 0
    np.save(path, rows)
    with pytest.raises(UserError, match=r"row 3 \(d\) is zeros only"):
        read_features(path, 5, ("a", "b", "c", "d", "e"))
    rows[2, 1] = np.inf
    np.save(path, rows)
    with pytest.raises(UserError, match="row 2 is a value that is not finite"):
        read_features(path, 5)
    with pytest.raises(UserError, match=r"6 pictures need \(6, width\)"):
        read_features(path, 6)
    np.save(path, np.ones((5, 4), np.int64))
    with pytest.raises(UserError, match="float16 or float32"):
        read_features(path, 5)


def test_c10_the_same_picture_in_two_folders(
    folder: Folder, tmp_path: Path, pictures: Callable[..., Path]
) -> None:
    test = Folder(pictures(tmp_path / "test", seed=7))
    assert pairs(signatures(folder), signatures(test)) == []
    image = Image.open(test.paths[4])
    image.save(folder.paths[0].with_name("copy.bmp"))  # another file of the same pixels
    found = pairs(signatures(Folder(folder.root)), signatures(test))
    assert [(p.one, p.other, p.kind) for p in found] == [
        ("class 0/copy.bmp", "class 1/0.png", "same")
    ]
