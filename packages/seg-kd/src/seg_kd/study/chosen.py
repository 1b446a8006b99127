"""The objectives that a user names, with the user's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from seg_kd.method.objectives import Objective
from seg_kd.rivals.presets import NAMED


def known_arms(names: Sequence[str]) -> tuple[str, ...]:
    """Names of objectives, each once; UserError for an unknown one."""
    for each in names:
        if each not in NAMED:
            raise UserError(f"--arms {each}: choose from {', '.join(NAMED)}")
    return tuple(dict.fromkeys(names))


def changed(
    objective: str,
    logit_weight: float | None = None,
    feature_weight: float | None = None,
    temperature: float | None = None,
    weights: tuple[str, ...] = (),
) -> Objective:
    """A preset with the user's settings; `weights` are NAME=VALUE of its terms, 0 to leave one out.

    Raises:
        UserError: no such objective, one without distillation, or a setting without a term.
    """
    taken = [each.name for each in NAMED.values() if each.needs_teacher]
    if objective not in taken:
        problem = f"unknown objective {objective!r}"
        if objective in NAMED:
            problem = f"objective {objective!r} has no distillation term (use `seg-kd train`)"
        raise UserError(f"{problem}: choose one of {', '.join(taken)}")
    parts = [_part_and_weight(text) for text in weights]
    twice = next((part for part, _ in parts if [p for p, _ in parts].count(part) > 1), None)
    if twice:
        raise UserError(f"--weights has {twice} twice")
    chosen = NAMED[objective].reweighted(dict(parts))
    for flag, value, term in (
        ("--logit-weight", logit_weight, chosen.logit_weight),
        ("--temperature", temperature, chosen.logit_weight),
        ("--feature-weight", feature_weight, chosen.feature_weight),
    ):
        if value is None:
            continue
        if not term:
            raise UserError(f"objective {objective!r} takes no {flag}: choose another, or leave it")
        require(0 < value < math.inf, flag, "above 0", value)
    if not chosen.needs_teacher:
        raise UserError(f"--weights leave objective {objective!r} no term (use `seg-kd train`)")
    return replace(
        chosen,
        logit_weight=chosen.logit_weight if logit_weight is None else logit_weight,
        feature_weight=chosen.feature_weight if feature_weight is None else feature_weight,
        temperature=chosen.temperature if temperature is None else temperature,
    )


def _part_and_weight(text: str) -> tuple[str, float]:
    part, _, value = text.partition("=")
    try:
        return part, float(value)
    except ValueError:
        raise UserError(f"--weights {text}: give TERM=NUMBER, e.g. logit=0.5") from None
