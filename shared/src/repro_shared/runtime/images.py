"""Opening image files that nobody has vouched for.

Every reader of the house goes through here, so that a damaged, huge or mislabelled file ends in one
line that names it, never in a crash of a worker or a half-grey training image.
"""

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from repro_shared.runtime.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

# 100 megapixels are 300 MB of RGB; Pillow itself would only warn up to 179 megapixels.
MAX_PIXELS = 100_000_000

# What Pillow's decoders raise on broken files, as fuzzing of the four formats shows.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


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
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UserError(_too_large(path, f"{width} x {height} pixels"))
                image.load()
                return image
    except Image.DecompressionBombError:
        raise UserError(_too_large(path, "far more pixels")) from None
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
    image = ImageOps.exif_transpose(open_image(path))
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
        path: An 8-bit gray image whose values are the indices, an 8-bit palette image whose palette
            positions are the indices, or a 16-bit gray image with values up to 255. EXIF
            orientation is not applied: label maps are raw arrays.

    Returns:
        Indices, uint8 (H, W).

    Raises:
        UserError: As `open_image`; also for colour label maps, JPEG (lossy: it changes indices)
            and 16-bit values above 255.
    """
    image = open_image(path)
    if image.format == "JPEG":
        raise UserError(f"{path}: JPEG changes label indices; store label maps as PNG")
    if image.mode == "1":
        image = image.convert("L").point(lambda value: value // 255)
    if image.mode in ("L", "P"):
        return np.array(image)
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        highest, lowest = int(wide.max()), int(wide.min())
        if lowest < 0 or highest > 255:
            raise UserError(
                f"{path}: 16-bit label map with value {highest}; class indices end at 255"
            )
        return wide.astype(np.uint8)
    raise UserError(
        f"{path}: label map is a colour image (mode {image.mode}); "
        "expected one 8-bit class index per pixel"
    )


def _too_large(path: Path, size: str) -> str:
    return f"{path}: image of {size}, over the limit of {MAX_PIXELS:,}; scale it down first"
