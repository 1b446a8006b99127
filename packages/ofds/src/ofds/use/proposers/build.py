"""Which model a name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ofds.use.lists import read_names
from ofds.use.proposers.classes import Classes
from ofds.use.proposers.given import SUFFIXES, Given
from ofds.use.proposers.hub import Machine, config_of, folder_of
from ofds.use.proposers.interface import Detector, Featurizer, Masker
from repro_shared.runtime.errors import UserError

TORCHVISION = "torchvision:"
DIGITS = "digits"
READING = ("grounding-dino", "mm-grounding-dino")


@dataclass(frozen=True)
class Choice:
    """Which models, by name; see `ofds.use.propose_command.Request`."""

    detector: str
    images: str | None = None
    detector_weights: str = ""
    labels: str = ""
    masker: str = ""
    features: str = ""
    feature_weights: str = ""
    side: int = 0
    regions: Any = "auto"


@dataclass(frozen=True)
class Models:
    """What makes proposals.

    Attributes:
        detector: finds objects.
        masker: outlines them, or None: the detector's own outlines, if it has any.
        features: describes them; "detector" or "masker": what these know of an object; None: no
            features.
    """

    detector: Detector
    masker: Masker | None = None
    features: Featurizer | str | None = None

    @property
    def about(self) -> dict[str, Any]:
        """For the manifest."""
        features = self.features
        named = features is None or isinstance(features, str)
        return {
            "detector": dict(self.detector.about),
            "masker": dict(self.masker.about) if self.masker else None,
            "features": features if named else dict(features.about),  # type: ignore[union-attr]
        }


def build(choice: Choice, classes: Classes, machine: Machine) -> Models:
    """The models of these names.

    Raises:
        UserError: a name that is none, weights that are not there, options that do not fit.
    """
    try:
        detector = _detector(choice, classes, machine)
        masker = _masker(choice.masker, machine) if choice.masker else None
        return Models(detector, masker, _features(choice, masker, machine))
    except ImportError as error:
        missing = error.name or "a library"
        raise UserError(f"{missing} is not installed: pip install 'ofds[models]'") from None


def _detector(choice: Choice, classes: Classes, machine: Machine) -> Detector:
    name = choice.detector
    if classes.shown and not _is(name, "owlv2"):
        raise UserError("--query needs a detector that looks at pictures of classes: OWLv2")
    if name.startswith(TORCHVISION):
        from ofds.use.proposers.torchvision_detectors import TorchvisionDetector

        own = [line.strip() for line in read_names(choice.labels)] if choice.labels else []
        return TorchvisionDetector(
            name.removeprefix(TORCHVISION), choice.detector_weights, own, classes.names, machine
        )
    if is_given(name):
        return Given(name, choice.images, classes.names)
    if name == DIGITS:
        from ofds.use.proposers.centre_point import CentrePointDetector

        return CentrePointDetector(classes.names, machine)
    folder = folder_of(name, "--detector")
    kind = config_of(folder).get("model_type")
    if kind in READING:
        from ofds.use.proposers.grounding import GroundingDino

        return GroundingDino(folder, classes.said, machine)
    if kind == "owlv2":
        from ofds.use.proposers.owl import Owl

        return Owl(folder, classes.said, classes.shown, machine)
    if kind in ("sam3", "sam3_video"):
        from ofds.use.proposers.sam3 import Sam3

        return Sam3(folder, classes.said, machine)
    raise UserError(
        f"--detector {name}: its config.json says {kind!r}; known are Grounding DINO, "
        f"MM-Grounding-DINO, OWLv2 and SAM 3, {TORCHVISION}NAME, and {DIGITS}"
    )


def is_given(name: str) -> bool:
    """Is it a file of results, and no model?"""
    return name.lower().endswith(SUFFIXES)


def _is(name: str, kind: str) -> bool:
    if name.startswith(TORCHVISION) or name == DIGITS or is_given(name):
        return False
    return config_of(folder_of(name, "--detector")).get("model_type") == kind


def _masker(name: str, machine: Machine) -> Masker:
    folder = folder_of(name, "--masker")
    if (kind := config_of(folder).get("model_type")) not in ("sam2", "sam2_video"):
        raise UserError(f"--masker {name}: its config.json says {kind!r}; known is SAM 2")
    from ofds.use.proposers.sam2 import Sam2

    return Sam2(folder, machine)


def _features(choice: Choice, masker: Masker | None, machine: Machine) -> Featurizer | str | None:
    name = choice.features or ("masker" if masker else "lite0")
    if name == "none":
        return None
    if name == "masker" and masker is None:
        raise UserError("--features masker needs a --masker")
    if name in ("masker", "detector"):
        return name
    if name == "lite0":
        from ofds.use.proposers.crops import Lite0Crops

        return Lite0Crops(machine, choice.side)
    if ":" not in name:
        known = "masker, detector, lite0, none, timm:, open_clip: or torchvision: and a model"
        raise UserError(f"--features {name}: give one of {known}")
    from ofds.use.proposers.backbones import Backbone

    return Backbone(name, choice.feature_weights, machine, choice.side, choice.regions)
