"""Options of `ofds select` beside its budget: groups, shares of metadata, near duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.duplicates import TILE, image_vectors, skipped, unit
from ofds.method.objects import Ints, Pool
from ofds.method.room import Limits
from ofds.method.selection import Choice
from ofds.use.dataset import Dataset
from ofds.use.features import read_features
from ofds.use.lists import Names, read_column
from ofds.use.repairs import Repairs
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError

OTHERS = "(others)"


@dataclass(frozen=True)
class Keeping:
    """What a selection keeps to besides its budget.

    Attributes:
        metadata: CSV with a header: names (image, file_name or name) and other columns; by default
            the entries of the images in the COCO file hold them.
        group: column of what belongs together, such as a video or a patient.
        group_cap: most images of a group, annotated ones included.
        quota: shares of the cost by the values of one column, as COLUMN:VALUE=SHARE with shares of
            0 to 1, which every prefix keeps to within one image's cost; other values share the
            rest.
        near_duplicates: images of this cosine or more (such as 0.98) count as nearly the same, and
            one is taken while another candidate of its cluster exists; 0 for exact copies alone.
        image_features: .npy with a row for each image in the order of the COCO file, to compare
            images by; else the mean of their objects' features.
    """

    metadata: str | None = None
    group: str | None = None
    group_cap: int = 0
    quota: tuple[str, ...] = ()
    near_duplicates: float = 0.0
    image_features: str | None = None


@dataclass(frozen=True)
class Kept:
    """The limits, and the words for them.

    Attributes:
        limits: for `select`.
        column: of the shares, "" for none.
        values: names of the values, in the order of `limits.share`.
    """

    limits: Limits
    column: str = ""
    values: tuple[str, ...] = ()


def read_limits(keeping: Keeping, dataset: Dataset, pool: Pool, repairs: Repairs) -> Kept:
    """Limits of a selection from a pool; UserError for options that make no sense together."""
    require(0 <= keeping.near_duplicates <= 1, "--near-duplicates", "0 to 1",
            keeping.near_duplicates)  # fmt: skip
    if bool(keeping.group) != bool(keeping.group_cap):
        raise UserError("--group and --group-cap belong together: a column, and images of a group")
    require(keeping.group_cap >= 0, "--group-cap", "1 or more", keeping.group_cap)
    if keeping.image_features and not keeping.near_duplicates:
        raise UserError("--image-features has a use with --near-duplicates COSINE alone")
    names = Names(pool.images)
    group = vectors = value = None
    share, values, column = list[float](), list[str](), ""
    if keeping.group:
        group = numbered(metadata(dataset, keeping.metadata, keeping.group, names, repairs))
    if keeping.quota:
        column, wanted = _quotas(keeping.quota)
        texts = metadata(dataset, keeping.metadata, column, names, repairs)
        for name in wanted:
            if name not in texts:
                known = ", ".join(sorted(set(texts))[:9])
                raise UserError(f"--quota {column}:{name}: no image has that; there are {known}")
        values, share = [*wanted, OTHERS], [*wanted.values(), 1 - sum(wanted.values())]
        number = {name: place for place, name in enumerate(wanted)}
        value = np.array([number.get(text, len(wanted)) for text in texts], np.int64)
    if keeping.near_duplicates:
        vectors = image_vectors(pool)
        if keeping.image_features:
            vectors = read_vectors(keeping.image_features, dataset, pool.images, repairs)
    limits = Limits(
        group, keeping.group_cap, value, tuple(share), vectors, keeping.near_duplicates or 1.0
    )
    return Kept(limits, column, tuple(values))


def metadata(
    dataset: Dataset, path: str | None, column: str, names: Names, repairs: Repairs
) -> list[str]:
    """The text that each image has in a column, in the order of the names; "" for none.

    UserError if no image has any.
    """
    if path:
        found = read_column(path, column, names, repairs)
        texts = {place: text for place, (_, text) in found.items()}
    else:
        entries = {image.name: image.entry.get(column) for image in dataset.images}
        plain = (str, int, float, bool)
        texts = {place: str(entries[name]) for name, place in names.exact.items()
                 if isinstance(entries[name], plain)}  # fmt: skip
    listed = [texts.get(place, "").strip() for place in range(len(names.exact))]
    if not any(listed):
        have = {key for image in dataset.images[:99] for key in image.entry}
        hint = "" if path else f"; images of {dataset.path} have {', '.join(sorted(have))}"
        raise UserError(f"no image has a value in column {column!r}{hint}")
    if without := [name for name, place in names.exact.items() if not listed[place]]:
        repairs.add(f"image without a value in column {column!r}", repr(min(without)), len(without))
    return listed


def numbered(texts: Sequence[str]) -> Ints:
    """A number for each text, by their order; -1 for an empty one."""
    place = {text: number for number, text in enumerate(sorted({*texts} - {""}))}
    return np.array([place.get(text, -1) for text in texts], np.int64)


def read_vectors(
    path: str, dataset: Dataset, images: Sequence[str], repairs: Repairs
) -> NDArray[np.float16]:
    """Features of whole images at length 1, in the order of these names."""
    features = read_features(path, len(dataset.images), unit=False, what="images")
    for place in features.damaged:
        name = repr(dataset.images[place].name)
        repairs.add("image features that are not finite: compared with no image", name)
    row = {image.name: place for place, image in enumerate(dataset.images)}
    rows = np.array([row[name] for name in images], np.int64)
    found = np.zeros((len(rows), features.shape[1]), np.float16)
    for start in range(0, len(rows), TILE):
        part = rows[start : start + TILE]
        x = np.where(np.isin(part, features.damaged)[:, None], 0, features[part])
        found[start : start + TILE] = unit(x)
    return found


def _quotas(given: Sequence[str]) -> tuple[str, dict[str, float]]:
    """The column and the share of each value that is named."""
    columns, found = set[str](), dict[str, float]()
    for text in given:
        left, _, number = text.rpartition("=")
        column, colon, value = left.partition(":")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not (column and colon and value and 0 < share <= 1):
            raise UserError(f"--quota {text!r}: give COLUMN:VALUE=SHARE with a share up to 1")
        if value in found:
            raise UserError(f"--quota {text!r}: {value!r} has a share already")
        columns.add(column)
        found[value] = share
    if len(columns) > 1:
        raise UserError(f"--quota: shares of one column, not of {' and '.join(sorted(columns))}")
    if sum(found.values()) > 1 + 1e-9:
        raise UserError(f"--quota: the shares add up to {sum(found.values()):g}, more than 1")
    return columns.pop(), found


def described(
    keeping: Keeping, kept: Kept, pool: Pool, choices: Sequence[Choice], taken: Ints, free: Ints
) -> dict[str, Any]:
    """What became of the limits, for selection.json.

    Args:
        keeping, kept: the options, as read.
        pool: that was selected from.
        choices: of the selection, in order.
        taken: images that are chosen or annotated.
        free: images that are neither, nor excluded.
    """
    found, limits = dict[str, Any](), kept.limits
    if limits.group is not None:
        sizes = np.bincount(limits.group[taken] + 1, minlength=2)[1:]
        found["groups"] = {
            "column": keeping.group,
            "cap": limits.cap,
            "groups": int(limits.group.max()) + 1,
            "full": int((sizes >= limits.cap).sum()),
        }
    if limits.value is not None:
        found["quotas"] = _kept_shares(kept, choices)
    like = skipped(pool.twin, limits.vectors, limits.alike, taken.tolist(), free)
    if like or limits.vectors is not None:
        found["near_duplicates"] = {
            "cosine": keeping.near_duplicates,
            "skipped": [
                {"name": pool.images[a], "like": pool.images[b], "cosine": round(cosine, 4)}
                for a, b, cosine in like
            ],
        }
    return found


def _kept_shares(kept: Kept, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Each value's share, what was spent on it, and the rank from which it is off by an image."""
    assert kept.limits.value is not None
    value = kept.limits.value[[choice.image for choice in choices]]
    costs = np.array([choice.cost for choice in choices])
    total, found = np.cumsum(costs), list[dict[str, Any]]()
    for place, (name, share) in enumerate(zip(kept.values, kept.limits.share, strict=True)):
        spent = np.cumsum(np.where(value == place, costs, 0.0))
        off = np.flatnonzero(np.abs(spent - share * total) > costs.max(initial=0.0) + 1e-9)
        found.append(
            {
                "column": kept.column,
                "value": name,
                "share": round(share, 4),
                "spent": round(float(spent[-1] / total[-1]), 4) if total[-1:].any() else 0.0,
                "off_at": (off + 1).tolist()[:1],
            }
        )
    return found


def lines(made: dict[str, Any]) -> list[str]:
    """The same for the terminal."""
    found = list[str]()
    if group := made.get("groups"):
        found.append(
            f"groups by {group['column']}: {group['full']} of {group['groups']} have "
            f"{group['cap']} images, the cap"
        )
    for each in made.get("quotas", ()):
        off = each["off_at"]
        why = "no image with it was left, or fitted, for the class whose turn it was"
        found.append(
            f"{each['column']} {each['value']}: {100 * each['spent']:.1f} % of the cost, "
            f"{100 * each['share']:.1f} % wanted"
            + (f"; off by more than an image from rank {off[0]} on: {why}" if off else "")
        )
    if like := made.get("near_duplicates"):
        found.append(f"images like a chosen one, left aside: {len(like['skipped'])}")
    return found
