"""BibTeX of a paper and of the software that measured."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """A paper on arXiv: its id without version, the version that was read, year of the first."""

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str
    version: int

    def bibtex(self) -> str:
        """A `@misc` entry as arXiv suggests it."""
        eprint = f"{self.arxiv}v{self.version}"
        fields = {"year": str(self.year), "eprint": eprint, "archivePrefix": "arXiv"}
        fields["url"] = f"https://arxiv.org/abs/{eprint}"
        return _entry(f"misc{{{self.key}", self.title, self.authors, fields)


@dataclass(frozen=True)
class Repository:
    """The software that measured; authors and url are left out of the entry where empty."""

    key: str
    title: str
    version: str
    year: int
    authors: tuple[str, ...] = ()
    url: str = ""

    def bibtex(self) -> str:
        """A `@software` entry (biblatex; plain BibTeX styles print it like `@misc`)."""
        fields = {"version": _tex(self.version), "year": str(self.year), "url": self.url}
        return _entry(f"software{{{self.key}", self.title, self.authors, fields)


def _entry(start: str, title: str, authors: tuple[str, ...], fields: dict[str, str]) -> str:
    author = " and ".join(map(_tex, authors))
    fields = {"title": f"{{{_tex(title)}}}", "author": author, **fields}
    lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
    return "\n".join([f"@{start},", *lines, "}"])


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)
