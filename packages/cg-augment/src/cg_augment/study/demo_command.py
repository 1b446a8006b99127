"""`cg-augment demo`: a small world and the diffusion model that comes along, as a user has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cg_augment.study.generator import SCALE, scheduler
from cg_augment.study.image_worlds import SHAPES, SHAPES_97
from cg_augment.use.generating.pixel_models import SCALE as SCALE_FILE
from cg_augment.use.grouped import Grouped
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir

SETS = {"biased/train": ("student", 1000), "robust/train": ("teacher", 2000), "test": ("test", 400)}
MODEL = "--model resnet10t --image-size 32"


def demo(out: str, *, seed: int = 0) -> None:
    """Write pictures and a diffusion model to try every command on; nothing is downloaded.

    Outlines on textured grounds: in biased/ the ground goes with the class, in robust/ it does not,
    and test/ has its groups as folders. The diffusion model has seen classes alone, and rarely the
    other ground.

    Args:
        out: new or empty folder.
        seed: of the pictures.
    """
    folder = ensure_output_dir(out)
    if any(folder.iterdir()):
        raise UserError(f"{out} is not empty: give a new folder")
    world = SHAPES.open(None)
    for name, (part, count) in SETS.items():
        write(folder / name, world.part(part, seed), count, part == "test")  # type: ignore[arg-type]
    network = SHAPES_97.committed.load()
    network.save_pretrained(folder / "generator")
    scheduler().save_pretrained(folder / "generator")
    atomic_write_json(folder / "generator" / SCALE_FILE, {"scale": SCALE})
    print("\n".join(commands(out)))


def write(folder: Path, grouped: Grouped, count: int, with_groups: bool) -> None:
    """The first pictures as class folders, with group folders in them if wanted."""
    for index in range(min(count, len(grouped.pictures))):
        label, group = grouped.names[int(np.asarray(grouped.groups)[index])].split("/")
        place = folder / label / group if with_groups else folder / label
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grouped.pictures.read(index)).save(place / f"{index:05d}.png")


def commands(out: str) -> list[str]:
    """What to type next."""
    return [
        f"cg-augment train {out}/robust --recipe labels {MODEL} --steps 300 --out {out}/teacher",
        f"cg-augment train {out}/biased --teacher {out}/teacher {MODEL} --steps 200 "
        f"--out {out}/student",
        f"cg-augment generate {out}/generator --student {out}/student --teacher {out}/teacher "
        f"--steps 12 --each 50 --out {out}/images",
        f"cg-augment audit {out}/images --out {out}/audit.html",
        f"cg-augment train {out}/biased --teacher {out}/teacher --init {out}/student "
        f"--generated {out}/images --steps 200 --out {out}/better",
        f"cg-augment evaluate {out} --set groups --student {out}/student",
        f"cg-augment evaluate {out} --set groups --student {out}/better",
    ]
