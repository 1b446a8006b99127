"""Generated blocks: only their content changes, twice is once, mistakes are named."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_shared.evidence.blocks import refresh, render, stale
from repro_shared.runtime.errors import UserError

TEXT = """\
# Title
<!-- generated:papers -->
old
<!-- /generated -->
between
<!-- generated:results -->
<!-- /generated -->
end without newline"""


def test_render_by_hand() -> None:
    assert render(TEXT, {"papers": "| a |\n", "results": "\nx\n\ny"}) == (
        "# Title\n<!-- generated:papers -->\n| a |\n<!-- /generated -->\nbetween\n"
        "<!-- generated:results -->\nx\n\ny\n<!-- /generated -->\nend without newline"
    )


@settings(derandomize=True, max_examples=100)
@given(*[st.text(alphabet="ab |`#\n\r\u2028-<!>", max_size=30) for _ in range(4)])
def test_rendering_twice_is_rendering_once_and_the_rest_stays(
    before: str, old: str, new: str, after: str
) -> None:
    # Fences in the hand-written text are another test's subject.
    before, after = before.replace("`", ""), after.replace("`", "")
    begin, end = "<!-- generated:x -->\n", "<!-- /generated -->\n"
    once = render(f"{before}\n{begin}{old}\n{end}{after}", {"x": new})
    assert once.startswith(f"{before}\n{begin}")
    assert once.endswith(f"{end}{after}")
    assert render(once, {"x": new}) == once


def test_markers_in_a_fence_are_text_but_fences_in_a_block_are_content() -> None:
    shown = "```\n<!-- generated:example -->\n<!-- /generated -->\n```\n"
    block = "<!-- generated:x -->\n```\nunclosed\n<!-- /generated -->\n"
    assert render(shown + block, {"x": "```\n$ make\n```"}) == (
        shown + "<!-- generated:x -->\n```\n$ make\n```\n<!-- /generated -->\n"
    )


@pytest.mark.parametrize(
    ("text", "blocks", "complaint"),
    [
        ("<!-- generated:a -->\n", {"a": ""}, "block a has no line"),
        ("<!-- /generated -->\n", {}, "line 1: .* without a beginning"),
        ("\n<!-- generated:a -->\n<!-- /generated -->", {}, "line 2: nothing generates block a"),
        ("text", {"a": "x", "b": "y"}, "no place for generated block a;"),
        (
            "<!-- generated:a -->\n<!-- generated:b -->\n<!-- /generated -->",
            {"a": "", "b": ""},
            "line 2: block b begins inside block a",
        ),
        (
            "<!-- generated:a -->\n<!-- /generated -->",
            {"a": "x\n <!-- /generated -->\ny"},
            "block a: its content holds",
        ),
    ],
)
def test_mistakes_are_named(text: str, blocks: dict[str, str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        render(text, blocks)


def test_stale_and_refresh(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(TEXT, "utf-8")
    blocks = {"papers": "new", "results": ""}
    assert stale(path, blocks)
    assert path.read_text("utf-8") == TEXT  # asking does not change the file
    assert refresh(path, blocks)
    assert not stale(path, blocks)
    assert not refresh(path, blocks)
    assert stale(path, {**blocks, "papers": "newer"})


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    with pytest.raises(UserError, match=r"README\.md: cannot read"):
        stale(path, {})
    path.write_text("text", "utf-8")
    with pytest.raises(UserError, match=r"README\.md: no place"):
        refresh(path, {"a": ""})
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"README\.md: not UTF-8"):
        stale(path, {})
