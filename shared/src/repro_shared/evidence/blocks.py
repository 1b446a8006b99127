"""Generated blocks inside hand-written Markdown.

A block lies between `<!-- generated:NAME -->` and `<!-- /generated -->`, each on a line of its own.
Markers inside a fenced code block are text like any other, so that a README can show them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text

_BEGIN = re.compile(r"<!-- generated:([a-z0-9-]+) -->")
_END = "<!-- /generated -->"


def render(text: str, blocks: Mapping[str, str]) -> str:
    """The text with the content of its blocks replaced; everything else is left as it is.

    Args:
        text: Markdown.
        blocks: Content by block name; a name may stand at several places.

    Raises:
        UserError: A block without an end or content, a content without a block, an end without a
            beginning, or a content that holds an end marker.
    """
    for name, content in blocks.items():
        if any(line.strip() == _END for line in content.splitlines()):
            raise UserError(f"block {name}: its content holds the line {_END}")
    output: list[str] = []
    seen: set[str] = set()
    inside: str | None = None
    fenced = False
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        begin = _BEGIN.fullmatch(line.strip())
        if inside is not None:
            if line.strip() == _END:
                output.append(line)
                inside = None
            elif begin:
                raise UserError(f"line {number}: block {begin[1]} begins inside block {inside}")
            continue
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        output.append(line)
        if fenced:
            continue
        if line.strip() == _END:
            raise UserError(f"line {number}: {_END} without a beginning")
        if begin:
            inside = begin[1]
            if inside not in blocks:
                raise UserError(f"line {number}: nothing generates block {inside}")
            seen.add(inside)
            output.append(blocks[inside].strip("\n") + "\n")
    if inside is not None:
        raise UserError(f"block {inside} has no line {_END}")
    if unused := sorted(set(blocks) - seen):
        raise UserError(f"no place for generated block {', '.join(unused)}; add its two markers")
    return "".join(output)


def stale(path: Path | str, blocks: Mapping[str, str]) -> bool:
    """Whether `refresh` would change the file.

    Raises:
        UserError: As `render`, with the file's name, or the file cannot be read.
    """
    before, after = _read_and_render(path, blocks)
    return before != after


def refresh(path: Path | str, blocks: Mapping[str, str]) -> bool:
    """Renders the file in place, atomically; returns whether it changed."""
    before, after = _read_and_render(path, blocks)
    if before != after:
        atomic_write_text(path, after)
    return before != after


def _read_and_render(path: Path | str, blocks: Mapping[str, str]) -> tuple[str, str]:
    try:
        before = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot read this file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error.reason}") from error
    try:
        return before, render(before, blocks)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
