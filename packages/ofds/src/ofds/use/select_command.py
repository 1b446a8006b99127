"""`ofds select`: from a COCO file, its proposals and their features to a list of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import ofds
from ofds.method.budget import UNITS, Budget
from ofds.method.coverage import Contract, select_covering
from ofds.method.selection import Choice, Settings
from ofds.use.limits import described, lines
from ofds.use.minima import advice
from ofds.use.select_inputs import Inputs, Request, read
from ofds.use.selection_file import Selection, write_selection
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say

NOTHING = Request()


def select(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Choose the images to annotate, by the objects proposed on them, every class covered.

    Args:
        request: what to select from and how.
    """
    given = read(request)
    say(f"selecting among {len(given.pool)} proposals on {len(given.pool.images)} images")
    settings = Settings(seed=request.seed, threads=request.threads)
    try:
        choices, contract = select_covering(
            given.pool, given.costs, given.budget.amount, given.minimum, settings,
            given.required, given.annotated, given.excluded, limits=given.kept.limits,
            have=given.have,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from None
    reasons = (*contract.reasons, *_advice(given, contract))
    contract = Contract(contract.status, contract.minimum, contract.found, reasons)
    selection = written(given, choices, contract)
    write_selection(request.out, selection)
    print(report(given, selection), end="")


def _advice(given: Inputs, contract: Contract) -> list[str]:
    """What to do where minima are not met; what is proposed on images with labels does not help."""
    proposals, true = given.proposals, given.true
    if given.truth:
        proposals = proposals.take(np.flatnonzero(~given.truth.labelled[proposals.image]))
    rest = Contract(contract.status, contract.minimum - true, contract.found - true)
    return advice(given.dataset, proposals, rest, given.request.threshold)


def counted(given: Inputs) -> str:
    """What counts for the minima where there are labels."""
    others = "chosen and unlabelled ones" if given.unlabelled else "chosen ones"
    return f"true on annotated images + proposed on {others}"


def written(given: Inputs, choices: Sequence[Choice], contract: Contract) -> Selection:
    """The selection as it is stored."""
    request, pool, budget = given.request, given.pool, given.budget
    chosen = [choice.image for choice in choices]
    all_costs = {
        unit: number(Budget(1, unit, budget.preset, budget.looking).costs(pool)[chosen].sum())
        for unit in UNITS
        if unit != "column"
    }
    quota, categories = given.quota, given.dataset.categories
    taken = np.array([*given.annotated, *chosen], np.int64)
    free = np.setdiff1d(np.flatnonzero(given.free), taken)
    header = {
        "ofds": ofds.__version__,
        "method_version": ofds.METHOD_VERSION,
        "settings": {
            "threshold": request.threshold,
            "seed": request.seed,
            "unit_features": given.features.unit,
            "classes": [c.name for c, t in zip(categories, given.targets, strict=True) if t],
        },
        "budget": {
            "amount": number(budget.amount),
            "unit": budget.unit,
            "preset": budget.preset,
            "looking": number(budget.looking),
            "costs": "given" if request.costs else "predicted",
            "spent": number(given.costs[chosen].sum()),
        },
        "predicted": all_costs,
        "classes": [
            {
                "id": each.id,
                "name": each.name,
                "proposals": len(pool.of_class(c)),
                "quota": round(float(quota[c]), 1),
                "minimum": int(contract.minimum[c]),
                "found": int(contract.found[c]),
            }
            for c, each in enumerate(categories)
        ],
        "contract": {
            "status": contract.status,
            "reasons": list(contract.reasons),
            **({"found": counted(given)} if given.truth else {}),
        },
        "limits": described(request.keeping, given.kept, pool, choices, taken, free),
        "repairs": given.repairs.rows(),
        "fingerprints": given.sha256,
        "annotated": list(
            dict.fromkeys((*given.before, *(pool.images[place] for place in given.annotated)))
        ),
    }
    return Selection(header, _images(given, choices))


def _images(given: Inputs, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    pool, total, found = given.pool, 0.0, list[dict[str, Any]]()
    ids = {image.name: image.id for image in given.dataset.images}
    counts = pool.counts
    for rank, choice in enumerate(choices, start=1):
        total += choice.cost
        covers = dict[str, list[int]]()
        for label, cluster in choice.covers:
            covers.setdefault(pool.classes[label], []).append(cluster)
        entry: dict[str, Any] = {
            "rank": rank,
            "name": pool.images[choice.image],
            "id": ids[pool.images[choice.image]],
            "cost": number(choice.cost),
            "cumulative": number(total),
            "class": pool.classes[choice.label] if choice.label >= 0 else None,
        }
        if choice.label >= 0:
            entry |= {"level": choice.level, "cluster": choice.cluster}
            place = choice.object
            box = [number(value) for value in pool.box[place]]
            score = number(pool.score[place])
            entry["object"] = {"row": int(pool.row[place]), "box": box, "score": score}
        objects = {pool.classes[c]: int(n) for c, n in enumerate(counts[choice.image]) if n}
        found.append({**entry, "covers": covers, "objects": objects})
    return found


def number(value: Any) -> int | float:
    """For JSON: a whole number as one, others to four decimals."""
    return int(value) if float(value).is_integer() else round(float(value), 4)


def report(given: Inputs, selection: Selection) -> str:
    """What is printed: classes, the contract, the cost, and what was put right."""
    head, unit = selection.header, given.budget.unit
    rows = tuple(
        (
            *(each[key] for key in ("name", "proposals", "quota", "minimum", "found")),
            "yes" if each["found"] >= each["minimum"] else "no",
        )
        for each in head["classes"]
        if each["name"] in head["settings"]["classes"]
    )
    columns = tuple(
        Column(name)
        for name in ("class", "proposals", f"quota ({unit})", "minimum", "found", "met")
    )
    on = "on chosen and annotated images" if given.annotated else "on chosen images"
    found = f"found: {counted(given)}" if given.truth else f"objects found {on}"
    title = f"{len(selection.images)} of {len(given.pool.images)} images; {found}"
    contract, budget, spent = head["contract"], head["budget"], head["predicted"]
    text = [
        f"cost: {budget['spent']:g} of {budget['amount']:g} {unit} ({budget['costs']}); predicted: "
        + ", ".join(f"{value:,.0f} {name}" for name, value in spent.items()),
        f"minima, {counted(given) if given.truth else 'on proposals'}: {contract['status']}",
        *(f"  {reason}" for reason in contract["reasons"]),
        *lines(head["limits"]),
        *(f"put right: {line}" for line in given.repairs.lines()),
        f"written: {Path(given.request.out)}",
    ]
    return Table("selection", title, columns, rows).to_terminal() + "\n" + "\n".join(text) + "\n"
