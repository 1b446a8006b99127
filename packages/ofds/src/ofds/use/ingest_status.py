"""How far annotation has come: what `ofds ingest` stores and prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ofds.use.ingest_account import Floats, Judged, Ratio, judged, prefix, share
from ofds.use.ingest_results import Results
from ofds.use.repairs import Repairs
from ofds.use.select_command import number
from ofds.use.selected import Selected
from repro_shared.evidence.tables import Column, Table


@dataclass(frozen=True)
class Costs:
    """Costs by image of the data set, (images,) each.

    Attributes:
        predicted: of the proposals that count.
        true: of annotated images, 0 elsewhere.
        ratio: between the two, on annotated images that this selection pays for.
        spent: true cost of these.
        expected: predicted cost of these.
    """

    predicted: Floats
    true: Floats
    ratio: Ratio
    spent: float
    expected: float


def status(selected: Selected, made: Results, costs: Costs, repairs: Repairs) -> dict[str, Any]:
    """All that `status.json` says; of the classes, those that were selected for."""
    head, labelled = selected.selection.header["budget"], made.labelled
    images = [image.name for image in made.dataset.images]
    done = [place for place in selected.chosen if labelled[place]]
    open_ = [place for place in selected.chosen if not labelled[place]]
    mine = {*selected.chosen, *selected.before}
    extra = [place for place in np.flatnonzero(labelled).tolist() if place not in mine]
    rest, own = head["amount"] - costs.spent, costs.ratio
    likely = prefix(costs.predicted[open_] * own.value, rest)
    safe = prefix(costs.predicted[open_] * own.upper, rest)
    objects, proposals = made.dataset.objects, selected.proposals
    target = selected.targets
    looked_at = selected.shown & labelled[proposals.image]
    seen = judged(objects, proposals, made.partner, looked_at, len(target))
    return {
        "budget": {
            "amount": head["amount"],
            "unit": head["unit"],
            "costs": head["costs"],
            "true": number(costs.spent),
            "predicted": number(costs.expected),
            "rest": number(rest),
            "exceeded": bool(rest < -1e-9),
        },
        "ratio": {
            "true_for_predicted": round(own.value, 4),
            "low": own.low if own.low is None else round(own.low, 4),
            "high": own.high if own.high is None else round(own.high, 4),
            "images": own.images,
        },
        "next": {
            "images": safe,
            "cost": number((costs.predicted[open_[:safe]] * own.value).sum()),
            "likely": likely,
        },
        "classes": _classes(selected, seen, open_[:safe]),
        "precision": share(int(seen.right.sum()), int(seen.proposed.sum())),
        "recall": share(int(seen.right.sum()), int(seen.true[target].sum())),
        "other_classes": int(seen.true[~target].sum()),
        "images": {
            "labelled": len(done),
            "empty": int((labelled[done] & ~np.isin(done, objects.image)).sum()),
            "not_chosen": [images[place] for place in extra],
            "annotated_before": len(selected.before),
            "of_these_labelled": int(labelled[selected.before].sum()),
            "as_proposed": list(made.as_proposed),
            "unlabelled": [images[place] for place in open_],
        },
        "measured_seconds": number(sum(made.seconds.values())) if made.seconds else None,
        "repairs": repairs.rows(),
    }


def _classes(selected: Selected, seen: Judged, coming: list[int]) -> list[dict[str, Any]]:
    """Coverage on true objects so far, and what is proposed on the images that come next."""
    proposals, classes = selected.proposals, selected.selection.header["classes"]
    on_next = selected.shown & np.isin(proposals.image, coming)
    to_come = np.bincount(proposals.label[on_next], minlength=len(classes))
    return [
        {
            "id": each["id"],
            "name": each["name"],
            "minimum": each["minimum"],
            "found": int(seen.true[c]),
            "met": bool(seen.true[c] >= each["minimum"]),
            "proposed_next": int(to_come[c]),
            "proposals": int(seen.proposed[c]),
            "precision": share(int(seen.right[c]), int(seen.proposed[c])),
            "recall": share(int(seen.right[c]), int(seen.true[c])),
            "found_as_any_class": share(int(seen.found[c]), int(seen.true[c])),
        }
        for c, each in enumerate(classes)
        if selected.targets[c]
    ]


def report(out: str, state: dict[str, Any], repairs: Repairs) -> str:
    """What is printed."""
    budget, own, images = state["budget"], state["ratio"], state["images"]
    unit, keys = budget["unit"], ("name", "found", "minimum", "proposed_next")
    rows = tuple(
        (*(each[key] for key in keys), "yes" if each["met"] else "no",
         each["precision"], each["recall"])
        for each in state["classes"]
    )  # fmt: skip
    columns = (
        *(Column(n) for n in ("class", "true objects", "minimum", "proposed next", "met")),
        Column("precision", decimals=2), Column("recall", decimals=2),
    )  # fmt: skip
    open_ = len(images["unlabelled"])
    title = f"{images['labelled']} of {images['labelled'] + open_} chosen images are annotated"
    interval = f" [{own['low']:g}, {own['high']:g}]" if own["low"] is not None else ""
    next_ = state["next"]
    lines = [
        f"true cost: {budget['true']:g} of {budget['amount']:g} {unit}; predicted for these: "
        f"{budget['predicted']:g}, ratio {own['true_for_predicted']:g}{interval}",
    ]
    if budget["exceeded"]:
        lines.append(f"OVER THE BUDGET by {-budget['rest']:g} {unit}: annotate no more of it")
    elif not open_:
        lines.append(
            f"all chosen images are annotated, {budget['rest']:g} {unit} are left: go on with "
            f"ofds select --annotated {Path(out) / 'labels.json'}"
        )
    else:
        lines.append(
            f"next: {next_['images']} of {open_} images (about {next_['cost']:g} {unit}) fit what "
            f"is left, {budget['rest']:g}, at the upper end of the ratio; {next_['likely']} at the "
            "ratio itself"
        )
    if lost := images["annotated_before"] - images["of_these_labelled"]:
        lines.append(
            f"annotated before and not among the results: {lost} images; with --earlier "
            "labels.json of that round they count for coverage"
        )
    if state["other_classes"]:
        lines.append(f"objects of classes that were not selected for: {state['other_classes']}")
    if images["not_chosen"]:
        many, name = len(images["not_chosen"]), images["not_chosen"][0]
        lines.append(f"annotated though not chosen, and paid for: {many}, such as {name!r}")
    if images["as_proposed"]:
        lines.append(
            f"exactly as proposed: {len(images['as_proposed'])} images; if nobody looked at them "
            "yet, name those that are done with --done FILE"
        )
    lines += [f"put right: {line}" for line in repairs.lines()]
    lines.append(f"written: {Path(out)}")
    return Table("ingest", title, columns, rows).to_terminal() + "\n" + "\n".join(lines) + "\n"
