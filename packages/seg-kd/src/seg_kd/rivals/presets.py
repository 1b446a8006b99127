"""Every objective by name: what canonical distillation is compared with, each in two presets.

A bare name is the *pure* preset, a method's own term. `NAME-as-published` adds what its authors'
scripts, or CIRKD's for it, always add: logit distillation, the discriminator, a second term. So no
published number isolates a term, and both are of interest. A part is switched off by weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, OBJECTIVES, Objective
from seg_kd.method.terms import Term
from seg_kd.rivals.adversarial import Adversarial
from seg_kd.rivals.attention import Attention
from seg_kd.rivals.boundary import Boundary
from seg_kd.rivals.cirkd import Memory, MiniBatch
from seg_kd.rivals.cwd import ChannelWise, ChannelWiseFeatures
from seg_kd.rivals.dist import Correlation
from seg_kd.rivals.generation import MaskedGeneration, OmniContrast
from seg_kd.rivals.ifvd import ClassVariation
from seg_kd.rivals.skd import PairWise

PUBLISHED = "-as-published"


def _pure(name: str, *terms: Term) -> Objective:
    return Objective(name, terms=terms)


def _published(name: str, *terms: Term, logit_weight: float = 1.0) -> Objective:
    return Objective(name + PUBLISHED, logit_weight=logit_weight, terms=terms)


_ALL = (
    _pure("skd", PairWise()),
    _published("skd", PairWise(), Adversarial()),
    _pure("ifvd", ClassVariation()),
    _published("ifvd", ClassVariation(), Adversarial()),
    _pure("cwd-logits", ChannelWise()),
    # Constants of TorchDistiller's command, `channel kl 3 4`, and of CIRKD; mmrazor has others.
    _pure("cwd-logits-mmrazor", ChannelWise(weight=5.0, temperature=1.0)),
    _pure("cwd-features", ChannelWiseFeatures()),
    _published("cwd", ChannelWiseFeatures(), ChannelWise(), Adversarial()),
    _pure("at", Attention()),
    _published("at", Attention()),
    # What CIRKD calls FitNet is canonical feature distillation, with or without the logit term.
    replace(FEATURE, name="fitnet"),
    replace(FEATURE_LOGIT, name="fitnet" + PUBLISHED),
    # Its script changes weight decay (5e-4) and the floor of the rate (1e-4) too.
    _pure("dist", Correlation()),
    _published("dist", Correlation(auxiliary=0.4), logit_weight=0.0),
    _pure("cirkd-mini-batch", MiniBatch()),
    _pure("cirkd-memory", Memory()),
    _pure("cirkd", MiniBatch(), Memory()),
    _published("cirkd", MiniBatch(), Memory()),
    # Its use_logit term is channel-wise, weight 3 and T = 4.
    _pure("mgd", MaskedGeneration()),
    _published("mgd", MaskedGeneration(), ChannelWise(), logit_weight=0.0),
    # Its Cityscapes script asks for the enhanced generator, by a flag its parser does not know.
    _pure("af-dcd", OmniContrast()),
    _published("af-dcd", OmniContrast(enhanced=True)),
    # arXiv 2207.05256, of which we read the abstract only: normalisation by PKD's (2207.02039),
    # weight as plain features' (both ours), so there is no preset as published.
    replace(FEATURE, name="normalised-feature", normalise="channel-std"),
    # No preset as published: its training code never was.
    _pure("bpkd_like", Boundary()),
    _pure("bpkd_like-equal", Boundary(edge_weight=3.0, body_weight=3.0)),
)
PUBLISHED_MAP = (2048, 64, 128)
"""Channels and places of the R101 teacher's last map at 512 x 1024, stride 8: what the weights of
terms that depend on the size of maps were published for."""

RIVALS = {each.name: each for each in _ALL}
"""The objectives that are not canonical, by name."""

NAMED = {**OBJECTIVES, **RIVALS}
"""All objectives by name."""


def at_this_size(
    objective: Objective, channels: Mapping[str, int], grid: tuple[int, int]
) -> Objective:
    """With weights that do on small maps what the published ones do on the paper's (rule: ours).

    Masked generation is summed over channels and places, so its weight is divided by how much
    smaller the map is; attention transfer, a mean over places of vectors at length 1, grows as maps
    get smaller, so its weight is multiplied by it. Af-DCD's own weights follow the same rule: 8e-6
    on CamVid at 360 x 360 is 2e-6 for a quarter of the places. All others are means already.

    Args:
        objective: a preset with the published weights.
        channels: of the teacher's layers, by name.
        grid: height and width of the maps.
    """
    wide, *published = PUBLISHED_MAP
    places = math.prod(published) / math.prod(grid)

    def fitted(term: Term) -> Term:
        if isinstance(term, MaskedGeneration | OmniContrast):
            return replace(term, weight=term.weight * places * wide / channels[term.layer])
        return replace(term, weight=term.weight / places) if isinstance(term, Attention) else term

    return replace(objective, terms=tuple(map(fitted, objective.terms)))
