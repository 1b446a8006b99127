"""The search for image files that cannot be used, before a run meets them half-way."""

from collections.abc import Iterable
from pathlib import Path

from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.images import open_image


def scan_images(paths: Iterable[str | Path]) -> list[tuple[Path, str]]:
    """Decode every file in full and report those that fail.

    Args:
        paths: Image files.

    Returns:
        (path, reason in one line) of each unusable file, in the order given: missing, empty,
        truncated, damaged, too large, or no PNG, JPEG, WEBP or BMP.
    """
    bad = []
    for path in map(Path, paths):
        try:
            open_image(path)
        except UserError as error:
            bad.append((path, str(error).removeprefix(one_line(f"{path}:")).lstrip()))
    return bad
