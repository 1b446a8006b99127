"""The small centre-point detector of `ofds.use.nets`, on images of any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ofds.use.nets.committed import DIGITS, digits
from ofds.use.nets.detector import as_tensor
from ofds.use.proposers.hub import Machine
from ofds.use.proposers.interface import Detections, Picture, inside
from repro_shared.runtime.errors import UserError

THRESHOLD = 0.3  # ours
MULTIPLE = 16  # of which the network needs the sides


class CentrePointDetector:
    """The detector that comes along, `digits`, of which the wanted classes are kept.

    Images are taken as they are, with black below and on the right up to a multiple of 16: objects
    of the size that it was trained on (14 to 40 pixels) are found, larger ones are not.

    Args:
        classes: that are wanted.
        machine: that it runs on.
    """

    threshold = THRESHOLD

    def __init__(self, classes: Sequence[str], machine: Machine) -> None:
        known = digits()
        if missing := [each for each in classes if each not in known.classes]:
            have = ", ".join(known.classes)
            raise UserError(f"--detector digits has no class {missing[0]!r}; it has {have}")
        self.column = [known.classes.index(each) for each in classes]
        self.model, self.machine = known.model.to(machine.device), machine
        self.about = {"model": "centre points", "sha256": DIGITS, "preprocessing": "none"}

    def detect(self, images: Sequence[Picture], least: float) -> list[Detections]:
        """See `Detector`; images of one size go through the network together."""
        found = dict[int, Detections]()
        for size in sorted({image.shape for image in images}):
            places = [place for place, image in enumerate(images) if image.shape == size]
            pixels = as_tensor(np.stack([images[place] for place in places]))
            height, width = size[:2]
            pads = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
            with self.machine.running():
                padded = torch.nn.functional.pad(pixels, pads).to(self.machine.device)
                results = self.model.detect(padded)
            for place, each in zip(places, results, strict=True):
                boxes, scores = (self.machine.numpy(each[n]) for n in ("boxes", "class_scores"))
                # A peak belongs to the class whose map it is a peak of, known or wanted or not.
                own = np.isin(each["labels"].cpu().numpy(), self.column)
                kept = np.flatnonzero(own & (each["scores"].cpu().numpy() >= least))
                seen = Detections(inside(boxes, width, height), scores[:, self.column])
                found[place] = seen.of(kept)
        return [found[place] for place in range(len(images))]
