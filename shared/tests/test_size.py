"""The house rule: what the papers share stays small enough to read in an afternoon."""

from pathlib import Path

LIMIT = 3000


def test_the_shared_sources_stay_below_their_limit() -> None:
    sources = (Path(__file__).parents[1] / "src").rglob("*.py")
    lines = sum(source.read_bytes().count(b"\n") for source in sources)
    assert lines <= LIMIT, f"shared/src has {lines} lines, at most {LIMIT} are allowed"
