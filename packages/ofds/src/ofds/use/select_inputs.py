"""What `ofds select` reads: all of it is checked before anything is selected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from ofds.method.budget import Budget, Unit
from ofds.method.objects import Pool
from ofds.method.quotas import quotas
from ofds.method.room import Room
from ofds.use.dataset import Dataset, Objects
from ofds.use.features import Features, read_features
from ofds.use.limits import Keeping, Kept, read_limits
from ofds.use.lists import Names, places, read_costs, read_names
from ofds.use.minima import minima, targets
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.select_pool import pool_of
from ofds.use.selection_file import check_new, continued
from ofds.use.truth import Truth, read_annotated
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file


@dataclass(frozen=True)
class Request:
    """What to select from, how much of it, and what has to be in it.

    Attributes:
        files: images, proposals and features.
        out: a new folder for selection.json and selection.txt.
        budget: how much may be spent, in the unit.
        unit: objects, images, pixels (inside objects), seconds, or column (of --costs).
        preset: seconds an object: extreme-clicks (7), boxes (35), masks (80).
        looking: seconds that each image takes besides its objects.
        costs: CSV with a header: names (image, file_name or name) and a cost for each image; counts
            instead of what the proposals predict.
        cost_column: the column of costs in it.
        threshold: proposals of a lower score are left out.
        classes: those that are selected for, by default all; objects of the others count nowhere.
        minimum: objects of each class that must be found, as N for all (1) and CLASS=N for one.
        must: list of images that must be chosen: a name a line, or JSON.
        exclude: list of images that must not be.
        annotated: images that are annotated already, which cover for free: a list, or a COCO file
            such as labels.json of `ofds ingest`, whose true objects count for the minima; clusters
            are covered by what is proposed on them.
        continued: an earlier selection, whose images count as annotated; refused if it was made
            from other features, proposals or classes.
        keeping: groups, shares of metadata, near duplicates.
        folder: of the image files, so that files that are the same to the byte are known as such.
        missing: what becomes of images that cannot be read there: fail, or skip.
        seed: of the clustering.
        threads: for clustering; the selection does not depend on it.
        raw: take features as they are; else each is scaled to length 1.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    out: str = ""
    budget: float | None = None
    unit: Unit = "objects"
    preset: str = "boxes"
    looking: float = 0.0
    costs: str | None = None
    cost_column: str = "cost"
    threshold: float = 0.3
    classes: tuple[str, ...] = ()
    minimum: tuple[str, ...] = ("1",)
    must: str | None = None
    exclude: str | None = None
    annotated: str | None = None
    continued: Annotated[str | None, tyro.conf.arg(name="continue")] = None
    keeping: Annotated[Keeping, tyro.conf.OmitArgPrefixes] = field(default_factory=Keeping)
    folder: str | None = None
    missing: Literal["fail", "skip"] = "fail"
    seed: int = 0
    threads: int = 1
    raw: bool = False


@dataclass(frozen=True)
class Inputs:
    """All that was read: the pool, its costs, and images by place in the pool."""

    request: Request
    dataset: Dataset
    proposals: Objects
    features: Features
    pool: Pool
    budget: Budget
    costs: NDArray[np.float64]
    targets: NDArray[np.bool_]  # (classes,) that are selected for
    minimum: NDArray[np.int64]
    kept: Kept
    required: list[int]
    annotated: list[int]
    excluded: list[int]
    before: tuple[str, ...]  # annotated according to the selection that is continued
    truth: Truth | None  # what is on annotated images, where there are labels
    sha256: dict[str, str]
    repairs: Repairs

    @property
    def free(self) -> NDArray[np.bool_]:
        """(images,) that may still be chosen."""
        free = np.ones(len(self.pool.images), bool)
        free[[*self.annotated, *self.excluded]] = False
        return free

    @property
    def true(self) -> NDArray[np.int64]:
        """(classes,) true objects on annotated images that have labels."""
        if self.truth is None:
            return np.zeros(len(self.targets), np.int64)
        alone = self.truth.objects.label[~self.truth.objects.crowd]
        return np.bincount(alone, minlength=len(self.targets)) * self.targets

    @property
    def have(self) -> NDArray[np.int64] | None:
        """(classes,) objects on annotated images: true ones where there are labels, else proposed
        ones; None if there are no labels at all."""
        if self.truth is None:
            return None
        found: NDArray[np.int64] = self.true + self.pool.counts[self.unlabelled].sum(axis=0)
        return found

    @property
    def unlabelled(self) -> list[int]:
        """Annotated images of which there are no labels."""
        images, labels = self.dataset.images, self.truth.labelled if self.truth else ()
        names = {image.name for image, own in zip(images, labels, strict=False) if own}
        return [place for place in self.annotated if self.pool.images[place] not in names]

    @property
    def quota(self) -> NDArray[np.float64]:
        """(classes,) share of the budget."""
        room = Room(
            self.pool, self.costs, self.budget.amount, self.budget.amount,
            self.required, self.annotated, self.excluded, self.kept.limits,
        )  # fmt: skip
        pool = self.pool
        held = [np.unique(pool.image[pool.described(c)]) for c in range(len(pool.classes))]
        available = [room.available(each) for each in held]
        return quotas(self.budget.amount, np.array(available))


def read(request: Request) -> Inputs:
    """Read and check everything that a request names; UserError where it cannot be selected."""
    files = request.files.found()
    if not request.out:
        raise UserError("--out is missing: name a new folder for the selection")
    check_new(request.out)
    require(0 <= request.threshold <= 1, "--threshold", "0 to 1", request.threshold)
    require(request.threads >= 1, "--threads", "at least 1", request.threads)
    require(request.seed >= 0, "--seed", "0 or more", request.seed)
    repairs = Repairs()
    if request.budget is None:
        raise UserError("--budget is missing: how much may be spent, in the unit of --unit")
    try:
        budget = Budget(request.budget, request.unit, request.preset, request.looking)
    except ValueError as error:
        raise UserError(str(error)) from None
    if request.unit == "column" and not request.costs:
        raise UserError("--unit column needs --costs FILE.csv with a cost for each image")
    dataset = files.dataset(repairs)
    names_of = [each.name for each in dataset.categories]
    wanted = targets(request.classes, names_of)
    minimum = minima(request.minimum, names_of, wanted)
    proposals, total = files.objects(dataset, repairs)
    features = read_features(files.features, total, not request.raw)
    pool, unread = pool_of(dataset, proposals, features, wanted, request, repairs)
    names = Names(pool.images)

    def listed(flag: str) -> list[int]:
        path = getattr(request, flag)
        found = read_names(path) if path else []
        return places(found, f"--{flag} {path}", names, repairs, strict=flag == "must")

    sha256 = {"proposals": sha256_file(files.proposals), "features": features.sha256}
    annotated, truth = read_annotated(request.annotated, dataset, names, repairs)
    before = list[str]()
    if request.continued:
        classes = [{"id": each.id, "name": each.name} for each in dataset.categories]
        earlier = continued(request.continued, sha256["features"], sha256["proposals"], classes)
        before = earlier.annotated
        annotated += places(before, f"--continue {request.continued}", names, repairs)
    excluded = listed("exclude") + [names.exact[name] for name in unread]
    required = listed("must")
    if both := set(required) & set(excluded):
        name = pool.images[min(both)]
        raise UserError(f"{name!r} must be chosen (--must) and must not (--exclude, --missing)")
    column = None
    if request.costs:
        column = read_costs(request.costs, request.cost_column, names, repairs)
    kept = read_limits(request.keeping, dataset, pool, repairs)
    given = Inputs(
        request, dataset, proposals, features, pool, budget, budget.costs(pool, column), wanted,
        minimum, kept,
        [place for place in required if place not in set(annotated)],
        sorted(set(annotated)), sorted(set(excluded)), tuple(before), truth, sha256, repairs,
    )  # fmt: skip
    _check_affordable(given)
    return given


def _check_affordable(given: Inputs) -> None:
    """UserError if the budget pays for no image with a proposal, or none is left."""
    holds = given.free & (given.pool.counts.sum(axis=1) > 0)
    if not holds.any():
        raise UserError("all images with proposals are annotated or excluded already")
    cheapest, unit = given.costs[holds].min(), given.budget.unit
    if cheapest > given.budget.amount + 1e-9:
        raise UserError(
            f"--budget {given.budget.amount:g} pays for no image: the cheapest one with proposals "
            f"costs {cheapest:g} ({unit})"
        )
