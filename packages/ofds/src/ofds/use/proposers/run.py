"""The work behind `ofds propose`: a shard of the images, part by part, then the pool."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import ofds
from ofds.use.proposers import parts, pictures
from ofds.use.proposers.build import Models
from ofds.use.proposers.classes import Classes
from ofds.use.proposers.hub import Machine
from ofds.use.proposers.merge import Merged, merge
from ofds.use.proposers.pipeline import Keeping, Proposals, canary, check_canary, propose_on
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    ensure_output_dir,
    publish,
    sha256_bytes,
    sha256_file,
    temporary_file,
)
from repro_shared.runtime.progress import Progress, say

FORMAT = 1
RUN = "propose.json"
LIBRARIES = (
    "torch", "torchvision", "transformers", "timm", "open_clip_torch", "tokenizers", "numpy",
    "pillow", "pycocotools",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What is to be done, and how.

    Attributes:
        folder: of the images.
        images: their names, and their entries in a COCO file if one lists them.
        out: the pool's folder.
        classes: to look for.
        keeping: which boxes become proposals.
        quantile: of each class's scores in the pool, below which a proposal goes.
        machine: for the models.
        shard: which of how many, from 1.
        batch: images that a detector sees together.
        threads: that read images.
        skip: what becomes of images that cannot be read: left out, or an error at the end.
    """

    folder: Path
    images: Sequence[tuple[str, Mapping[str, Any] | None]]
    out: Path
    classes: Classes
    keeping: Keeping
    quantile: float = 0.0
    machine: Machine = field(default_factory=Machine)
    shard: tuple[int, int] = (1, 1)
    batch: int = 4
    threads: int = 2
    skip: bool = False

    @property
    def parts(self) -> Path:
        """Folder of the parts."""
        return self.out / parts.FOLDER

    @property
    def own(self) -> list[tuple[int, str, Mapping[str, Any] | None]]:
        """Place, name and entry of this shard's images: every n-th."""
        first, step = self.shard
        numbered = [(place, *each) for place, each in enumerate(self.images)]
        return numbered[first - 1 :: step]


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
    entries = listing(job)
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
    for shards in parts.counts_of_shards(folder):
        if (pool := merge(out, shards, about, skip, quantile)) is not None:
            return pool
    raise UserError(f"{out}: shards are missing or not finished; run them first")


def begin(job: Job, models: Models) -> dict[str, Any]:
    """Write down the settings, or check that they are those of the run that began this pool."""
    config = {
        "models": models.about,
        "classes": {name: list(texts) for name, texts in job.classes.said.items()},
        "queries": {
            name: [sha256_bytes(picture.tobytes()) for picture in shown]
            for name, shown in job.classes.shown.items()
        },
        "threshold": job.keeping.floor,
        "nms": job.keeping.overlap,
        "most": job.keeping.most,
        "dtype": job.machine.dtype,
        "ids": [each.id for each in job.classes.categories],
    }
    about: dict[str, Any] = {
        "format": FORMAT,
        "ofds": ofds.__version__,
        "fingerprint": sha256_bytes(json.dumps(config, sort_keys=True).encode()),
        "config": config,
        "categories": [each.entry for each in job.classes.categories],
        "versions": versions(),
        "device": _device(job.machine),
        "canary": canary(models),
    }
    path = job.out / RUN
    if not path.is_file() and not _first(path, about):
        return about
    known = read_run(job.out)
    if known["fingerprint"] != about["fingerprint"]:
        changed = _difference(known["config"], config)
        raise UserError(f"{job.out} was begun with other settings ({changed}): name another --out")
    check_canary(known["canary"], about["canary"])
    return known


def _first(path: Path, about: Mapping[str, Any]) -> bool:
    """Write the settings unless another shard has done so meanwhile: then True."""
    data = (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode()
    with temporary_file(path.parent, path.name) as (temporary, handle):
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
        try:
            os.link(temporary, path)  # fails where it is there, which a rename would not
        except FileExistsError:
            return True
        except OSError:  # a file system without links
            publish(handle, temporary, path)
    return False


def read_run(out: Path) -> dict[str, Any]:
    """The settings of a pool that was begun; UserError where there are none."""
    try:
        content = json.loads((out / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{out}: no pool was begun here") from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{out / RUN}: damaged, or of another version of ofds; name another --out")
    return content


def _difference(known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for name in sorted({*known, *now}):
        a, b = known.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict) and a != b:
            return f"{name}: {_difference(a, b)}"
        if a != b:
            return f"{name} {str(a)[:60]} there, {str(b)[:60]} here"
    return "the order of classes"


def versions() -> dict[str, str]:
    """Of the libraries that decide what a model sees."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _device(machine: Machine) -> str:
    if machine.device.startswith("cuda"):
        return torch.cuda.get_device_name(machine.device)
    return machine.device


def listing(job: Job) -> list[parts.Entry]:
    """This shard's images with the hashes of their files."""

    def entry(own: tuple[int, str, Mapping[str, Any] | None]) -> parts.Entry:
        place, name, known = own
        path = pictures.find(job.folder, name)
        try:
            if path.stat().st_size == 0:
                return parts.Entry(place, name, "", "empty file", known)
            return parts.Entry(place, name, sha256_file(path), "", known)
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
    """What is still to be done of a shard: contents that no part has, each once."""
    known = {seen.sha256 for _, some in parts.done(job.parts) for seen in some}
    found = dict[str, parts.Entry]()
    for each in entries:
        if each.sha256 and each.sha256 not in known:
            found.setdefault(each.sha256, each)
    return list(found.values())


def _part(job: Job, models: Models, group: Sequence[parts.Entry], fingerprint: str) -> int:
    """Do the images of a part and write it; returns how many objects were proposed."""
    seen, found = list[parts.Seen](), list[Proposals | None]()
    hashes = {each.name: each.sha256 for each in group}
    for batch in pictures.read_ahead(job.folder, list(hashes), job.batch, job.threads):
        good = [each for each in batch if each.pixels is not None]
        made = _careful(good, lambda some: propose_on(models, _pixels(some), job.keeping))
        for each in batch:
            own = made.get(each.name)
            problem = each.problem or (own if isinstance(own, str) else "")
            height, width = (0, 0) if each.pixels is None else each.pixels.shape[:2]
            sha256 = hashes[each.name]
            seen.append(parts.Seen(sha256, width, height, each.orientation, problem))
            found.append(own if isinstance(own, Proposals) else None)
    name = parts.name_of(fingerprint, list(hashes.values()))
    parts.write_part(job.parts, name, seen, found)
    return sum(len(each) for each in found if each is not None)


def _pixels(some: Sequence[pictures.Loaded]) -> list[Any]:
    return [each.pixels for each in some]


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
        say(f"{some[0].name}: {error}")
        return {some[0].name: f"the model cannot take it ({type(error).__name__}: {error})"}


def of_torchrun(shard: tuple[int, int] | None, machine: Machine) -> tuple[tuple[int, int], Machine]:
    """The shard that is asked for, else the process's own under torchrun, with its own card."""
    rank, world = (int(os.environ.get(name, default)) for name, default in
                   (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
    if world > 1 and machine.device == "cuda":
        machine = replace(machine, device=f"cuda:{os.environ.get('LOCAL_RANK', rank)}")
    return shard or (rank + 1, world), machine
