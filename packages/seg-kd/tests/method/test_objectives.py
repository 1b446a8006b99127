"""The presets are what the documentation says, and impossible objectives are refused."""

from dataclasses import replace

import pytest

from repro_shared.runtime.errors import UserError
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, OBJECTIVES, PLAIN


def test_presets():
    assert list(OBJECTIVES) == ["plain", "logit", "feature", "feature+logit"]
    weights = {name: (o.logit_weight, o.feature_weight) for name, o in OBJECTIVES.items()}
    assert weights == {
        "plain": (0, 0),
        "logit": (1, 0),
        "feature": (0, 10),
        "feature+logit": (1, 10),
    }
    assert [o.needs_teacher for o in OBJECTIVES.values()] == [False, True, True, True]
    assert replace(FEATURE, name="feature+logit", logit_weight=1.0) == FEATURE_LOGIT
    assert replace(LOGIT, name="plain", logit_weight=0.0) == PLAIN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logit_weight": -1.0}, "objective logit: logit_weight must be 0 or more, got -1.0"),
        ({"feature_weight": float("nan")}, "feature_weight must be 0 or more, got nan"),
        ({"logit_weight": float("inf")}, "logit_weight must be 0 or more, got inf"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"reduction": "mean"}, "reduction 'mean' is none of pixel_mean, element_mean, batch_sum"),
        ({"normalise": "l2"}, "normalise 'l2' is none of none, channel-std"),
        ({"distance": "l1"}, "distance 'l1' is none of mse"),
        ({"feature_reduction": "sum"}, "'sum' is none of element_mean, batch_sum"),
        ({"layer": "c5"}, "layer 'c5' is none of pre-classifier, c4"),
        ({"resolution": "image"}, "resolution 'image' is none of logit, label"),
    ],
)
def test_impossible_objectives_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(LOGIT, **change)
