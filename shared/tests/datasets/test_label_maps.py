"""Label-map folders: what is read, one pass that checks, one clear line for each fault."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.datasets.label_maps import LabelMapFolder, Pair
from repro_shared.datasets.label_values import LabelValues
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes

RNG = np.random.default_rng(0)
NAMES = ("seq1_a", "seq1_b", "seq2_a")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three 7 x 5 images of classes 0 to 3; 11 is not labelled."""
    for name in NAMES:
        write(tmp_path / "set", "images", name, RNG.integers(0, 256, (7, 5, 3)))
        write(tmp_path / "set", "labels", name, RNG.choice([0, 1, 2, 3, 11], (7, 5)))
    return tmp_path / "set"


def write(root: Path, kind: str, name: str, pixels: np.ndarray) -> Path:
    path = root / kind / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def open_set(root: Path, ignored: tuple[int, ...] = (11,), **options: object) -> LabelMapFolder:
    names = sorted(path.stem for path in (root / "images").iterdir())
    pairs = [Pair(n, *(root / kind / f"{n}.png" for kind in ("images", "labels"))) for n in names]
    return LabelMapFolder(
        root, pairs, LabelValues(**{"num_classes": 4, **options}, ignored=ignored)
    )


def stored(root: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(root / "labels" / f"{name}.png"))


@pytest.mark.parametrize("kept_bytes", [0, 419, 420])
def test_a_survey_counts_and_reads_the_same_from_files_and_memory(
    root: Path, kept_bytes: int
) -> None:
    data = open_set(root)
    before = list(data)
    found = data.survey(kept_bytes=kept_bytes)
    found.refuse()
    values = np.concatenate([stored(root, name).ravel() for name in NAMES])
    assert data.names == NAMES
    assert found.sizes == ((7, 5),) * 3
    assert found.pixels.tolist() == np.bincount(values, minlength=4)[:4].tolist()
    assert found.ignored == {11: int((values == 11).sum())}
    # 3 x 7 x 5 pixels of 4 bytes: kept where they fit, else read anew each time.
    assert (data[0][0] is data[0][0]) is (kept_bytes == 420)
    for name, (image, label), (old_image, old_label) in zip(NAMES, data, before, strict=True):
        np.testing.assert_array_equal(image, Image.open(root / "images" / f"{name}.png"))
        np.testing.assert_array_equal(image, old_image)
        np.testing.assert_array_equal(label, old_label)
        np.testing.assert_array_equal(
            label, np.where(stored(root, name) == 11, 255, stored(root, name))
        )
        assert image.dtype == label.dtype == np.uint8
    np.testing.assert_array_equal(data[-1][0], data[2][0])


def test_no_more_than_a_few_images_are_in_memory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(60):
        write(root, "images", f"x{i:02}", np.zeros((7, 5, 3)))
        write(root, "labels", f"x{i:02}", np.zeros((7, 5)))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    data = open_set(root)
    read, most = list[str](), 0
    examine = LabelMapFolder._examine
    monkeypatch.setattr(
        LabelMapFolder, "_examine", lambda self, pair: read.append(pair.name) or examine(self, pair)
    )
    for taken, _ in enumerate(data._examined("read"), start=1):
        most = max(most, len(read) - taken)
    assert most <= 4
    assert sorted(read) == sorted(data.names)


def test_subset_by_name(root: Path) -> None:
    data = open_set(root)
    part = data.subset(lambda name: name.startswith("seq1"))
    assert part.names == ("seq1_a", "seq1_b")
    assert data.names == NAMES
    np.testing.assert_array_equal(part[1][1], data[1][1])
    assert part.survey().fingerprint != data.survey().fingerprint
    # Bad files outside the subset do not matter to it; what was kept of the whole is not its own.
    (root / "labels/seq2_a.png").write_bytes(b"")
    part.survey().refuse()
    assert len(data.subset(lambda name: name == "seq1_b")) == 1
    with pytest.raises(UserError, match="no image has a wanted name"):
        data.subset(lambda name: False)


def test_fingerprint(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = open_set(root).survey().fingerprint
    files = [path.relative_to(root) for path in root.rglob("*.png")]
    text = f"{fingerprint_folder(root, files)} classes 4 ignored [11]"  # as it has always been
    assert reference == sha256_bytes(text.encode())
    copy = shutil.copytree(root, tmp_path / "copy")
    assert open_set(copy).survey().fingerprint == reference
    for options in (
        {"ignored": (11, 255)}, {"num_classes": 5}, {"mapped": ((7, 1),)},
    ):  # fmt: skip
        assert open_set(root, **options).survey().fingerprint != reference
    monkeypatch.chdir(root.parent)
    assert open_set(Path(root.name)).survey().fingerprint == reference
    write(copy, "labels", "seq1_a", np.zeros((7, 5)))
    assert open_set(copy).survey().fingerprint != reference


def truncate(kind: str) -> Callable[[Path], None]:
    shape = (99, 99, 3) if kind == "images" else (99, 99)

    def damage(root: Path) -> None:
        path = write(root, kind, "seq1_b", RNG.integers(0, 256, shape))
        path.write_bytes(path.read_bytes()[:5000])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate("images"), "images/seq1_b.png: truncated or damaged"),
        (truncate("labels"), "labels/seq1_b.png: truncated or damaged"),
        (
            lambda root: write(root, "labels", "seq1_b", np.full((7, 5), 4)),
            r"labels/seq1_b.png: value 4 \(35 pixels\) is neither a class \(0 to 3\) nor "
            r"ignored \(11\): --ignore, --map or --reduce-zero-label say",
        ),
        (
            lambda root: write(root, "labels", "seq1_b", np.full((7, 5), 255)),
            "seq1_b.png: value 255",
        ),
        (
            lambda root: write(root, "labels", "seq1_b", np.zeros((5, 7))),
            "seq1_b.png: label map is 7 x 5 pixels, its image 5 x 7",
        ),
        (
            lambda root: write(root, "labels", "seq1_b", np.zeros((7, 5, 3))),
            "seq1_b.png: label map is a colour image",
        ),
        (
            lambda root: (root / "images/seq1_b.png").write_bytes(b""),
            "images/seq1_b.png: empty file",
        ),
        (
            lambda root: (root / "labels/seq1_b.png").write_bytes(b""),
            "labels/seq1_b.png: empty file",
        ),
    ],
)
def test_bad_files_are_named_when_read_and_when_checked(
    root: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(root)
    data = open_set(root)
    assert len(data[0]) == 2
    with pytest.raises(UserError, match=message):
        data[1]
    found = data.survey()
    assert list(found.problems) == ["seq1_b"]
    with pytest.raises(UserError, match=f"1 of 3 images cannot be used: .*{message}") as caught:
        found.refuse()
    assert "\n" not in str(caught.value)


def test_all_bad_pairs_are_named_and_ten_explained(root: Path) -> None:
    for i in range(20):
        write(root, "images", f"x{i:02}", np.zeros((7, 5, 3)))
        write(root, "labels", f"x{i:02}", np.full((7, 5), 9))
    with pytest.raises(UserError, match=r"20 of 23 .*x00\.png.*x09\.png") as caught:
        open_set(root).survey().refuse()
    line = str(caught.value)
    others = ", ".join(f"x{i}" for i in range(10, 20))
    assert line.endswith(f"; and 10 more: {others}")
    assert line.count("value 9") == 10
    assert "seq" not in line.partition("cannot be used")[2]  # the sound ones


def write_palette(root: Path, name: str, values: np.ndarray, colours: list[int]) -> None:
    write(root, "images", name, np.zeros((*values.shape, 3)))
    image = Image.fromarray(values.astype(np.uint8), "L")
    image.putpalette(colours)
    assert image.mode == "P"
    image.save(root / "labels" / f"{name}.png")


RED_GREEN = [0, 0, 0, 255, 0, 0, 0, 255, 0]
GREEN_RED = [0, 0, 0, 0, 255, 0, 255, 0, 0]


@pytest.mark.parametrize(
    ("colours", "values", "message"),
    [
        (RED_GREEN, [[0, 1, 2]], ""),
        (GREEN_RED, [[0, 1, 2]], r"c.png: its palette pairs 1 with \(0, 255, 0\)"),
        # One object a file, each with a palette of its own: both are value 1.
        (GREEN_RED, [[0, 1, 0]], r"c.png: its palette pairs 1 with \(0, 255, 0\).*--palette FILE"),
        # The same colour under another number.
        (GREEN_RED, [[0, 2, 2]], r"c.png: its palette pairs 2 with \(255, 0, 0\)"),
        # Colours of values that do not occur may be anything.
        (GREEN_RED, [[0, 0, 0]], ""),
        (RED_GREEN[:3], [[0, 0, 0]], ""),
    ],
)
def test_palettes_that_order_colours_differently_are_refused(
    tmp_path: Path, colours: list[int], values: list[list[int]], message: str
) -> None:
    for name in "ab":
        (tmp_path / "labels").mkdir(exist_ok=True)
        write_palette(tmp_path, name, np.array([[0, 1, 2]]), RED_GREEN)
    write_palette(tmp_path, "c", np.array(values), colours)
    found = open_set(tmp_path).survey()
    if not message:
        found.refuse()
        return
    with pytest.raises(UserError, match=message):
        found.refuse()
    # By colour they are all the same.
    palette = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    data = open_set(tmp_path, palette=palette)
    data.survey().refuse()
    seen = np.asarray(colours).reshape(-1, 3)[np.array(values)]
    expected = np.array([[palette.index(tuple(c)) for c in row] for row in seen.tolist()])
    np.testing.assert_array_equal(data[2][1], expected)
