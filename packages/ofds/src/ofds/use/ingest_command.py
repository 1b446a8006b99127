"""`ofds ingest`: annotators' results in, and how far the money goes from here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import tyro

from ofds.method.budget import Budget
from ofds.use.dataset import Dataset, Objects
from ofds.use.folders import check_empty, new_folder
from ofds.use.formats.coco import content
from ofds.use.formats.reading import Format
from ofds.use.ingest_account import Floats, ratio
from ofds.use.ingest_results import Empty, Results, results
from ofds.use.ingest_status import Costs, report, status
from ofds.use.lists import Names, places, read_costs, read_names
from ofds.use.matching import IOU
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.sample_command import counted
from ofds.use.select_command import number
from ofds.use.selection_file import Selection, read_selection
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text, sha256_file

LABELS, STATUS, NEXT, COSTS = "labels.json", "status.json", "next.txt", "costs.csv"


@dataclass(frozen=True)
class Request:
    """What came back, and what it was made from.

    Attributes:
        files: the pool that was selected from; features are not read.
        selection: folder or selection.json of `ofds select`.
        labels: results, a file or a folder.
        format: that they are in: coco, voc, yolo, label-studio (JSON), or cvat (COCO 1.0).
        out: a new folder for labels.json, status.json, next.txt and costs.csv.
        empty: whether images without annotations are labelled, where the format does not say.
        done: list of the images that are annotated: counts more than what the format says.
        costs: CSV with what the images have cost (image, file_name or name; and a column of costs);
            by default the unit of the budget is counted on the objects.
        cost_column: the column of costs in it.
        iou: overlap that makes an object a proposal, where it has no mark of ours.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    selection: str = ""
    labels: str = ""
    format: Format = "coco"
    out: str = ""
    empty: Empty = "ask"
    done: str | None = None
    costs: str | None = None
    cost_column: str = "cost"
    iou: float = IOU


NOTHING = Request()


def ingest(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Read annotators' results: true cost, coverage so far, and how many images come next.

    Args:
        request: what came back.
    """
    for flag in ("selection", "labels", "out"):
        if not getattr(request, flag):
            raise UserError(f"--{flag} is missing; see `ofds ingest --help`")
    check_empty(request.out)
    require(0 < request.iou <= 1, "--iou", "above 0, at most 1", request.iou)
    repairs = Repairs()
    files = request.files.found("images", "proposals")
    selection = read_selection(request.selection)
    dataset = files.dataset(repairs)
    proposals, _ = files.objects(dataset, repairs)
    sha256 = sha256_file(files.proposals)
    if selection.header["fingerprints"].get("proposals") not in (None, sha256):
        raise UserError(f"{request.selection} was not made from the proposals {files.proposals}")
    names, done = Names([image.name for image in dataset.images]), None
    if request.done:
        source = f"--done {request.done}"
        listed = places(read_names(request.done), source, names, repairs, strict=True)
        done = [dataset.images[place].name for place in listed]
    threshold = float(selection.header.get("settings", {}).get("threshold", 0.0))
    shown = (proposals.score >= threshold) & ~proposals.crowd
    made = results(
        request.labels, request.format, dataset, proposals, shown, sha256, repairs,
        request.empty, done, request.iou,
    )  # fmt: skip
    costs = _costs(request, selection, made, proposals, threshold, names, repairs)
    state = status(selection, made, proposals, shown, costs, names, repairs)
    _write(request, made, costs, state, selection)
    print(report(request.out, state, repairs), end="")


def _costs(
    request: Request, selection: Selection, made: Results, proposals: Objects, threshold: float,
    names: Names, repairs: Repairs,
) -> Costs:  # fmt: skip
    """True and predicted costs in the unit of the selection's budget."""
    head, dataset = selection.header["budget"], made.dataset
    budget = Budget(head["amount"], head["unit"], head["preset"], head["looking"])
    chosen = places(selection.names, "--selection", names, repairs, strict=True)
    paid = np.array([float(image["cost"]) for image in selection.images])
    labelled = made.labelled
    given = head["costs"] == "given"

    def of(objects: Objects, least: float) -> Floats:
        pool = counted(dataset, objects, least)
        by_name = dict(zip(pool.images, budget.costs(pool).tolist(), strict=True))
        return np.array([by_name[image.name] for image in dataset.images])

    predicted = np.zeros(len(dataset.images)) if given else of(proposals, threshold)
    predicted[chosen] = paid
    if request.costs:
        true = _paid(request, names, dataset, labelled, repairs)
    else:
        true = predicted.copy() if given else of(made.dataset.objects, 0.0)
    true = np.where(labelled, true, 0.0)
    before = places(selection.header["annotated"], "--selection", names, repairs)
    mine = labelled.copy()
    mine[before] = False
    seen = [place for place in chosen if mine[place]]
    return Costs(predicted, true, ratio(true[seen], predicted[seen]), float(true[mine].sum()))


def _paid(
    request: Request, names: Names, dataset: Dataset, labelled: Any, repairs: Repairs
) -> Floats:
    """Costs of annotated images, from a file that need not have the others."""
    assert request.costs
    own = [image.name for image, known in zip(dataset.images, labelled, strict=True) if known]
    found, all_ = read_costs(request.costs, request.cost_column, Names(own), Repairs()), names.exact
    costs = np.zeros(len(all_))
    costs[[all_[name] for name in own]] = found
    return costs


def _write(
    request: Request, made: Results, costs: Costs, state: dict[str, Any], selection: Selection
) -> None:
    dataset, labelled = made.dataset, made.labelled
    kept = np.flatnonzero(labelled)
    renumbered = np.cumsum(labelled) - 1
    own = replace(
        dataset,
        images=tuple(dataset.images[int(place)] for place in kept),
        objects=replace(dataset.objects, image=renumbered[dataset.objects.image]),
    )
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file_name", "cost"])
    expected = np.where(labelled, costs.true, costs.predicted * costs.ratio.value)
    for image, cost in zip(dataset.images, expected.tolist(), strict=True):
        writer.writerow([image.name, number(cost)])
    coming = state["images"]["unlabelled"][: state["next"]["images"]]
    with new_folder(request.out) as folder:
        atomic_write_json(folder / LABELS, content(own))
        atomic_write_json(folder / STATUS, state)
        atomic_write_text(folder / NEXT, "".join(f"{name}\n" for name in coming))
        if selection.header["budget"]["costs"] == "predicted":
            atomic_write_text(folder / COSTS, table.getvalue())
