"""`ofds sample`: images at random, to annotate and to judge the proposals by."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import ofds
from ofds.method.budget import Budget, Unit
from ofds.method.objects import Ints, Pool, make_pool
from ofds.use.dataset import Dataset, Objects
from ofds.use.features import read_features
from ofds.use.lists import Names, places, read_names
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.select_command import number
from ofds.use.selection_file import Selection, check_new, write_selection
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file

FEW = 5  # images of the sample with proposals of a class: fewer say little about it


@dataclass(frozen=True)
class Request:
    """Which pool, and how many of its images.

    Attributes:
        files: of the pool; the features are needed by `ofds select --continue` alone.
        count: how many images to draw.
        out: a new folder for selection.json and selection.txt, as of `ofds select`.
        annotated: list of images that are annotated already (or a COCO file): they are not drawn,
            and the estimate is about the others.
        exclude: list of images that must not be drawn; the estimate is not about them, either.
        threshold: proposals of a lower score are left out of what is predicted.
        seed: of the draw; more images of one seed begin with the fewer.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    count: int = 100
    out: str = ""
    annotated: str | None = None
    exclude: str | None = None
    threshold: float = 0.3
    seed: int = 0


NOTHING = Request()


def sample(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Draw images at random: annotated, they tell how good the proposals are (`ofds estimate`).

    Args:
        request: from what to draw.
    """
    if not request.out:
        raise UserError("--out is missing; see `ofds sample --help`")
    check_new(request.out)
    require(request.count >= 1, "--count", "at least 1", request.count)
    require(request.seed >= 0, "--seed", "0 or more", request.seed)
    require(0 <= request.threshold <= 1, "--threshold", "0 to 1", request.threshold)
    repairs = Repairs()
    files = request.files.found("images", "proposals")
    dataset = files.dataset(repairs)
    proposals, total = files.objects(dataset, repairs)
    pool = counted(dataset, proposals, request.threshold)
    names = Names(pool.images)

    def listed(flag: str) -> list[str]:
        path = getattr(request, flag)
        found = read_names(path, flag == "annotated") if path else []
        return [pool.images[p] for p in places(found, f"--{flag} {path}", names, repairs)]

    annotated = listed("annotated")
    without = sorted({*annotated, *listed("exclude")})
    drawn = draw(pool, set(without), request.count, request.seed)
    sha256 = {"proposals": sha256_file(files.proposals)}
    if files.features and Path(files.features).exists():
        sha256["features"] = read_features(files.features, total).sha256
    header = {
        "sample": {"population": len(pool.images) - len(without), "without": without},
        "repairs": repairs.rows(),
        "fingerprints": sha256,
        "annotated": annotated,
    }
    selection = written(request, dataset, pool, drawn, header)
    write_selection(request.out, selection)
    print(report(selection, pool, drawn, request, repairs), end="")


def counted(dataset: Dataset, proposals: Objects, threshold: float) -> Pool:
    """A pool without features, of the proposals that count."""
    kept = (proposals.score >= threshold) & ~proposals.crowd
    return make_pool(
        [image.name for image in dataset.images],
        [each.name for each in dataset.categories],
        proposals.image[kept],
        proposals.label[kept],
        proposals.score[kept],
        proposals.box[kept],
        proposals.area[kept],
    )


def draw(pool: Pool, without: set[str], count: int, seed: int) -> Ints:
    """Places of images at random, without replacement; UserError if there are not as many."""
    free = np.array([p for p, name in enumerate(pool.images) if name not in without], np.int64)
    if count > len(free):
        kept = f" ({len(without)} of {len(pool.images)} are left out)" if without else ""
        raise UserError(f"--count {count}: there are {len(free)} images to draw from{kept}")
    return free[np.random.default_rng(seed).permutation(len(free))[:count]]


def written(
    request: Request, dataset: Dataset, pool: Pool, drawn: Ints, more: dict[str, Any]
) -> Selection:
    """The sample as it is stored: a selection without reasons, and what it was drawn from."""
    ids = {image.name: image.id for image in dataset.images}
    counts, entries = pool.counts, list[dict[str, Any]]()
    for rank, place in enumerate(drawn, start=1):
        name = pool.images[place]
        objects = {pool.classes[c]: int(n) for c, n in enumerate(counts[place]) if n}
        entries.append({
            "rank": rank, "name": name, "id": ids[name], "cost": 1, "cumulative": rank,
            "class": None, "covers": {}, "objects": objects,
        })  # fmt: skip
    units: tuple[Unit, ...] = ("images", "objects", "pixels", "seconds")
    budget = Budget(len(drawn), "images")
    header = {
        "ofds": ofds.__version__,
        "method_version": ofds.METHOD_VERSION,
        "settings": {"threshold": request.threshold, "seed": request.seed},
        "budget": {
            "amount": len(drawn), "unit": "images", "preset": budget.preset, "looking": 0,
            "costs": "predicted", "spent": len(drawn),
        },
        "predicted": {
            unit: number(Budget(1, unit).costs(pool)[drawn].sum()) for unit in units
        },
        "classes": [
            {
                "id": each.id, "name": each.name, "proposals": len(pool.of_class(c)),
                "quota": 0, "minimum": 0, "found": int(counts[drawn, c].sum()),
            }
            for c, each in enumerate(dataset.categories)
        ],
        "contract": {"status": "met", "reasons": []},
    }  # fmt: skip
    return Selection({**header, **more}, entries)


def report(
    selection: Selection, pool: Pool, drawn: Ints, request: Request, repairs: Repairs
) -> str:
    """What is printed: how much of each class the sample holds, as far as is proposed."""
    holds, head = pool.counts > 0, selection.header
    rows = tuple(
        (name, int(holds[:, c].sum()), int(holds[drawn, c].sum()), int(pool.counts[drawn, c].sum()))
        for c, name in enumerate(pool.classes)
    )
    columns = (
        Column("class"), Column("images of the pool"), Column("images drawn"), Column("proposals"),
    )  # fmt: skip
    population = head["sample"]["population"]
    title = f"{len(drawn)} of {population} images at random; images with proposals of each class"
    few = [name for name, _, many, _ in rows if many < FEW]
    lines = [
        f"predicted: {head['predicted']['objects']:,.0f} objects",
        *([f"on fewer than {FEW} images drawn, so that little will be known of them: "
           + ", ".join(few)] if few else []),
        *(f"put right: {line}" for line in repairs.lines()),
        f"written: {Path(request.out)}",
        "annotate them completely, from the top (what is done is a random sample, too), then run "
        "`ofds estimate`",
    ]  # fmt: skip
    return Table("sample", title, columns, rows).to_terminal() + "\n" + "\n".join(lines) + "\n"
