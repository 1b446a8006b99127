"""The presets are what the published scripts say, and impossible terms are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from repro_shared.evidence.hashing import recipe_hash
from repro_shared.runtime.errors import UserError
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, OBJECTIVES, Objective
from seg_kd.rivals.adversarial import Adversarial
from seg_kd.rivals.cwd import ChannelWise
from seg_kd.rivals.generation import OmniContrast
from seg_kd.rivals.presets import NAMED, RIVALS
from seg_kd.rivals.skd import PairWise

GAN = {"adversarial": 0.001, "discriminator": 0.1}
WEIGHTS = {
    "skd": {"pair-wise": 10},
    "skd-as-published": {"logit": 1, "pair-wise": 10, **GAN},
    "ifvd": {"class-variation": 20},
    "ifvd-as-published": {"logit": 1, "class-variation": 20, **GAN},
    "cwd-logits": {"channel-wise": 3},
    "cwd-logits-mmrazor": {"channel-wise": 5},
    "cwd-features": {"channel-wise-features": 50},
    "cwd-as-published": {"logit": 1, "channel-wise-features": 50, "channel-wise": 3, **GAN},
    "at": {"attention": 10000},
    "at-as-published": {"logit": 1, "attention": 10000},
    "fitnet": {"feature": 10},
    "fitnet-as-published": {"logit": 1, "feature": 10},
    "dist": {"inter-class": 1, "intra-class": 1},
    "dist-as-published": {"inter-class": 1, "intra-class": 1},
    "cirkd-mini-batch": {"mini-batch": 1},
    "cirkd-memory": {"memory-pixel": 0.1, "memory-region": 0.1},
    "cirkd": {"mini-batch": 1, "memory-pixel": 0.1, "memory-region": 0.1},
    "cirkd-as-published": {"logit": 1, "mini-batch": 1, "memory-pixel": 0.1, "memory-region": 0.1},
    "mgd": {"generation": 2e-5},
    "mgd-as-published": {"generation": 2e-5, "channel-wise": 3},
    "af-dcd": {"generation": 2e-6, "contrast": 5e-3},
    "af-dcd-as-published": {"logit": 1, "generation": 2e-6, "contrast": 5e-3},
    "normalised-feature": {"feature": 10},
    "bpkd_like": {"edge": 50, "body": 20},
    "bpkd_like-equal": {"edge": 3, "body": 3},
}


def test_presets_have_the_published_weights() -> None:
    assert {name: each.weights for name, each in RIVALS.items()} == WEIGHTS
    assert {**OBJECTIVES, **RIVALS} == NAMED
    assert all(each.name == name for name, each in NAMED.items())
    assert RIVALS["dist-as-published"].terms[0].auxiliary == 0.4  # type: ignore[attr-defined]
    assert replace(RIVALS["fitnet"], name="feature") == FEATURE
    assert replace(RIVALS["fitnet-as-published"], name="feature+logit") == FEATURE_LOGIT


def test_every_part_has_its_equation() -> None:
    for each in RIVALS.values():
        equations = [function.__name__ for function in each.equations]
        assert equations
        assert each.needs_teacher


def test_parts_are_reweighted_and_left_out() -> None:
    published = RIVALS["skd-as-published"]
    lighter = published.reweighted({"pair-wise": 2.0, "logit": 0.0})
    assert lighter.weights == {"pair-wise": 2.0, **GAN}
    pure = published.reweighted({"logit": 0, "adversarial": 0, "discriminator": 0})
    assert replace(pure, name="skd") == RIVALS["skd"]
    assert published.reweighted({}) == published
    region = RIVALS["cirkd-memory"].reweighted({"memory-pixel": 0})
    assert region.weights == {"memory-region": 0.1}
    assert not RIVALS["skd"].reweighted({"pair-wise": 0}).needs_teacher


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"cwd": 1.0},
            "objective skd-as-published has no term 'cwd' to weigh: its terms are logit",
        ),
        ({"feature": 1.0}, "has no term 'feature' to weigh"),
        ({"pair-wise": -1.0}, "the weight of pair-wise must be 0 or more, got -1"),
        ({"pair-wise": float("nan")}, "the weight of pair-wise must be 0 or more, got nan"),
        ({"adversarial": 0.0}, "both weights are above 0, or both 0"),
    ],
)
def test_impossible_weights_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RIVALS["skd-as-published"].reweighted(weights)


def test_impossible_objectives_are_refused() -> None:
    with pytest.raises(UserError, match="pair-wise: all weights are 0, leave the term out"):
        PairWise(weight=0.0)
    with pytest.raises(UserError, match="objective twice: it has the term channel-wise twice"):
        Objective("twice", terms=(ChannelWise(), ChannelWise(temperature=1.0)))


def test_keys_of_earlier_objectives_are_as_they_were() -> None:
    found = {name: recipe_hash(each)[:12] for name, each in OBJECTIVES.items()}
    assert found == KEYS
    keys = {recipe_hash(each) for each in NAMED.values()}
    assert len(keys) == len(NAMED)
    assert recipe_hash(Objective("x", terms=(OmniContrast(pool=2),))) != recipe_hash(
        Objective("x", terms=(OmniContrast(),))
    )
    assert recipe_hash(Objective("x", terms=(Adversarial(),))) == recipe_hash(
        Objective("x", terms=(Adversarial(weight=0.001),))
    )


KEYS = {
    "plain": "10dc326bba79",
    "logit": "d28d3bf68fb8",
    "feature": "478a917fc8b4",
    "feature+logit": "a2005b278a42",
}
