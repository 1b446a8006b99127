"""What a student is taught with: pictures, what was cached of them, and the loss by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from clip_distill.method.objective import PRESETS, Name, Objective
from clip_distill.use.cache import (
    CAPTIONS,
    CLASSES,
    FEATURES,
    MANIFEST,
    Cache,
    check_together,
    open_cache,
    read_manifest,
)
from clip_distill.use.feature_file import check_rows, read_features
from clip_distill.use.joined import Joined, JoinedRows
from clip_distill.use.lessons import Rows
from clip_distill.use.pictures import Pictures
from clip_distill.use.prompts import ClassTexts, load_class_texts
from clip_distill.use.sources import pictures_of
from clip_distill.use.views import Views
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file


@dataclass(frozen=True)
class Taught:
    """What there is to learn from.

    Attributes:
        features: (samples, views, width).
        views: that they belong to.
        cache: where they come from, the first of several; None for a feature file.
        texts: text vectors of the classes.
        captions: (samples, width) text vectors of the captions.
        pixels: (samples, views, s, s, 3) decoded views.
        digest: of where they come from.
    """

    features: Rows
    views: Views
    cache: Cache | None
    texts: ClassTexts | None
    captions: Rows | None
    pixels: Rows | None
    digest: str


def objective_of(
    name: str, temperature: float | None, other: str | None = None, alpha: float = 0.0
) -> Objective:
    """A preset (with another temperature, if given), a loss by name, or two of them mixed.

    Raises:
        UserError: unknown, or a temperature or share that does not fit.
    """
    names = get_args(Name)
    unknown = [each for each in (name, other) if each is not None and each not in names]
    try:
        if name in PRESETS and other is None and alpha == 0:
            preset = PRESETS[name]
            return preset if temperature is None else replace(preset, temperature=temperature)
        if not unknown:
            return Objective(name, temperature, "identity", other, alpha)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"--objective {name}: {error}") from None
    known = ", ".join(names if other else (*PRESETS, *(n for n in names if n not in PRESETS)))
    raise UserError(f"--objective {unknown[0]}: unknown; known are {known}")


def varied(objective: Objective, multi_positive: bool, learned: bool) -> Objective:
    """With multi-positive targets, a learned temperature, or both; UserError where unfit."""
    try:
        if multi_positive:
            objective = replace(objective, targets="multi-positive")
        return replace(objective, learned=learned) if learned else objective
    except ValueError as error:
        raise UserError(str(error)) from None


def taught_with(
    data: Sequence[str], caches: Sequence[str], features: str | None, skip_bad: bool
) -> tuple[Pictures, Taught]:
    """The pictures of some sets, and what there is to learn of them.

    Args:
        data: folders or shards.
        caches: one for each of them; or none.
        features: a file of features instead.
        skip_bad: leave out what truncated shards have lost.

    Raises:
        UserError: both or neither, another number of caches, or caches that do not fit.
    """
    if not data:
        raise UserError("no data: give the folder or shards that the cache was made of")
    if bool(caches) == (features is not None):
        raise UserError("give --cache FOLDER or --teacher-features FILE.npy")
    names = [_class_names(each) for each in caches]
    names += [()] * (len(data) - len(names))
    parts = [pictures_of(each, skip_bad, own) for each, own in zip(data, names, strict=False)]
    pictures: Pictures = parts[0] if len(parts) == 1 else Joined(parts)
    if features is not None:
        if len(parts) > 1:
            raise UserError("--teacher-features is of one set of pictures")
        rows = read_features(features, len(pictures), tuple(pictures.ids))
        views = Views() if rows.shape[1] == 1 else Views(rows.shape[1], "random-crop")
        return pictures, Taught(rows, views, None, None, None, None, sha256_file(features))
    if len(caches) != len(parts):
        raise UserError(
            f"{len(parts)} sets of pictures and {len(caches)} caches: give one for each"
        )
    made = [open_cache(each, part) for each, part in zip(caches, parts, strict=True)]
    check_together(made)
    for each, part in zip(made, parts, strict=True):  # such as a copy that was not finished
        check_rows(each.features, str(each.folder / FEATURES), part.ids)
    first, texts, captions = made[0], None, None
    if first.manifest["classes"] is not None:
        texts = load_class_texts(first.folder / CLASSES)
    if all(each.manifest["captions"] for each in made):
        captions = _joined([
            np.load(each.folder / CAPTIONS, mmap_mode="r", allow_pickle=False) for each in made
        ])  # fmt: skip
    pixels = None
    if all(each.pixels is not None for each in made):
        pixels = _joined([each.pixels for each in made if each.pixels is not None])
    digest = " ".join(sha256_file(each.folder / MANIFEST) for each in made)
    rows = _joined([each.features for each in made])
    return pictures, Taught(rows, first.views, first, texts, captions, pixels, digest)


def _class_names(cache: str) -> tuple[str, ...]:
    """What the numbers in shards stand for, as the cache has it."""
    return tuple((read_manifest(Path(cache)).get("classes") or {}).get("names", ()))


def _joined(arrays: Sequence[NDArray[Any]]) -> Any:
    return arrays[0] if len(arrays) == 1 else JoinedRows(arrays)
