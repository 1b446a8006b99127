"""HTML and SVG as trees: tags are balanced and whatever a name holds is text."""

from __future__ import annotations

from xml.etree import ElementTree as Tree

Element = Tree.Element
Child = Element | str | int | None


def tag(name: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element.

    Args:
        name: of the tag.
        children: elements and text, in order; None is left out.
        attributes: `class_` is class, `aria_label` is aria-label; None is left out.
    """
    made = Element(name)
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else f"{value:.6g}"
            made.set(key.rstrip("_").replace("_", "-"), shown(text))
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif child is not None:
            text = shown(str(child))
            if last is None:
                made.text = (made.text or "") + text
            else:
                last.tail = (last.tail or "") + text
    return made


def shown(text: str) -> str:
    """Text without control characters, halves of surrogates and marks of direction."""
    return "".join(c if c.isprintable() else "?" for c in text)


def document(title: str, style: str, *body: Child) -> str:
    """A whole page; the style is CSS of our own."""
    sheet = Element("style")
    sheet.text = style
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        sheet,
    )
    root = tag("html", head, tag("body", *body), lang="en")
    return "<!doctype html>\n" + Tree.tostring(root, encoding="unicode", method="html") + "\n"
