"""Opening image files that nobody has vouched for.

Every reader of the house goes through here, so that a damaged, huge or mislabelled file ends in one
line that names it, never in a crash of a worker or a half-grey training image.
"""

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from repro_shared.runtime.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

# 100 megapixels are 300 MB of RGB; Pillow itself would only warn up to 179 megapixels.
MAX_PIXELS = 100_000_000

# What Pillow's decoders raise on broken files, as fuzzing of the four formats shows.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)

# EXIF orientation -> what shows the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(path: str | Path) -> Image.Image:
    """Open an image file and decode all of its pixels.

    The content decides the format (PNG, JPEG, WEBP or BMP), not the file's name.

    Args:
        path: The file.

    Returns:
        The decoded image in the mode that the file has; of an animation, the first frame.

    Raises:
        UserError: The file is missing, empty, truncated, no image of these formats, or has more
            than `MAX_PIXELS` pixels. The line names the file.
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
        limit = f"more than {MAX_PIXELS:,} pixels"
        raise UserError(f"{path}: declares {limit}; scale it down or remove it") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except PermissionError:
        raise UserError(f"{path}: may not be read; check its permissions") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not an image file") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a PNG, JPEG, WEBP or BMP image") from None
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: truncated or damaged image ({reason}); replace it") from None


def read_rgb(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture as it is meant to be seen.

    Args:
        path: The file. Gray, palette, CMYK, 16-bit gray and transparent images are converted;
            transparent pixels are shown on black.

    Returns:
        RGB, uint8 (H, W, 3), with the EXIF orientation applied.

    Raises:
        UserError: As `open_image`.
    """
    image = _upright(open_image(path))
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
    """Read a segmentation label map: one class index per pixel.

    Args:
        path: A gray image of up to 8 bits whose values are the indices, a palette image whose
            palette positions are the indices, or a 16-bit gray image with values up to 255. EXIF
            orientation is not applied: label maps are raw arrays.

    Returns:
        Indices, uint8 (H, W).

    Raises:
        UserError: As `open_image`; also for colour label maps, JPEG (lossy: it changes indices)
            and 16-bit values above 255.
    """
    path = Path(path)
    image = open_image(path)
    if image.format == "JPEG":
        raise UserError(f"{path}: JPEG changes label indices; store label maps as PNG")
    if image.mode in ("1", "L", "P"):
        return np.asarray(image).astype(np.uint8) // _gray_step(path, image)
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 255:
            raise UserError(
                f"{path}: 16-bit label map with value {wide.max()}; class indices end at 255"
            )
        return wide.astype(np.uint8)
    raise UserError(
        f"{path}: label map is a colour image (mode {image.mode}); "
        "expected one 8-bit class index per pixel"
    )


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it writes the EXIF data anew and fails where that is damaged,
    # though the picture is sound.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        except _DECODER_ERRORS:
            return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _gray_step(path: Path, image: Image.Image) -> int:
    """What one step of a gray PNG's own values has become: Pillow stretches 2 and 4 bits to 8."""
    if image.format != "PNG" or image.mode != "L":
        return 1
    with path.open("rb") as file:
        bits = file.read(25)[24]  # after the signature, IHDR's length, name, width and height
    return {2: 85, 4: 17}.get(bits, 1)
