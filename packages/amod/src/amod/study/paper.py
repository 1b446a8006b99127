"""The paper and this software, for citations."""

from __future__ import annotations

from amod import __version__
from repro_shared.evidence.measured import Paper, Repository

PAPER = Paper(
    key="gadhikar2024attention",
    title="Attention Is All You Need For Mixture-of-Depths Routing",
    authors=(
        "Advait Gadhikar",
        "Souptik Kumar Majumdar",
        "Niclas Popp",
        "Piyapat Saranrittichai",
        "Martin Rapp",
        "Lukas Schott",
    ),
    year=2024,
    arxiv="2412.20875",
    version=1,
)
REPOSITORY = Repository(
    key="amod_reproduction",
    title="amod: an independent reproduction of arXiv 2412.20875",
    version=__version__,
    year=2026,
)
