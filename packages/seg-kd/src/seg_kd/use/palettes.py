"""Files that say which colour of a label map is which class."""

from __future__ import annotations

import re
from pathlib import Path

from repro_shared.datasets.label_values import Colour
from repro_shared.runtime.errors import UserError


def read_palette(path: str) -> tuple[tuple[Colour, ...], tuple[str, ...]]:
    """Colours and names of the classes, from a file with a line `R G B name` or `name R G B` each.

    Spaces, tabs, commas or colons stand between them. Lines that begin with # and a first line
    without a colour are passed over.

    Raises:
        UserError: no such file, a line of another form, a colour above 255 or twice.
    """
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise UserError(f"--palette {path}: cannot be read ({error.strerror})") from None
    colours, names = list[Colour](), list[str]()
    for number, line in enumerate(lines, start=1):
        words = re.sub(r"[,:;]", " ", line).split()
        if not words or line.lstrip().startswith("#"):
            continue
        front, back = words[:3], words[-3:]
        if _numbers(front) and not _numbers(words[3:4]):
            colour, name = front, words[3:]
        elif _numbers(back) and not _numbers(words[:1]):
            colour, name = back, words[:-3]
        elif number == 1 and not any(map(str.isdecimal, words)):
            continue
        else:
            raise UserError(f"--palette {path}: line {number} is not `R G B name`: {line.strip()}")
        red, green, blue = map(int, colour)
        if max(red, green, blue) > 255 or (red, green, blue) in colours:
            problem = "stands there twice" if (red, green, blue) in colours else "is above 255"
            raise UserError(f"--palette {path}: line {number}: colour {line.strip()} {problem}")
        colours.append((red, green, blue))
        names.append(" ".join(name) or f"class {len(names)}")
    if not colours:
        raise UserError(f"--palette {path}: holds no line `R G B name`")
    return tuple(colours), tuple(names)


def _numbers(words: list[str]) -> bool:
    return bool(words) and all(map(str.isdecimal, words))
