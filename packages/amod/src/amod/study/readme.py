"""What is generated in the package's documents: verdicts, speed, and the index of the results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import amod
from amod.study.bench import table
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.results import Results
from repro_shared.timing.bench import read_benches

RESULTS = Path(amod.__file__ or "").parents[2] / "results"


def blocks(found: Mapping[str, Results]) -> dict[str, dict[str, str]]:
    """The blocks of each document."""
    claimed = {name: results for name, results in found.items() if results.study.claims}
    speed = "\n".join(table(bench).to_markdown() for bench in read_benches(RESULTS))
    return {
        "README.md": {
            "results": short_verdicts(claimed),
            "speed": speed or "No timings have been committed yet.\n",
        },
        "results/README.md": {"index": index(found)},
    }
