"""The paper and this software, for citations."""

from __future__ import annotations

from repro_shared.evidence.measured import Paper, Repository
from seg_kd import __version__

PAPER = Paper(
    key="ali2026canonical",
    title=(
        "The Surprising Effectiveness of Canonical Knowledge Distillation for Semantic Segmentation"
    ),
    authors=(
        "Muhammad Ali",
        "Kevin Alexander Laube",
        "Madan Ravi Ganesh",
        "Lukas Schott",
        "Niclas Popp",
        "Thomas Brox",
    ),
    year=2026,
    arxiv="2604.25530",
    version=2,
)
REPOSITORY = Repository(
    key="seg_kd_reproduction",
    title="seg-kd: an independent reproduction of arXiv 2604.25530",
    version=__version__,
    year=2026,
)
