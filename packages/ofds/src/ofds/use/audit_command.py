"""`ofds audit`: one page of a selection, to look at and to keep."""

from __future__ import annotations

from typing import Annotated

import tyro

from ofds.use.audit.inputs import Request, read
from ofds.use.audit.page import page
from repro_shared.runtime.files import atomic_write_text

NOTHING = Request()


def audit(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Write one HTML page that shows what was chosen, why, for how much, and what is covered.

    Args:
        request: what to show.
    """
    given = read(request)
    text = page(given)
    atomic_write_text(request.out, text)
    shown = min(request.limit, len(given.selection.images))
    print(f"{request.out}: {shown} images, {len(text) / 1e6:.1f} MB")
