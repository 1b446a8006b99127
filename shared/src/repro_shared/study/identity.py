"""A data set is what its fingerprint says, whatever it is called."""

from __future__ import annotations

from repro_shared.study.protocols import Data, DataSource, NamedSet


def is_itself(source: DataSource, fingerprint: str) -> bool:
    """Whether data are those that their source is named for; "" is of data not seen yet."""
    if not isinstance(source, NamedSet) or source.known is None:
        return True
    return fingerprint in ("", *source.known)


def identified(source: DataSource, opened: Data) -> str:
    """The fingerprint of opened data, as far as `is_itself` needs it: some take hours to read."""
    return opened.fingerprint if isinstance(source, NamedSet) and source.known else "not read"


def sentence_of(source: DataSource, fingerprint: str) -> str:
    """What the pictures are and which are scored, for tables and figures."""
    if is_itself(source, fingerprint):
        return source.sentence
    assert isinstance(source, NamedSet)
    return f"{other_than(source)}{source.scoring}"


def other_than(source: NamedSet) -> str:
    """What a folder is that is not the set it was given as."""
    if source.known:
        return f"images of the given folder, not the {source.title} of the committed records"
    return f"images of the given folder, given as {source.title}, of which there is no record"


def name_of(source: DataSource, fingerprint: str) -> str:
    """The short name, in records."""
    itself = is_itself(source, fingerprint)
    return source.name if itself else f"a folder given as {source.name}"
