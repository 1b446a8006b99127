"""What `ofds propose` has to do, and the settings that a pool was begun with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import ofds
from ofds.use.pool_files import NAMES
from ofds.use.proposers import parts
from ofds.use.proposers.build import Models
from ofds.use.proposers.classes import Classes
from ofds.use.proposers.hub import Machine
from ofds.use.proposers.merge import MANIFEST
from ofds.use.proposers.pipeline import Keeping, canary, check_canary
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import publish, sha256_bytes, temporary_file
from repro_shared.runtime.progress import say

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


def of_torchrun(shard: tuple[int, int] | None, machine: Machine) -> tuple[tuple[int, int], Machine]:
    """The shard that is asked for, else the process's own under torchrun, with its own card.

    Raises:
        UserError: both.
    """
    rank, world = (int(os.environ.get(name, default)) for name, default in
                   (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
    if world > 1 and shard:
        raise UserError("--shard is not for torchrun, where each process has its own: leave it out")
    if world > 1 and machine.device == "cuda":
        machine = replace(machine, device=f"cuda:{os.environ.get('LOCAL_RANK', rank)}")
    return shard or (rank + 1, world), machine


def begin(job: Job, models: Models) -> dict[str, Any]:
    """Write down the settings, or check that they are those of the run that began this pool.

    Raises:
        UserError: they are not, the models see otherwise, or the folder holds another pool.
    """
    path = job.out / RUN
    others = [name for name in (*NAMES.values(), MANIFEST) if (job.out / name).exists()]
    if others and not path.is_file():
        raise UserError(f"{job.out} holds {others[0]} already, not of this command: name another")
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
        "canary": _canary(models, job.machine),
    }
    if not path.is_file() and not _first(path, about):
        return about
    known = read_run(job.out)
    if known["fingerprint"] != about["fingerprint"]:
        changed = _difference(known["config"], config)
        raise UserError(f"{job.out} was begun with other settings ({changed}): name another --out")
    check_canary(known["canary"], about["canary"])
    for name in sorted(known["versions"].keys() & about["versions"].keys()):
        if (there := known["versions"][name]) != (here := about["versions"][name]):
            say(f"this pool was begun with {name} {there}, here it is {here}; canary rows agree")
    return known


def _canary(models: Models, machine: Machine) -> list[list[float]]:
    try:
        return canary(models)
    except (RuntimeError, ValueError) as error:
        hint = "" if machine.dtype == "float32" else "; try --dtype float32"
        raise UserError(f"the models fail on a test picture ({error}){hint}") from error


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
