"""The work behind `ofds propose`: a shard of the images, part by part, then the pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofds.use.proposers import parts, pictures, tars
from ofds.use.proposers.build import Models
from ofds.use.proposers.given import Given
from ofds.use.proposers.job import Job, begin, read_run
from ofds.use.proposers.merge import Merged, merge
from ofds.use.proposers.pipeline import Proposals, canary_pictures, propose_on
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir, sha256_bytes, sha256_file
from repro_shared.runtime.progress import Progress


@dataclass(frozen=True)
class Done:
    """What a run did.

    Attributes:
        images: that were looked at now.
        before: of this shard's images, those that were done already.
        objects: proposals on them.
        seconds: that it took, without loading the models.
        pool: what was written, or None while other shards are at work.
    """

    images: int
    before: int
    objects: int
    seconds: float
    pool: Merged | None


def run(job: Job, models: Models) -> Done:
    """Do a shard, and write the pool if it was the last.

    What is done already is not done again, whoever did it. A part is written when it is complete,
    so that a run that was killed goes on with the next part and ends with the same files.

    Raises:
        UserError: the folder holds a pool of other settings or of models that see otherwise;
            images cannot be read, and are not to be skipped.
    """
    ensure_output_dir(job.out)
    about = begin(job, models)
    entries = listing(job, isinstance(models.detector, Given))
    ensure_output_dir(job.parts)
    parts.write_list(job.parts, job.shard, len(job.images), entries)
    todo = left(job, entries)
    started, objects = time.perf_counter(), 0
    with Progress(len(todo), "images proposed on") as progress:
        for start in range(0, len(todo), parts.IMAGES):
            group = todo[start : start + parts.IMAGES]
            objects += _part(job, models, group, about["fingerprint"])
            seconds = max(time.perf_counter() - started, 1e-9)
            rate = f"{(start + len(group)) / seconds:.3g} images/s"
            progress.update(start + len(group), objects=str(objects), speed=rate)
    seconds = time.perf_counter() - started
    pool = merge(job.out, job.shard[1], about, job.skip, job.quantile)
    return Done(len(todo), len(entries) - len(todo), objects, seconds, pool)


def merge_alone(out: Path, skip: bool, quantile: float) -> Merged:
    """Write the pool of shards that are all done; UserError if none are."""
    about, folder = read_run(out), out / parts.FOLDER
    counts = parts.counts_of_shards(folder)
    for shards in counts:
        if (pool := merge(out, shards, about, skip, quantile)) is not None:
            return pool
    missing = parts.unfinished(folder, counts[0]) if counts else ["none was run"]
    raise UserError(f"{out}: shards are missing: {', '.join(missing)}; run them first")


def listing(job: Job, by_name: bool = False) -> list[parts.Entry]:
    """This shard's images with the hashes of their files; the name counts in a key, or not."""

    def entry(own: tuple[int, str, Mapping[str, Any] | None]) -> parts.Entry:
        place, name, known = own
        try:
            with tars.file_of(job.folder, name) as path:
                if path.stat().st_size == 0:
                    return parts.Entry(place, name, "", "empty file", known)
                sha256 = sha256_file(path)
            key = sha256_bytes(f"{sha256} {name}".encode()) if by_name else sha256
            return parts.Entry(place, name, sha256, "", known, key)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            problem = getattr(error, "strerror", None) or "cannot be read"
            return parts.Entry(place, name, "", problem, known)

    found = list[parts.Entry]()
    threads = ThreadPoolExecutor(max(1, job.threads))
    with Progress(len(job.own), "image files hashed") as progress, threads as pool:
        for made in pool.map(entry, job.own):
            found.append(made)
            progress.update(len(found))
    return found


def left(job: Job, entries: Sequence[parts.Entry]) -> list[parts.Entry]:
    """What is still to be done of a shard: keys that no part has, each once."""
    known = {seen.key for _, some in parts.done(job.parts) for seen in some}
    found = dict[str, parts.Entry]()
    for each in entries:
        if each.key and each.key not in known:
            found.setdefault(each.key, each)
    return list(found.values())


def _part(job: Job, models: Models, group: Sequence[parts.Entry], fingerprint: str) -> int:
    """Do the images of a part and write it; returns how many objects were proposed."""
    seen, found = list[parts.Seen](), list[Proposals | None]()
    keys = {each.name: each.key for each in group}
    for batch in pictures.read_ahead(job.folder, list(keys), job.batch, job.threads):
        good = [each for each in batch if each.pixels is not None]
        made = _careful(good, lambda some: propose_on(models, *_named(some), job.keeping))
        for each in batch:
            own = made.get(each.name)
            problem = each.problem or (own if isinstance(own, str) else "")
            height, width = (0, 0) if each.pixels is None else each.pixels.shape[:2]
            seen.append(parts.Seen(keys[each.name], width, height, each.orientation, problem))
            found.append(own if isinstance(own, Proposals) else None)
    name = parts.name_of(fingerprint, list(keys.values()))
    parts.write_part(job.parts, name, seen, found)
    return sum(len(each) for each in found if each is not None)


def _named(some: Sequence[pictures.Loaded]) -> tuple[list[str], list[Any]]:
    return [each.name for each in some], [each.pixels for each in some]


def _careful(
    some: Sequence[pictures.Loaded], work: Callable[[Sequence[pictures.Loaded]], list[Proposals]]
) -> dict[str, Proposals | str]:
    """By name: proposals, or why a model cannot take an image (say, one of 4 x 5,000 pixels)."""
    if not some:
        return {}
    try:
        return dict(zip([each.name for each in some], work(some), strict=True))
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        if len(some) > 1:
            halves = some[: len(some) // 2], some[len(some) // 2 :]
            return {name: made for half in halves for name, made in _careful(half, work).items()}
        try:  # a device that failed takes nothing at all
            work([pictures.Loaded("", image) for image in canary_pictures()[0]])
        except (RuntimeError, ValueError, ZeroDivisionError):
            raise UserError(f"{some[0].name}: the models fail ({error})") from error
        return {some[0].name: f"the model cannot take it ({type(error).__name__}: {error})"}
