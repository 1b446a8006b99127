"""Reading image files: right pixels from every form, one clear line for every bad file."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.runtime import images
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import open_image, read_label_map, read_rgb

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
# Smooth enough for JPEG to keep.
RAMP = np.broadcast_to(np.linspace(0, 255, 48).astype(np.uint8)[:, None, None], (48, 32, 3))


def png(path: Path, width: int, height: int, bits: int, colour: int, rows: bytes) -> Path:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif", "tiff", "ppm"])
def test_lossless_formats_give_the_pixels_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = read_rgb(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, RGB)
    read[0, 0] = 0  # writable: augmentations change it in place


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really-a-jpeg.png"
    Image.fromarray(RAMP).save(path, "JPEG", quality=95)
    np.testing.assert_allclose(read_rgb(path).astype(int), RAMP, atol=6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    stored = {  # what a camera writes for a scene that should appear as RGB
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    np.testing.assert_array_equal(read_rgb(path), RGB)


def test_damaged_exif_does_not_spoil_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "description"
    path = tmp_path / "a.jpg"
    Image.fromarray(RAMP).save(path, exif=exif)
    content = path.read_bytes()
    at = content.index(b"Exif\0\0") + 6
    entries = content.index(
        struct.pack("<H", 0x010E) if b"II" in content[at : at + 2] else b"\1\x0e"
    )
    for damage in range(at, entries + 12):
        broken = bytearray(content)
        broken[damage] ^= 0xFF
        path.write_bytes(broken)
        assert read_rgb(path).shape == RAMP.shape


def test_gray_palette_16_bit_and_transparent_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    gray = RGB[:, :, 0]
    Image.fromarray(gray).save(path)
    np.testing.assert_array_equal(read_rgb(path), np.stack([gray] * 3, axis=2))

    wide = (gray.astype(np.uint16) << 8) + 99
    Image.fromarray(wide).save(path)
    np.testing.assert_array_equal(read_rgb(path), np.stack([gray] * 3, axis=2))

    palette = Image.fromarray(gray // 64)
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    palette.save(path)
    colours = np.arange(10, 130, 10, dtype=np.uint8).reshape(4, 3)
    np.testing.assert_array_equal(read_rgb(path), colours[gray // 64])

    clear = np.dstack([RGB, np.where(gray > 99, 255, 0).astype(np.uint8)])
    Image.fromarray(clear).save(path)
    np.testing.assert_array_equal(read_rgb(path), np.where(gray[:, :, None] > 99, RGB, 0))


def test_label_maps_of_every_depth_keep_their_indices(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    indices = RNG.integers(0, 12, (5, 8), dtype=np.uint8)
    for stored in (indices, indices.astype(np.uint16)):
        Image.fromarray(stored).save(path)
        np.testing.assert_array_equal(read_label_map(path), indices)

    palette = Image.fromarray(indices)
    palette.putpalette(RNG.integers(0, 256, 36, dtype=np.uint8).tolist())
    palette.save(path)
    np.testing.assert_array_equal(read_label_map(path), indices)

    # Gray PNG of 1, 2 and 4 bits: Pillow gives 0 and 255, steps of 85 and steps of 17.
    for bits in (1, 2, 4):
        values = indices % 2**bits
        binary = (values[:, :, None] >> np.arange(bits)[::-1]) & 1
        packed = np.packbits(binary.reshape(5, -1).astype(np.uint8), axis=1)
        rows = b"".join(b"\0" + row.tobytes() for row in packed)
        np.testing.assert_array_equal(read_label_map(png(path, 8, 5, bits, 0, rows)), values)


def test_tiff_keeps_gray_16_bit_and_indices(tmp_path: Path) -> None:
    gray, path = RGB[:, :, 0], tmp_path / "a.tif"
    for stored in (gray, (gray.astype(np.uint16) << 8) + 99):
        Image.fromarray(stored).save(path, compression="tiff_lzw")
        np.testing.assert_array_equal(read_rgb(path), np.stack([gray] * 3, axis=2))
    for kind in (np.uint8, np.uint16, np.int32, np.float32):
        Image.fromarray((gray % 12).astype(kind)).save(path)
        np.testing.assert_array_equal(read_label_map(path), gray % 12)
    Image.fromarray(gray > 99).save(path)
    np.testing.assert_array_equal(read_label_map(path), gray > 99)
    Image.fromarray(gray).save(path, compression="jpeg")
    with pytest.raises(UserError, match="JPEG changes label indices"):
        read_label_map(path)
    Image.fromarray(gray / np.float32(255)).save(path)
    with pytest.raises(UserError, match="not whole"):
        read_label_map(path)
    with pytest.raises(UserError, match="real numbers"):
        read_rgb(path)


@pytest.mark.parametrize(
    ("pixels", "name", "message"),
    [
        (RGB, "a.png", "colour image"),
        (RAMP[:, :, 0], "a.jpg", "JPEG changes label indices"),
        (np.full((3, 3), 256, np.uint16), "a.png", "value 256"),
    ],
)
def test_label_maps_that_cannot_be_indices(
    tmp_path: Path, pixels: np.ndarray, name: str, message: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / name)
    with pytest.raises(UserError, match=message) as caught:
        read_label_map(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "ppm"])
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))).save(whole)
    content = whole.read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for share in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError) as caught:
            open_image(path)
        assert str(path) in str(caught.value)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(RGB).save(tmp_path / "gif.png", "GIF")
    expected = {
        "empty": "empty file",
        "text": "not an 8- or 16-bit PNG, JPEG, WEBP, BMP, TIFF or PPM",
        "folder": "is a folder",
        "gif": "not an 8- or 16-bit PNG, JPEG, WEBP, BMP, TIFF or PPM",
        "missing": "no such file",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=message) as caught:
            open_image(tmp_path / f"{name}.png")
        assert f"{name}.png" in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    path.chmod(0)
    with pytest.raises(UserError, match="permissions"):
        open_image(path)


def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tiny file that says it has 400 megapixels, which Pillow itself refuses.
    bomb = png(tmp_path / "bomb.png", 20_000, 20_000, 8, 0, bytes(20_001))
    with pytest.raises(UserError, match="more than 100,000,000 pixels"):
        open_image(bomb)
    # Between our limit and Pillow's, which only warns.
    monkeypatch.setattr(images, "MAX_PIXELS", RGB[:, :, 0].size - 1)
    Image.fromarray(RGB).save(tmp_path / "large.png")
    with pytest.raises(UserError, match="more than 53 pixels"):
        open_image(tmp_path / "large.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "ppm"])
def test_random_damage_gives_pixels_or_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(path, **({} if suffix in ("bmp", "ppm") else {"exif": exif}))
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(content)
        for place in rng.integers(0, min(len(content), 300), 3):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        for read in (read_rgb, read_label_map):
            with contextlib.suppress(UserError):  # any other error fails the test
                assert read(path).dtype == np.uint8
