"""`ofds ingest`: annotators' results in, and how far the money goes from here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import tyro

from ofds.method.budget import Budget
from ofds.use.dataset import Objects
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
from ofds.use.selected import Selected, read_selected
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text

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
        earlier: labels.json of an earlier round, for images that these results have not.
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
    earlier: str | None = None
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
    selected = read_selected(request.selection, request.files, repairs)
    done = None
    if request.done:
        source, listed = f"--done {request.done}", read_names(request.done)
        images = places(listed, source, selected.names, repairs, strict=True)
        done = [selected.dataset.images[place].name for place in images]
    made = results(
        request.labels, request.format, selected.dataset, selected.proposals, selected.shown,
        selected.sha256, repairs, request.empty, done, request.earlier, request.iou,
    )  # fmt: skip
    costs = _costs(request, selected, made)
    state = status(selected, made, costs, repairs)
    _write(request, made, costs, state)
    print(report(request.out, state, repairs), end="")


def _costs(request: Request, selected: Selected, made: Results) -> Costs:
    """True and predicted costs in the unit of the selection's budget, of the target classes."""
    head, labelled = selected.selection.header["budget"], made.labelled
    budget = Budget(head["amount"], head["unit"], head["preset"], head["looking"])
    given = head["costs"] == "given"

    def of(objects: Objects) -> Floats:
        pool = counted(made.dataset, objects, 0.0)
        by_name = dict(zip(pool.images, budget.costs(pool).tolist(), strict=True))
        return np.array([by_name[image.name] for image in made.dataset.images])

    objects, shown = made.dataset.objects, np.flatnonzero(selected.shown)
    predicted = np.zeros(len(labelled)) if given else of(selected.proposals.take(shown))
    predicted[selected.chosen] = [float(image["cost"]) for image in selected.selection.images]
    if request.costs:
        true = _paid(request, selected.names, made)
    elif given:
        true = predicted.copy()
    else:
        true = of(objects.take(np.flatnonzero(selected.targets[objects.label])))
    true = np.where(labelled, true, 0.0)
    mine = labelled.copy()
    mine[selected.before] = False
    known = np.isin(np.arange(len(mine)), selected.chosen) | (not given)
    if given and not request.costs and (unknown := np.flatnonzero(mine & ~known)).size:
        name = made.dataset.images[unknown[0]].name
        raise UserError(
            f"images that were not chosen are annotated ({unknown.size}, such as {name!r}), and "
            "the selection has no costs of them: give what they have cost with --costs"
        )
    seen = mine & known  # where costs are given, those of other images are not in the selection
    own = ratio(true[seen], predicted[seen])
    return Costs(predicted, true, own, float(true[mine].sum()), float(predicted[seen].sum()))


def _paid(request: Request, names: Names, made: Results) -> Floats:
    """Costs of annotated images, from a file that need not have the others."""
    assert request.costs
    own = [image.name for image in made.dataset.images if image.name in made.dataset.labelled]
    costs = np.zeros(len(names.exact))
    costs[[names.exact[name] for name in own]] = read_costs(
        request.costs, request.cost_column, Names(own), Repairs()
    )
    return costs


def _write(request: Request, made: Results, costs: Costs, state: dict[str, Any]) -> None:
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
        if state["budget"]["costs"] == "predicted":
            atomic_write_text(folder / COSTS, table.getvalue())
