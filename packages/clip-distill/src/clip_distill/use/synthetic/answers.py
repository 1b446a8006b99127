"""Reading what a chat model answers: numbered lists and single words, as messy as they come."""

from __future__ import annotations

import re
import unicodedata

from clip_distill.use.prompts import without_weights

MOST_WORDS = 10  # of an option: four of them must fit into a prompt of 77 tokens
KIND_WORDS = 3

_DASHES = "\u2013\u2014"  # the two long ones
_ITEM = re.compile(rf"^\s*(?:[(\[]?\d{{1,3}}[.):\]]+|[-*\u2022{_DASHES}\u00b7])\s*(\S.*?)\s*$")
_ON_ONE_LINE = re.compile(r"\s+(?=\d{1,2}[.)]\s+\S)")
_REMARK = re.compile(rf"\s*(?::|\s[-{_DASHES}]\s|\(|;).*$")  # "a garden: dogs love it"
_MARKS = "*_`\"'#\u201c\u201d\u2018\u2019\u00ab\u00bb"


def listed(text: str) -> list[str]:
    """The items of a numbered or bulleted list, cleaned, each once, in their order.

    What stands before and after the list, remarks behind a colon, a dash or in brackets, marks of
    Markdown, quotation marks and weights such as ++ are taken off. An item without a letter, or of
    more than `MOST_WORDS` words, is left out.
    """
    normal = unicodedata.normalize("NFKC", text)
    lines = [match[1] for line in normal.splitlines() if (match := _ITEM.match(line))]
    if len(lines) < 2:  # all on one line: "1. a garden 2. a beach"
        apart = [part for line in normal.splitlines() for part in _ON_ONE_LINE.split(line)]
        lines = [match[1] for part in apart if (match := _ITEM.match(part))]
    found = dict[str, str]()
    for line in lines:
        item = cleaned(line)
        if 1 <= len(item.split()) <= MOST_WORDS and any(c.isalpha() for c in item):
            found.setdefault(item.casefold(), item)
    return list(found.values())


def kind_in(text: str, name: str) -> str:
    """The super-class that an answer names, in lower case; "" for an answer that is none.

    Args:
        text: the answer; its first line that is not empty counts.
        name: the class; a super-class that repeats it says nothing.
    """
    lines = [line for line in unicodedata.normalize("NFKC", text).splitlines() if line.strip()]
    if not lines:
        return ""
    match = _ITEM.match(lines[0])
    kind = cleaned(match[1] if match else lines[0]).lower()
    for article in ("a ", "an ", "the "):
        kind = kind.removeprefix(article)
    plain = all(word.replace("-", "").isalpha() for word in kind.split())
    fits = 1 <= len(kind.split()) <= KIND_WORDS and plain and kind != name.lower()
    return kind if fits else ""


def cleaned(item: str) -> str:
    """One phrase without marks, remarks and a capital at its beginning."""
    plain = item.strip().strip(_MARKS)
    plain = _REMARK.sub("", plain.replace("**", "").replace("__", ""))
    plain = " ".join(without_weights(plain).strip().strip(_MARKS).rstrip(".,!?").split())
    first = plain.split(" ")[0]
    if first[1:].islower() or len(first) == 1:  # not BBQ, not USA
        plain = plain[:1].lower() + plain[1:]
    return plain.strip(_MARKS)
