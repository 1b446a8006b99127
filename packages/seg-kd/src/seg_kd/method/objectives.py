"""What a student is trained on beside its own cross-entropy: one frozen description per method."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from torch import Tensor

from repro_shared.evidence.hashing import UNRECORDED
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes
from seg_kd.method.losses import (
    Distance,
    FeatureReduction,
    Normalisation,
    Reduction,
    feature_distillation,
    logit_distillation,
)
from seg_kd.method.terms import Term

Layer = Literal["pre-classifier", "c4"]
Resolution = Literal["logit", "label"]

_OPTIONS: dict[str, object] = {
    "reduction": Reduction,
    "normalise": Normalisation,
    "distance": Distance,
    "feature_reduction": FeatureReduction,
    "layer": Layer,
    "resolution": Resolution,
}

Equation = Callable[..., Any]


@dataclass(frozen=True)
class OwnTerm:
    """A distillation term of one's own, see `objective`.

    Attributes:
        weight: what it is multiplied by, > 0.
        source: sha256 of the function's source: what it is, in records and keys.
        function: what is computed, or a class of modules that compute it.
    """

    weight: float
    source: str
    function: Equation = field(compare=False, metadata=UNRECORDED)


@dataclass(frozen=True)
class Objective:
    """total loss = cross-entropy (+ auxiliary) + logit_weight * logit + feature_weight * feature.

    The canonical terms are `losses.logit_distillation` and `losses.feature_distillation`; `terms`
    are others, each with its weights, and perhaps one is the user's. A weight of 0 leaves a term
    out altogether: without any no teacher is run.

    Attributes:
        name: how tables and records call it.
        logit_weight: weight of the logit term, >= 0.
        feature_weight: weight of the feature term, >= 0.
        temperature: T of the logit term, > 0.
        reduction: how the logit term is reduced.
        normalise: how both features are normalised.
        distance: how features are compared.
        layer: which features: `pre-classifier` (what the head's last 1x1 convolution reads, before
            dropout) or `c4` (the backbone's last stage).
        batch_norm: whether a batch norm follows the student's 1x1 projection.
        mask_ignored: whether positions labelled "ignore" are left out of the logit term. The
            popular code bases do not mask: the teacher has an opinion there too. The feature term
            is never masked.
        resolution: grid of the logit term: the student's logits, or both upsampled to the label.
        own: a term of the user's, which is added.
        feature_reduction: how the feature term is reduced.
        terms: further terms (`seg_kd.rivals`), which are added.
    """

    name: str
    logit_weight: float = 0.0
    feature_weight: float = 0.0
    temperature: float = 1.0
    reduction: Reduction = "pixel_mean"
    normalise: Normalisation = "none"
    distance: Distance = "mse"
    layer: Layer = "pre-classifier"
    batch_norm: bool = False
    mask_ignored: bool = False
    resolution: Resolution = "logit"
    own: OwnTerm | None = None
    feature_reduction: FeatureReduction = "element_mean"
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        for name, options in _OPTIONS.items():
            value = getattr(self, name)
            if value not in get_args(options):
                choices = ", ".join(get_args(options))
                raise UserError(f"objective {self.name}: {name} {value!r} is none of {choices}")
        for name in ("logit_weight", "feature_weight"):
            weight = getattr(self, name)
            if not 0 <= weight < float("inf"):
                raise UserError(f"objective {self.name}: {name} must be 0 or more, got {weight}")
        if not 0 < self.temperature < float("inf"):
            raise UserError(
                f"objective {self.name}: temperature must be above 0, got {self.temperature}"
            )
        names = [part for term in self.terms for part in term.parts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise UserError(f"objective {self.name}: it has the term {twice} twice")

    @property
    def equations(self) -> tuple[Callable[..., Tensor], ...]:
        """The terms that the student learns beside its cross-entropy."""
        logit = (logit_distillation,) if self.logit_weight else ()
        feature = (feature_distillation,) if self.feature_weight else ()
        others = (equation for term in self.terms for equation in term.equations)
        return (*logit, *feature, *others, *((self.own.function,) if self.own else ()))

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher has to be run at all."""
        return bool(self.weights or self.own)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part that is not left out, by name: logit, feature, those of terms."""
        found = {"logit": self.logit_weight, "feature": self.feature_weight}
        for term in self.terms:
            found |= term.weights
        return {part: weight for part, weight in found.items() if weight}

    def reweighted(self, weights: Mapping[str, float]) -> "Objective":
        """With other weights of its parts, 0 to leave one out.

        Raises:
            UserError: a part that it does not have, or a weight that cannot be one.
        """
        wanted = self.weights
        for part in (each for each in weights if each not in wanted):
            raise UserError(
                f"objective {self.name} has no term {part!r} to weigh: its terms are "
                f"{', '.join(wanted) or 'none'}"
            )
        wanted.update(weights)

        def changed(term: Term) -> Term:
            return replace(term, **{f: wanted.get(part, 0.0) for part, f in term.parts.items()})

        return replace(
            self,
            logit_weight=wanted.get("logit", 0.0),
            feature_weight=wanted.get("feature", 0.0),
            terms=tuple(changed(t) for t in self.terms if any(wanted.get(p) for p in t.parts)),
        )


PLAIN = Objective("plain")
"""Cross-entropy alone, no teacher."""

LOGIT = Objective("logit", logit_weight=1.0)
"""Canonical logit distillation: mean over pixels, T = 1, weight 1 (CIRKD's defaults)."""

FEATURE = Objective("feature", feature_weight=10.0)
"""Canonical feature distillation and nothing else: plain mean squared error of the pre-classifier
features. Weight 10 is CIRKD's for this loss; there it is always used together with logit
distillation, so this pure form is ours. Customary sweep: 1, 10, 50."""

FEATURE_LOGIT = Objective("feature+logit", logit_weight=1.0, feature_weight=10.0)
"""Feature (weight 10) and logit (weight 1) distillation together: what CIRKD calls FitNet."""

OBJECTIVES = {each.name: each for each in (PLAIN, LOGIT, FEATURE, FEATURE_LOGIT)}
"""The four presets by name."""


def objective(
    name: str, term: Equation, weight: float = 1.0, beside: Objective = PLAIN
) -> Objective:
    """An objective of one's own: cross-entropy, what `beside` has, and weight * term.

    Args:
        name: how tables and records call it; none of the presets'.
        term: called as `term(student, teacher, labels)` in every training step; returns the loss,
            one number. `student.logits()` and `teacher.logits()` are class scores (B, K, h, w),
            `.layer("pre-classifier")` and `.layer("c4")` features (B, C, h, w), each at its
            network's own resolution; `labels` are (B, H, W), 255 where unlabelled. No gradient
            reaches the teacher. Instead of a function, a class of modules: it is made as
            `term(student_channels, teacher_channels)`, of the pre-classifier features, called in
            the same way, and its parameters are trained with the student's. Runs are keyed by its
            source: when that changes, they are made anew; what it calls is not looked at.
        weight: what the term is multiplied by, > 0.
        beside: a preset whose terms are kept.

    Raises:
        UserError: a preset's name, a weight that is not positive, or a function without a source.
    """
    if name in OBJECTIVES:
        raise UserError(f"objective {name!r} is a preset: give yours another name")
    if not 0 < weight < float("inf"):
        raise UserError(f"objective {name}: weight must be above 0, got {weight}")
    try:
        source = inspect.getsource(term)
    except (OSError, TypeError) as error:
        raise UserError(
            f"objective {name}: its term must be a function or class in a file"
        ) from error
    return replace(beside, name=name, own=OwnTerm(weight, sha256_bytes(source.encode()), term))
