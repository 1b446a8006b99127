"""`cg-augment audit`: one page of a set of generated images, to look at and to keep."""

from __future__ import annotations

from pathlib import Path

from cg_augment.use.audit.page import page
from cg_augment.use.audit.reading import read
from repro_shared.runtime.checks import require
from repro_shared.runtime.files import atomic_write_text


def audit(folder: str, *, out: str = "audit.html", limit: int = 200, side: int = 160) -> None:
    """Write one HTML page: accepted images and others by reason, confidences, counts and costs.

    Args:
        folder: that `generate` wrote, complete.
        out: the page; it needs no other file and runs nothing.
        limit: images of a class, and of a reason, that are shown as pictures.
        side: of the pictures in pixels.
    """
    require(limit >= 1, "--limit", "at least 1", limit)
    require(8 <= side <= 1024, "--side", "from 8 to 1024 pixels", side)
    given = read(folder)
    text = page(given, limit, side)
    atomic_write_text(Path(out), text)
    print(f"{out}: {len(given.accepted)} images accepted, {len(given.apart)} set apart, "
          f"{len(text) / 1e6:.1f} MB")  # fmt: skip
