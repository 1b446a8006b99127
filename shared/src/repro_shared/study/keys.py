"""Keys: what decides the result of a run, and nothing else.

The key of a run is the arm's own config, the keys of what it starts from, the fingerprint of its
data, the method version and the seed. So another arm, table, claim or control leaves it as it is.
The git commit is recorded and no part of it. A key has two halves: what was to be run, which needs
no data to be known, and on what data with which seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from repro_shared.evidence.hashing import recipe_hash, text_of
from repro_shared.runtime.files import sha256_bytes
from repro_shared.study.paper import Arm, Paper

_DIGITS = 16  # of each half


def seed_of(arm: Arm, seed: int) -> int:
    """The arm's own seed, if it has one."""
    return seed if arm.seed is None else arm.seed


def recipe_key(paper: Paper, arm: Arm) -> str:
    """Of the arm's config, those of what it starts from, and the method version."""
    starts = [recipe_key(paper, start) for start in arm.starts_from]
    return _digits([recipe_hash(arm.config), paper.method_version, starts])


def data_key(arm: Arm, seed: int, fingerprint: Callable[[Arm], str]) -> str:
    """Of the seed and the data of the arm and of what it starts from."""
    starts = [data_key(start, seed, fingerprint) for start in arm.starts_from]
    return _digits([fingerprint(arm), seed_of(arm, seed), starts])


def _digits(form: Any) -> str:
    return sha256_bytes(text_of(form).encode())[:_DIGITS]
