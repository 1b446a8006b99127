"""What was chosen on tuning data, seeds from 100 up; how, and all tries: results/protocol.md.

`seg-kd freeze` writes it into a file from the records of the screens, so nothing is copied by hand.
What that file does not say yet stands at a placeholder, and tables of final runs say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN

FILE = Path(__file__).parents[1] / "tables" / "settled.json"
FROZEN: Mapping[str, Mapping[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
"""By place, what `freeze.found` found in the screen's records."""
PLACES = ("camvid", "digits")


PLACEHOLDERS: Mapping[str, Mapping[str, Any]] = {
    "plateau": {"camvid": 3000, "digits": 1500},
    "first": dict.fromkeys(PLACES, ("cirkd", "cwd-logits", "dist")),
    "canonical": dict.fromkeys(PLACES, LOGIT.name),
    "rates": {name: {} for name in PLACES},
}


def _each(part: str) -> dict[str, Any]:
    return {name: FROZEN.get(name, {}).get(part, PLACEHOLDERS[part][name]) for name in PLACES}


PLATEAU: Mapping[str, int] = _each("plateau")
"""Iterations of a plain warm start."""

FIRST: Mapping[str, tuple[str, ...]] = {
    name: tuple(first) for name, first in _each("first").items()
}
"""The three rivals that came first in the screen; until then those with the largest, the smallest
and no other cost."""

CANONICAL: Mapping[str, str] = _each("canonical")
"""The canonical objective that rivals are compared with: the better one by its best try."""

TRIED = (0.01, 0.03, 0.1, 0.3)
"""Learning rates of the four tries that every arm gets."""

DEFAULT_RATE = 0.03
RATES: Mapping[str, Mapping[str, float]] = _each("rates")
"""The rate of each objective's best try; `DEFAULT_RATE` for one that has not been tried."""
PAIR_RATES: Mapping[str, float] = FROZEN.get("camvid", {}).get("pair_rates", {})
"""The same of the second pair."""

CANONICAL_NAMES = (LOGIT.name, FEATURE.name, FEATURE_LOGIT.name)
"""The canonical objectives by name."""


def ranked(place: str) -> bool:
    """Whether the screen has said which rivals take part."""
    return "first" in FROZEN.get(place, {})


def placeholders(place: str) -> tuple[str, ...]:
    """What has not been chosen by records yet, the rates of objectives that take part included."""
    found, named = FROZEN.get(place, {}), (PLAIN.name, *CANONICAL_NAMES)
    missing = [part for part in PLACEHOLDERS if part not in found]
    if "rates" in found and not {*named, *found.get("first", ())} <= {*found["rates"]}:
        missing.append("rates")
    if place == "camvid" and not {*named} <= {*found.get("pair_rates", ())}:
        missing.append("rates of the second pair")
    return tuple(missing)
