"""What is generated in the package's README and in results/README.md."""

from __future__ import annotations

from collections.abc import Mapping

from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.results import Results


def blocks(found: Mapping[str, Results]) -> dict[str, dict[str, str]]:
    """The blocks of each document."""
    return {
        "README.md": {"verdicts": short_verdicts(found, headlines=True)},
        "results/README.md": {"verdicts": short_verdicts(found), "index": index(found)},
    }
