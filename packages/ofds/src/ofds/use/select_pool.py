"""The pool that `ofds select` selects from: the proposals that count, with their features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Ints, Pool, make_pool
from ofds.use.dataset import Dataset, Objects
from ofds.use.features import Features
from ofds.use.photos import contents
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

if TYPE_CHECKING:
    from ofds.use.select_inputs import Request

Flags = NDArray[np.bool_]


def pool_of(
    dataset: Dataset,
    proposals: Objects,
    features: Features,
    wanted: NDArray[np.bool_],
    request: Request,
    repairs: Repairs,
) -> tuple[Pool, list[str]]:
    """The pool of the proposals that count, and the images whose files cannot be read."""
    files, names = request.files.found(), [image.name for image in dataset.images]
    source = files.proposals
    damaged = np.isin(proposals.row, features.damaged)
    if crowds := int(proposals.crowd.sum()):
        repairs.add("dropped: a crowd, which is no object", source, crowds)
    if others := int((~wanted[proposals.label]).sum()):
        repairs.add("left out: of a class that is not among --classes", source, others)
    usable = ~proposals.crowd & wanted[proposals.label]
    kept = usable & (proposals.score >= request.threshold)
    if not kept.any():
        best = proposals.score[usable].max(initial=0.0)
        why = f"the highest score is {best:g}" if usable.any() else "the file has none to use"
        raise UserError(
            f"{source}: no proposal reaches --threshold {request.threshold:g}; {why}"
            + "".join(f"; {line}" for line in repairs.lines() if line.find("dropped") >= 0)
        )
    if not (kept & ~damaged).any():
        raise UserError(f"{files.features}: no proposal that counts has features that are finite")
    _book_features(dataset, proposals, kept, damaged, features.blank, repairs)
    content, unread = None, list[str]()
    if request.folder:
        content, unread = contents(request.folder, names, repairs, request.missing == "skip")
    pool = make_pool(
        names,
        [each.name for each in dataset.categories],
        proposals.image[kept],
        proposals.label[kept],
        proposals.score[kept],
        proposals.box[kept],
        proposals.area[kept],
        features,
        np.where(damaged, -1, proposals.row)[kept],
        content,
    )
    return pool, unread


def _book_features(
    dataset: Dataset, proposals: Objects, kept: Flags, damaged: Flags, blank: Ints, repairs: Repairs
) -> None:
    """Book features that say nothing of an object, and classes that have no others."""
    for reason, rows in (
        ("features that are not finite: counted, but in no cluster", damaged),
        ("features that are all zero: clustered together", np.isin(proposals.row, blank)),
    ):
        for place in proposals.image[kept & rows]:
            repairs.add(reason, repr(dataset.images[place].name))
    for label in np.setdiff1d(proposals.label[kept], proposals.label[kept & ~damaged]):
        reason = "class without any features: it has no turn, its objects count for minima and cost"
        repairs.add(reason, repr(dataset.categories[label].name))
