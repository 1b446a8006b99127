"""Objectives by name, with the user's weights, and names and weights that cannot be."""

from __future__ import annotations

import pytest

from repro_shared.runtime.errors import UserError
from seg_kd.rivals.presets import NAMED
from seg_kd.study.chosen import changed


def test_every_objective_is_chosen_by_its_name() -> None:
    for name, each in NAMED.items():
        if each.needs_teacher:
            assert changed(name) == each
    lighter = changed("cirkd-as-published", temperature=2.0, weights=("memory-pixel=0.01",))
    assert lighter.weights["memory-pixel"] == 0.01
    assert lighter.temperature == 2.0
    pure = changed("skd-as-published", weights=("logit=0", "adversarial=0", "discriminator=0"))
    assert pure.terms == NAMED["skd"].terms
    assert pure.weights == NAMED["skd"].weights


@pytest.mark.parametrize(
    ("objective", "weights", "message"),
    [
        ("skd", ("cwd=1",), "objective skd has no term 'cwd' to weigh: its terms are pair-wise$"),
        ("skd", ("logit=1",), "has no term 'logit' to weigh"),
        ("skd", ("pair-wise",), "--weights pair-wise: give TERM=NUMBER"),
        ("skd", ("pair-wise=much",), "--weights pair-wise=much: give TERM=NUMBER"),
        ("skd", ("pair-wise=-1",), "the weight of pair-wise must be 0 or more, got -1"),
        ("skd", ("pair-wise=0",), "--weights leave objective 'skd' no term"),
        ("skd", ("pair-wise=1", "pair-wise=2"), "--weights has pair-wise twice"),
        ("skdd", (), "unknown objective 'skdd': choose one of logit, feature,"),
    ],
)
def test_weights_that_cannot_be_are_one_line(
    objective: str, weights: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        changed(objective, weights=weights)


def test_flags_for_a_term_that_is_left_out_are_refused() -> None:
    for flag in ("logit_weight", "temperature"):
        with pytest.raises(UserError, match=f"takes no --{flag.replace('_', '-')}"):
            changed("skd-as-published", weights=("logit=0",), **{flag: 2.0})
