"""A selection together with the pool that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofds.use.dataset import Dataset, Objects
from ofds.use.lists import Names, places
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.selection_file import Selection, read_selection
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file


@dataclass(frozen=True)
class Selected:
    """Chosen images and what is proposed on all.

    Attributes:
        selection: as it is stored.
        dataset: images and classes of the pool.
        names: its images by name.
        chosen: places of the chosen images, in order.
        before: places of those that were annotated before.
        targets: (classes,) that were selected for.
        proposals: on all images.
        shown: (proposals,) those that count: of a target class and of a sufficient score.
        crowds: (proposals,) regions of many objects, of the same: they count nowhere, but are kept.
        sha256: of the file of proposals.
    """

    selection: Selection
    dataset: Dataset
    names: Names
    chosen: list[int]
    before: list[int]
    targets: NDArray[np.bool_]
    proposals: Objects
    shown: NDArray[np.bool_]
    crowds: NDArray[np.bool_]
    sha256: str


def read_selected(
    path: str, files: PoolFiles, repairs: Repairs, threshold: float | None = None
) -> Selected:
    """Read a selection and its pool.

    Args:
        path: folder or selection.json of `ofds select` or `ofds sample`.
        files: the pool.
        repairs: books what is put right.
        threshold: of the score of proposals; by default what the selection was made with.

    Raises:
        UserError: one of the two cannot be read, or they do not belong together.
    """
    files = files.found("images", "proposals")
    selection = read_selection(path)
    sha256 = sha256_file(files.proposals)
    if selection.header["fingerprints"].get("proposals") not in (None, sha256):
        raise UserError(f"{path} was not made from the proposals {files.proposals}")
    dataset = files.dataset(repairs)
    listed = [(each["id"], each["name"]) for each in selection.header["classes"]]
    if listed != [(each.id, each.name) for each in dataset.categories]:
        raise UserError(f"{path} was made with other classes than those of {files.images}")
    settings = selection.header.get("settings", {})
    wanted = settings.get("classes", [name for _, name in listed])
    targets = np.array([each.name in wanted for each in dataset.categories], bool)
    if threshold is None:
        threshold = float(settings.get("threshold", 0.0))
    require(0 <= threshold <= 1, "--threshold", "0 to 1", threshold)
    proposals, _ = files.objects(dataset, repairs)
    names = Names([image.name for image in dataset.images])
    source = f"--selection {path}"
    enough = (proposals.score >= threshold) & targets[proposals.label]
    return Selected(
        selection, dataset, names,
        places(selection.names, source, names, repairs, strict=True),
        places(selection.header["annotated"], source, names, repairs),
        targets, proposals,
        enough & ~proposals.crowd, enough & proposals.crowd, sha256,
    )  # fmt: skip


def proposal_id(sha256: str, row: int) -> str:
    """The mark of a proposal: of which file, and which row."""
    return f"{sha256[:8]}-{row}"
