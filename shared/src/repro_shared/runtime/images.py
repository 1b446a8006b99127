"""Opening image files that nobody has vouched for: sound pixels, or one line of error."""

import struct
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.progress import Progress

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")

# 100 megapixels are 300 MB of RGB; Pillow itself would only warn up to 179 megapixels.
MAX_PIXELS = 100_000_000
_AT_ONCE = 500  # files that are handed to the threads of a scan

# What Pillow's decoders raise on broken files, as fuzzing of the formats shows.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)

# EXIF orientation -> what shows the picture upright.
_T = Image.Transpose
_UPRIGHT = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE}
_UPRIGHT |= {6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90}


def open_image(path: str | Path) -> Image.Image:
    """Open an image file, whose content decides the format, and decode all of its pixels.

    UserError names a file that is missing, empty, truncated, too large or not of `FORMATS`.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: empty file (0 bytes); replace or remove it")
        with warnings.catch_warnings():
            # Pillow warns of bombs and odd metadata; our own size check below is stricter.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                image.load()
                return image
    except Image.DecompressionBombError:
        reason = f"declares more than {MAX_PIXELS:,} pixels; scale it down or remove it"
    except FileNotFoundError:
        reason = "no such file"
    except PermissionError:
        reason = "may not be read; check its permissions"
    except IsADirectoryError:
        reason = "is a folder, not an image file"
    except UnidentifiedImageError:
        reason = "not an 8- or 16-bit PNG, JPEG, WEBP, BMP, TIFF or PPM image"
    except _DECODER_ERRORS as error:
        reason = f"truncated or damaged image ({str(error) or type(error).__name__}); replace it"
    raise UserError(f"{path}: {reason}")


def scan_images(paths: Sequence[str | Path], threads: int = 1) -> list[tuple[Path, str]]:
    """Decode every file in full; (path, reason in one line) of each unusable one, in order."""
    bad, files = [], [Path(path) for path in paths]
    with Progress(len(files), "images checked") as progress, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), _AT_ONCE):
            part = files[start : start + _AT_ONCE]
            bad += [(p, why) for p, why in zip(part, pool.map(_problem, part), strict=True) if why]
            progress.update(start + len(part))
    return bad


def _problem(path: Path) -> str:
    try:
        open_image(path)
    except UserError as error:
        return str(error).removeprefix(one_line(f"{path}:")).lstrip()
    return ""


def read_rgb(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture as RGB, uint8 (H, W, 3), upright as EXIF says.

    UserError as `open_image`; also for pixels that are real numbers, whose range nobody knows.
    """
    image = _upright(open_image(path))
    if image.mode == "F":
        raise UserError(f"{path}: pixels are real numbers; store the picture with 8 bits a channel")
    if image.mode.startswith("I"):
        # Pillow clips 16-bit gray at 255 when converting; keep its upper byte instead.
        gray = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(ground, image)
    return np.array(image.convert("RGB"))


def read_label_map(path: str | Path) -> NDArray[np.uint8]:
    """Read one class index per pixel, uint8 (H, W), as stored: gray values or palette positions.

    UserError as `open_image`; also for colour, JPEG (it changes indices), numbers that are not
    whole and values above 255.
    """
    path = Path(path)
    image = open_image(path)
    if "JPEG" in (image.format, str(image.info.get("compression")).upper()):
        raise UserError(f"{path}: JPEG changes label indices; store label maps as PNG")
    values = np.asarray(image)
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        raise UserError(f"{path}: label map with numbers that are not whole; store class indices")
    if values.ndim != 2:
        problem = "label map is a colour image, not one class index per pixel"
        raise UserError(f"{path}: {problem}; store indices, or give their colours (--palette)")
    if values.min() < 0 or values.max() > 255:
        raise UserError(f"{path}: label map with value {values.max()}; indices end at 255")
    step = 1
    if image.format == "PNG" and image.mode == "L":
        # Pillow stretches gray of 2 and 4 bits to 8; the depth stands behind signature and size.
        step = {2: 85, 4: 17}.get(path.read_bytes()[24], 1)
    return values.astype(np.uint8) // step


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it writes the EXIF data anew and fails where that is damaged,
    # though the picture is sound.
    with warnings.catch_warnings(), suppress(*_DECODER_ERRORS):
        warnings.simplefilter("ignore")
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
    return image
