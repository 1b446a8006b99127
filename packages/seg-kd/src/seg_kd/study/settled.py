"""What was chosen on tuning data, seeds from 100 up; how, and all tries: results/protocol.md."""

from __future__ import annotations

from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT

PLATEAU = {"camvid": 6000, "digits": 3000}
"""Iterations of a plain warm start."""

FIRST = {
    "camvid": ("cirkd", "cwd-logits", "dist"),
    "digits": ("cirkd", "cwd-logits", "dist"),
}
"""The three rivals that came first in the screen, by `screen.first`; a test holds this to the
screen's records. Until it has been run: those with the largest, the smallest and no other cost."""

CANONICAL = {"camvid": LOGIT.name, "digits": LOGIT.name}
"""The canonical objective that rivals are compared with: the better one by its best try."""

TRIED = (0.01, 0.03, 0.1, 0.3)
"""Learning rates of the four tries that every arm gets."""

DEFAULT_RATE = 0.03
RATES: dict[str, dict[str, float]] = {"camvid": {}, "digits": {}}
"""The rate of each objective's best try; `DEFAULT_RATE` for one that has not been tried."""

CANONICAL_NAMES = (LOGIT.name, FEATURE.name, FEATURE_LOGIT.name)
"""The canonical objectives by name."""
