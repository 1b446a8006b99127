"""`ofds propose` as people run it, with real models of drawn weights."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ofds.use.pool_files import PoolFiles
from ofds.use.propose_command import propose
from ofds.use.proposers import parts, pipeline
from ofds.use.proposers import run as work
from ofds.use.repairs import Repairs
from ofds.use.select_command import select
from repro_shared.runtime.cli import run

FILES = ("images.json", "proposals.npz", "features.npy", "manifest.json")


@dataclass
class Photos:
    """A folder of photographs, and the command on it."""

    root: Path
    detector: Path
    draw: Callable[..., np.ndarray]

    @property
    def folder(self) -> Path:
        """Of the photographs."""
        return self.root / "photos"

    def add(self, name: str, height: int = 48, width: int = 64, seed: int = 0) -> Path:
        """A photograph."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.draw(height, width, seed)).save(path)
        return path

    def propose(self, *more: str, out: str = "pool", classes: str = "names.txt") -> int:
        """Run the command; returns its exit code."""
        given = ["propose", "--folder", str(self.folder), "--classes", str(self.root / classes),
                 "--detector", str(self.detector), "--out", str(self.root / out),
                 "--threshold", "0.2", "--features", "detector", *more]  # fmt: skip
        return run("ofds", "", {"propose": propose}, given, version="0")

    def pool(self, out: str = "pool") -> tuple[Any, Any, np.ndarray]:
        """Images and classes, proposals, features of a pool."""
        files, repairs = PoolFiles(pool=str(self.root / out)), Repairs()
        dataset = files.dataset(repairs)
        objects, total = files.objects(dataset, repairs)
        assert total == len(objects)
        assert repairs.rows() == []
        return dataset, objects, np.load(self.root / out / "features.npy")

    def bytes(self, out: str = "pool") -> dict[str, bytes]:
        """The files of a pool."""
        return {name: (self.root / out / name).read_bytes() for name in FILES}


@pytest.fixture
def photos(
    tmp_path: Path, pretrained: Callable[[str], Path], draw: Callable[..., np.ndarray]
) -> Photos:
    """Eight photographs in two folders, and three classes."""
    made = Photos(tmp_path, pretrained("grounding"), draw)
    for seed in range(8):
        made.add(f"{'a' if seed % 2 else 'b'}/{seed}.png", 48 + seed, 64, seed)
    (tmp_path / "names.txt").write_text("shirt\nSt. Bernard\nzucchini\tmelon\tzucchini\n")
    return made


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that a model saw, but those of the canary."""
    sizes, plain = list[int](), pipeline.propose_on

    def counted(models: Any, names: Any, images: Any, keeping: Any) -> Any:
        sizes.append(len(images))
        return plain(models, names, images, keeping)

    monkeypatch.setattr(work, "propose_on", counted)
    return sizes


def test_a_pool_with_outlines_that_select_reads(
    photos: Photos, pretrained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos.folder / "notes.txt").write_text("no image")
    masker = ("--masker", str(pretrained("sam2")), "--features", "masker")
    assert photos.propose(*masker) == 0
    told = capsys.readouterr()
    assert "images/s" in told.out
    assert "passed over: 1 other files, such as notes.txt" in told.err
    dataset, objects, features = photos.pool()
    assert [image.name for image in dataset.images] == sorted(
        f"{'a' if seed % 2 else 'b'}/{seed}.png" for seed in range(8)
    )
    assert [each.name for each in dataset.categories] == ["shirt", "St. Bernard", "zucchini"]
    assert features.shape == (len(objects), 32)
    assert features.dtype == np.float16
    entry = objects.entries[0]
    image = dataset.images[objects.image[0]]
    assert entry["segmentation"]["size"] == [image.height, image.width]
    assert (objects.area != objects.box[:, 2] * objects.box[:, 3]).any()
    manifest = json.loads((photos.root / "pool" / "manifest.json").read_text())
    assert {"torch", "transformers"} <= manifest["versions"].keys()
    assert manifest["config"]["models"]["masker"]["sha256"]
    assert len(manifest["canary"]) == 2 * 2 + 6
    pool, out = str(photos.root / "pool"), str(photos.root / "chosen")
    given = ["select", "--pool", pool, "--out", out, "--budget", "30", "--threshold", "0"]
    assert run("ofds", "", {"select": select}, given, version="0") == 0


@pytest.mark.usefixtures("all_passes")
@pytest.mark.parametrize("kind", ["mm_grounding", "owl", "sam3"])
def test_other_detectors_by_folder(
    kind: str, photos: Photos, pretrained: Callable[[str], Path]
) -> None:
    photos.detector = pretrained(kind)
    names = "shirt\njapanese_fruit\n" if kind == "mm_grounding" else "cat\nbig_dog\n"
    (photos.root / "names.txt").write_text(names)
    query = ("--query", f"cat={photos.folder / 'b/0.png'}") if kind == "owl" else ()
    assert photos.propose("--threshold", "0.01", *query) == 0
    _, objects, features = photos.pool()
    assert len(objects) > 8
    assert len(features) == len(objects)
    assert set(objects.label) <= {0, 1}


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, seen: list[int]
) -> None:
    monkeypatch.setattr(parts, "IMAGES", 3)
    assert photos.propose("--batch", "2", out="whole") == 0
    assert seen == [2, 1, 2, 1, 2]
    seen.clear()
    write = parts.write_part

    def killed(*given: Any) -> None:
        if len(seen) > 2:
            raise KeyboardInterrupt
        write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_part", killed)
        assert photos.propose("--batch", "2") == 130
    assert not (photos.root / "pool" / "manifest.json").exists()
    seen.clear()
    assert photos.propose("--batch", "2") == 0
    assert seen == [2, 1, 2]
    assert photos.bytes() == photos.bytes("whole")
    seen.clear()
    assert photos.propose("--batch", "2") == 0
    assert seen == []
    assert photos.bytes() == photos.bytes("whole")


def test_shards_and_torchrun_give_one_pool_from_the_last(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos.propose(out="whole") == 0
    assert photos.propose("--shard", "2/3") == 0
    assert "other shards are not finished" in capsys.readouterr().out
    merging = ["propose", "--merge", "--out", str(photos.root / "pool")]
    assert run("ofds", "", {"propose": propose}, merging, version="0") == 2
    assert "shards are missing: 1/3 was not run, 3/3 was not run" in capsys.readouterr().err
    part = next((photos.root / "pool" / "parts").glob("*.npz"))
    away = part.rename(part.with_suffix(".away"))
    assert run("ofds", "", {"propose": propose}, merging, version="0") == 2
    assert "1/3 was not run, 2/3 has " in capsys.readouterr().err
    away.rename(part)
    for rank in (2, 0):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        assert not (photos.root / "pool" / "manifest.json").exists()
        assert photos.propose() == 0
    whole, pool = photos.pool("whole"), photos.pool()
    assert np.array_equal(whole[1].image, pool[1].image)
    assert np.array_equal(whole[1].label, pool[1].label)
    assert np.allclose(whole[1].box, pool[1].box, atol=0.01)
    assert np.allclose(whole[2], pool[2], atol=0.01)
    before = photos.bytes()
    (photos.root / "pool" / "proposals.npz").unlink()
    assert run("ofds", "", {"propose": propose}, merging, version="0") == 0
    assert photos.bytes() == before


def test_work_is_known_by_content(photos: Photos, seen: list[int]) -> None:
    assert photos.propose() == 0
    _, first, _ = photos.pool()
    seen.clear()
    (photos.folder / "a/1.png").rename(photos.folder / "c.png")
    (photos.folder / "d.png").write_bytes((photos.folder / "b/2.png").read_bytes())
    swapped = [photos.folder / name for name in ("a/3.png", "a/5.png")]
    one, two = (path.read_bytes() for path in swapped)
    swapped[0].write_bytes(two)
    swapped[1].write_bytes(one)
    photos.add("e.png", seed=99)
    assert photos.propose() == 0
    assert seen == [1]
    dataset, objects, features = photos.pool()
    rows = {image.name: np.flatnonzero(objects.image == place)
            for place, image in enumerate(dataset.images)}  # fmt: skip
    assert np.array_equal(features[rows["d.png"]], features[rows["b/2.png"]])
    sizes = {image.name: image.height for image in dataset.images}
    assert (sizes["a/3.png"], sizes["a/5.png"]) == (53, 51)
    assert len(objects) > len(first)


def test_a_model_that_sees_otherwise_is_refused(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ofds.use.proposers import build

    assert photos.propose("--shard", "1/2") == 0
    plain = build._detector

    def drifted(*given: Any) -> Any:
        detector: Any = plain(*given)
        layer = detector.model.model.decoder.layers[-1].final_layer_norm
        layer.bias.data += torch.linspace(-0.5, 0.5, len(layer.bias))
        return detector

    monkeypatch.setattr(build, "_detector", drifted)
    assert photos.propose("--shard", "2/2") == 2
    told = capsys.readouterr().err
    assert "the models do not see what they saw" in told
    assert not (photos.root / "pool/parts/list-2-of-2.json").exists()
    monkeypatch.undo()
    assert photos.propose("--shard", "2/2") == 0


def test_other_settings_are_refused_by_name(
    photos: Photos, pretrained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos.propose("--shard", "1/2") == 0
    for more, message in (
        (("--threshold", "0.5"), "threshold 0.2 there, 0.5 here"),
        (("--nms", "0.5"), "nms 0.7 there, 0.5 here"),
        (("--features", "none"), "models: features detector there, None here"),
        (("--detector", str(pretrained("mm_grounding"))), "models: detector: "),
    ):
        assert photos.propose("--shard", "2/2", *more) == 2
        told = capsys.readouterr().err
        assert "was begun with other settings" in told
        assert message in told


def test_missing_and_truncated_images_are_listed_and_the_others_done(
    photos: Photos, seen: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [{"id": 10 * n, "file_name": f"{n:02d}.png", "width": 64, "height": 48 + 9 * (n == 2),
               "camera": "left"} for n in range(20)]  # fmt: skip
    for n in range(15):
        photos.add(f"{n:02d}.png", seed=n)
    whole = (photos.folder / "03.png").read_bytes()
    (photos.folder / "03.png").write_bytes(whole[: len(whole) // 2])
    (photos.folder / "04.png").write_bytes(b"")
    categories = [{"id": 1, "name": "shirt"}, {"id": 3, "name": "melon"}, {"id": 90, "name": "t"}]
    coco = photos.root / "coco.json"
    coco.write_text(json.dumps({"images": listed[::-1], "categories": categories}))
    given = ("--images", str(coco), "--batch", "5")
    assert photos.propose(*given, classes="coco.json") == 2
    told = capsys.readouterr().err
    assert "7 of 20 images cannot be read, such as '03.png' (truncated or damaged" in told
    assert sum(seen) == 13
    lines = (photos.root / "pool" / "unreadable.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        "03.png", "04.png", *(f"{n}.png" for n in range(15, 20)),
    ]  # fmt: skip
    seen.clear()
    assert photos.propose(*given, "--missing", "skip", classes="coco.json") == 0
    assert seen == []
    dataset, _, _ = photos.pool()
    assert [image.id for image in dataset.images] == [
        10 * n for n in range(14, -1, -1) if n not in (3, 4)
    ]
    assert dataset.images[0].entry["camera"] == "left"
    assert [each.id for each in dataset.categories] == [1, 3, 90]
    manifest = json.loads((photos.root / "pool" / "manifest.json").read_text())
    assert len(manifest["pool"]["unreadable"]) == 7
    assert manifest["pool"]["sizes_put_right"] == 1
    assert {image.height for image in dataset.images} == {48}


def test_pictures_of_all_kinds_are_upright_rgb(photos: Photos) -> None:
    g = np.random.default_rng(0)
    for path in photos.folder.rglob("*.png"):
        path.unlink()
    turned = Image.fromarray(photos.draw(40, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(photos.folder / "turned.jpg", exif=exif)
    Image.fromarray(g.integers(0, 2**16, (40, 50), dtype=np.uint16)).save(photos.folder / "16.png")
    Image.fromarray(photos.draw(40, 50)[..., 0]).save(photos.folder / "gray.jpg")
    rgba = np.concatenate([photos.draw(40, 50), photos.draw(40, 50)[..., :1]], axis=2)
    Image.fromarray(rgba).save(photos.folder / "rgba.png")
    Image.fromarray(photos.draw(40, 50)).convert("CMYK").save(photos.folder / "cmyk.jpg")
    Image.fromarray(photos.draw(3, 50)).save(photos.folder / "flat.png")
    assert photos.propose("--missing", "skip") == 0
    dataset, objects, _ = photos.pool()
    sizes = {image.name: (image.width, image.height) for image in dataset.images}
    assert sizes == {"turned.jpg": (40, 64), **dict.fromkeys(
        ["16.png", "gray.jpg", "rgba.png", "cmyk.jpg"], (50, 40))}  # fmt: skip
    assert {image.entry.get("exif_orientation") for image in dataset.images} == {None, 6}
    assert set(objects.image) == set(range(5))
    text = (photos.root / "pool" / "unreadable.txt").read_text()
    assert text == "flat.png\ta side of less than 4 pixels\n"


def test_a_picture_that_a_model_cannot_take_does_not_stop_the_others(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pipeline.propose_on

    def picky(models: Any, names: Any, images: Any, keeping: Any) -> Any:
        if any(image.shape[0] == 50 for image in images):
            raise RuntimeError("kernel size cannot be greater than input size")
        return plain(models, names, images, keeping)

    monkeypatch.setattr(work, "propose_on", picky)
    assert photos.propose("--missing", "skip") == 0
    dataset, _, _ = photos.pool()
    assert len(dataset.images) == 7
    assert "b/2.png\tthe model cannot take it" in (photos.root / "pool/unreadable.txt").read_text()


def test_images_in_tar_files(photos: Photos, seen: list[int]) -> None:
    assert photos.propose() == 0
    with tarfile.open(photos.folder / "shard-000.tar", "w") as tar:
        for name in ("a/1.png", "b/0.png"):
            tar.add(photos.folder / name, name)
        tar.add(photos.add("new.png", seed=20), "000042.png")
        tar.add(photos.root / "names.txt", "000042.cls")
        half = photos.root / "half.png"
        half.write_bytes((photos.folder / "a/3.png").read_bytes()[:200])
        tar.add(half, "half.png")
    (photos.folder / "new.png").unlink()
    seen.clear()
    assert photos.propose("--missing", "skip") == 0
    assert seen == [1]  # the others are known by their content
    dataset, objects, features = photos.pool()
    names = [image.name for image in dataset.images]
    assert names[-3:] == ["shard-000.tar/000042.png", "shard-000.tar/a/1.png",
                          "shard-000.tar/b/0.png"]  # fmt: skip
    rows = [np.flatnonzero(objects.image == names.index(name))
            for name in ("a/1.png", "shard-000.tar/a/1.png")]  # fmt: skip
    assert np.array_equal(features[rows[0]], features[rows[1]])
    text = (photos.root / "pool" / "unreadable.txt").read_text()
    assert text.startswith("shard-000.tar/half.png\ttruncated or damaged image")
    (photos.folder / "broken.tar").write_bytes(b"no tar" * 200)
    assert photos.propose() == 2


def test_nothing_found_is_a_pool_without_objects(photos: Photos) -> None:
    assert photos.propose("--threshold", "1") == 0
    dataset, objects, features = photos.pool()
    assert (len(dataset.images), len(objects), features.shape) == (8, 0, (0, 32))


def test_a_quantile_takes_the_least_of_each_class(photos: Photos) -> None:
    assert photos.propose() == 0
    _, everything, _ = photos.pool()
    assert photos.propose("--quantile", "0.5") == 0
    _, kept, features = photos.pool()
    assert len(features) == len(kept)
    for label in np.unique(everything.label):
        own = np.sort(everything.score[everything.label == label])
        least = np.quantile(own, 0.5, method="lower")
        assert np.array_equal(np.sort(kept.score[kept.label == label]), own[own >= least])


def test_the_plan_says_what_is_left(photos: Photos, capsys: pytest.CaptureFixture[str]) -> None:
    assert photos.propose("--plan") == 0
    told = capsys.readouterr().out
    assert "images: 8; of shard 1/1: 8, 0 of them unreadable" in told
    assert "done: 0; left: 8, in 1 parts" in told
    assert not (photos.root / "pool").exists()
    assert photos.propose("--shard", "1/2") == 0
    capsys.readouterr()
    assert photos.propose("--plan") == 0
    told = capsys.readouterr().out
    assert "done: 4; left: 4" in told
    assert "an image; about" in told


def test_another_pool_is_not_overwritten(
    photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos.root / "pool").mkdir()
    (photos.root / "pool" / "images.json").write_text("{}")
    assert photos.propose() == 2
    assert "holds images.json already, not of this command" in capsys.readouterr().err
    assert [path.name for path in (photos.root / "pool").iterdir()] == ["images.json"]


def test_numbers_that_are_none_are_no_proposals(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ofds.use.proposers import grounding

    plain = grounding.pretrained

    def broken(*given: Any) -> Any:
        model = plain(*given)
        model.class_embed[-1].register_forward_hook(lambda module, some, out: out * torch.nan)
        return model

    monkeypatch.setattr(grounding, "pretrained", broken)
    assert photos.propose() == 2
    assert "the models fail on a test picture (numbers that are not finite" in (
        capsys.readouterr().err
    )


def test_under_torchrun_a_process_has_its_own_shard(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert photos.propose("--shard", "1/2") == 2
    assert "--shard is not for torchrun" in capsys.readouterr().err


def test_the_detector_that_comes_along(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ofds.use.nets.centre_point import CentrePoint
    from ofds.use.nets.committed import Committed
    from ofds.use.proposers import centre_point

    torch.manual_seed(0)
    model = CentrePoint(3, 8).eval()
    known = Committed(model, ("digit 0", "digit 1", "digit 2"))
    monkeypatch.setattr(centre_point, "digits", lambda: known)
    photos.detector = Path("digits")
    (photos.root / "names.txt").write_text("digit 2\ndigit 0\n")
    given = ("--threshold", "0.05", "--nms", "1", "--features", "lite0", "--side", "32")
    assert photos.propose(*given) == 0
    dataset, objects, features = photos.pool()
    assert features.shape == (len(objects), 1280)
    assert len(objects)
    image = dataset.images[objects.image[0]]
    pixels = np.asarray(Image.open(photos.folder / image.name))
    padded = np.zeros((1, 64, 64, 3), np.uint8)
    padded[0, : pixels.shape[0]] = pixels
    with torch.inference_mode():
        (seen,) = model.detect(torch.from_numpy(padded).permute(0, 3, 1, 2).float() / 255)
    own = seen["scores"][seen["labels"] != 1]
    assert objects.score[objects.image == 0].max() <= own.max() + 1e-5
    (photos.root / "names.txt").write_text("digit 7\n")
    assert photos.propose(*given, out="other") == 2
    assert "--detector digits has no class 'digit 7'" in capsys.readouterr().err


def test_what_was_trained_here_finds_digits_on_photographs(photos: Photos) -> None:
    from ofds.use.matching import match
    from repro_shared.datasets.scene_config import SceneConfig
    from repro_shared.datasets.scenes import DigitScenes

    for path in photos.folder.rglob("*.png"):
        path.unlink()
    style = SceneConfig(min_scale=20, max_scale=36, brighter=True, backdrop=0.6, min_contrast=0.4)
    truth = list(DigitScenes(style, "test", 12))
    for place, scene in enumerate(truth):
        Image.fromarray(scene.image).save(photos.folder / f"{place:02d}.png")
    (photos.root / "names.txt").write_text("".join(f"digit {digit}\n" for digit in range(10)))
    photos.detector = Path("digits")
    assert photos.propose("--features", "lite0", "--side", "32") == 0
    _, found, features = photos.pool()
    assert len(features) == len(found)
    edges = np.concatenate([scene.boxes for scene in truth]).astype(float)
    box = np.concatenate([edges[:, :2], edges[:, 2:] - edges[:, :2]], axis=1)
    n = len(box)
    true = dataclasses.replace(
        found, box=box, area=box[:, 2] * box[:, 3], score=np.ones(n), crowd=np.zeros(n, bool),
        image=np.repeat(np.arange(12), [len(scene.classes) for scene in truth]),
        label=np.concatenate([scene.classes for scene in truth]) - 1, row=np.arange(n), entries=(),
    )  # fmt: skip
    hit = match(true, found)[0] >= 0
    right = match(found, true)[0] >= 0
    assert hit.mean() > 0.6
    assert right.mean() > 0.35  # many are found at this low threshold, some wrongly


def test_results_that_are_there_get_outlines_and_features(
    photos: Photos, pretrained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos.folder / "twin.png").write_bytes((photos.folder / "b/0.png").read_bytes())
    names = ["b/0.png", "twin.png", "a/1.png"]
    images = [{"id": n, "file_name": name, "width": 64, "height": 49 if n == 2 else 48}
              for n, name in enumerate(names)]  # fmt: skip
    categories = [{"id": 3, "name": "t"}, {"id": 90, "name": "shirt"}]
    results = [
        {"image_id": 0, "category_id": 90, "bbox": [4, 4, 20, 20], "score": 0.5},
        {"image_id": 0, "category_id": 90, "bbox": [4, 4, 20, 21], "score": 0.4},  # stays, too
        {"image_id": 1, "category_id": 3, "bbox": [30, 2, 10, 9], "score": 0.0},
        {"image_id": 2, "category_id": 3, "bbox": [0, 0, 8, 8], "score": 1.0,
         "segmentation": [[0, 0, 8, 0, 0, 8]]},
    ]  # fmt: skip
    coco, file = photos.root / "coco.json", photos.root / "results.json"
    coco.write_text(json.dumps({"images": images, "categories": categories}))
    file.write_text(json.dumps(results))
    photos.detector = file
    given = ("--threshold", "0", "--features", "lite0", "--side", "32")
    assert photos.propose(*given, classes="coco.json") == 2
    assert "results need --images" in capsys.readouterr().err
    assert photos.propose(*given, "--images", str(coco), classes="coco.json") == 0
    _, objects, features = photos.pool()
    assert objects.image.tolist() == [0, 0, 1, 2]
    assert objects.label.tolist() == [1, 1, 0, 0]
    assert objects.box.tolist() == [[4, 4, 20, 20], [4, 4, 20, 21], [30, 2, 10, 9], [0, 0, 8, 8]]
    assert objects.area[:3].tolist() == [400, 420, 90]
    assert 20 < objects.area[3] < 45
    assert "segmentation" in objects.entries[3]
    assert "segmentation" not in objects.entries[0]
    assert features.shape == (4, 1280)
    images[2]["height"] = 60
    coco.write_text(json.dumps({"images": images, "categories": categories}))
    assert photos.propose(*given, "--images", str(coco), out="turned", classes="coco.json") == 2
    told = capsys.readouterr().err
    assert "results for 64 x 60 pixels, upright it has 64 x 49" in told
    sam = ("--masker", str(pretrained("sam2")), "--images", str(coco), "--features", "masker")
    images[2]["height"] = 49
    coco.write_text(json.dumps({"images": images, "categories": categories}))
    assert photos.propose("--threshold", "0", *sam, out="drawn", classes="coco.json") == 0
    assert photos.pool("drawn")[2].shape == (4, 32)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--folder", "nowhere"), "nowhere: no such folder"),
        (("--detector", "nobody/nothing"), "neither a folder nor in the hub library's cache"),
        (("--detector", "EMPTY"), "no model of transformers"),
        (("--detector", "torchvision:yolo"), "no such model"),
        (("--masker", "EMPTY"), "no model of transformers"),
        (("--features", "masker"), "--features masker needs a --masker"),
        (("--features", "clip"), "--features clip: give one of masker"),
        (("--shard", "0/4"), "--shard 0/4: give I/N, from 1/N to N/N"),
        (("--shard", "5/4"), "from 1/N to N/N"),
        (("--threshold", "2"), "--threshold must be 0 to 1"),
        (("--nms", "0"), "--nms must be above 0"),
        (("--batch", "0"), "--batch must be at least 1"),
        (("--query", "shirt=x.png"), "--query needs a detector that looks at pictures"),
        (("--query", "hat=x.png"), "--query 'hat=x.png': give CLASS=FILE"),
        (("--classes", "TWICE"), "class 'shirt' is listed twice"),
        (("--classes", "nowhere.txt"), "cannot be read"),
        (("--classes", "EMPTY.txt"), "it lists no classes"),
        (("--device", "cuda"), "no usable CUDA device"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    photos: Photos, more: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if more[0] == "--query" and "shirt" in more[1]:
        more = ("--query", f"shirt={photos.folder / 'b/0.png'}")
    (photos.root / "EMPTY").mkdir()
    (photos.root / "EMPTY.txt").write_text("\n\n")
    (photos.root / "TWICE").write_text("shirt\nmelon\nshirt\n")
    made = more[1] in ("EMPTY", "TWICE", "EMPTY.txt")
    assert photos.propose(more[0], str(photos.root / more[1]) if made else more[1]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]
    assert not (photos.root / "pool").exists()


def test_the_command_line_does_not_import_the_models() -> None:
    code = "import sys, ofds.use.propose_command; print({'torch', 'transformers'} & {*sys.modules})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
