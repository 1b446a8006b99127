"""HTML as trees."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from repro_shared.evidence.html import document, shown, tag


class Text(HTMLParser):
    """Collects the text and the tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.tags, self.titles = "", list[str](), list[str | None]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.found += data


def test_children_in_order() -> None:
    made = tag("p", "a", tag("b", "c"), "d", None, 5, tag("i"), class_="x", aria_label="y", z=None)
    text = ElementTree.tostring(made, encoding="unicode", method="html")
    assert text == '<p class="x" aria-label="y">a<b>c</b>d5<i></i></p>'


@given(st.text())
def test_whatever_a_name_holds_is_text(name: str) -> None:
    page = document("title", "p { color: red; }", tag("p", name, title=name))
    page.encode("utf-8")
    read = Text(page)
    assert read.tags == ["html", "head", "meta", "meta", "title", "style", "body", "p"]
    assert read.titles == [shown(name)]
    assert shown(name) in read.found
