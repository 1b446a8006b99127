"""Generated blocks in Markdown files.

A block lies between `<!-- generated:NAME -->` and `<!-- /generated -->`, each on a line of its own,
in no code block.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text

_BEGIN, _END = re.compile(r"<!-- generated:([a-z0-9-]+) -->"), "<!-- /generated -->"


def render(text: str, blocks: Mapping[str, str]) -> str:
    """The Markdown with the content of its blocks, by name, replaced; UserError if they differ."""
    for name, content in blocks.items():
        if _END in map(str.strip, content.splitlines()):
            raise UserError(f"block {name}: its content holds the line {_END}")
    output: list[str] = []
    inside, fenced, unused = "", False, set(blocks)
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        marker = line.strip()
        begin = _BEGIN.fullmatch(marker)
        if inside:
            if begin:
                raise UserError(f"line {number}: block {begin[1]} begins inside block {inside}")
            if marker == _END:
                output.append(line)
                inside = ""
            continue
        output.append(line)
        fenced ^= marker.startswith(("```", "~~~"))
        if fenced:
            continue
        if marker == _END:
            raise UserError(f"line {number}: {_END} without a beginning")
        if begin:
            inside = begin[1]
            if inside not in blocks:
                raise UserError(f"line {number}: nothing generates block {inside}")
            unused.discard(inside)
            output.append(blocks[inside].strip("\n") + "\n")
    if inside:
        raise UserError(f"block {inside} has no line {_END}")
    for name in sorted(unused):
        raise UserError(f"no place for generated block {name}; add its two markers")
    return "".join(output)


def stale(path: Path | str, blocks: Mapping[str, str]) -> bool:
    """Whether `refresh` would change the file; UserError, with its name, as `render`."""
    return _new_text(path, blocks) is not None


def refresh(path: Path | str, blocks: Mapping[str, str]) -> bool:
    """Render the file in place, atomically; returns whether it changed."""
    text = _new_text(path, blocks)
    if text is not None:
        atomic_write_text(path, text)
    return text is not None


def _new_text(path: Path | str, blocks: Mapping[str, str]) -> str | None:
    try:
        before = Path(path).read_bytes().decode("utf-8")
        after = render(before, blocks)
        return after if after != before else None
    except OSError as error:
        problem = f"cannot read this file: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: {error.reason}"
    except UserError as error:
        problem = str(error)
    raise UserError(f"{path}: {problem}")
