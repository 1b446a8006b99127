"""The paper's own pair, PSPNet-R101 to PSPNet-R18, on Cityscapes and ADE20K: none of it has run.

The paper's text could not be read. Data, networks, crops, batches, optimiser and views are those of
mmsegmentation's model zoo, in whose lineage its numbers lie; weights and layers are CIRKD's.

"One quarter of the parameters", says the abstract of the student. The zoo's pair has 12.79 and
67.97 million (19 classes, auxiliary heads included), which is 19 %; their backbones alone have 26 %
of each other, and a student with twice the head's channels would have 23 %. Which one is meant is
open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import read_weights
from repro_shared.study.paper import Arm, Context, Outcome, Scale, Study
from repro_shared.study.trip import steps_through
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN
from seg_kd.rivals.presets import RIVALS
from seg_kd.study import stages
from seg_kd.study.configs import File, Student, Teacher
from seg_kd.study.recipes import CITYSCAPES_MAPS, comparison, equal_time, learns
from seg_kd.study.scoring import all_scores
from seg_kd.study.stages import WEIGHTS, untrained
from seg_kd.train import Distiller, Optimiser
from seg_kd.use import adapter
from seg_kd.use.ade20k import CLASSES as ADE20K
from seg_kd.use.data import LabelMaps, Splits, View
from seg_kd.use.models import BUILT_IN
from seg_kd.use.weights import load_trained

# Names of files of mmsegmentation's zoo end in the first eight digits of their sha256.
IMAGENET = "resnet18_v1c-b5776b93.pth"
CITYSCAPES_TEACHER = "pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth"
ADE20K_TEACHER = "pspnet_r101-d8_512x512_160k_ade20k_20200615_100650-967c316f.pth"
SCHEDULES = (80_000, 160_000, 320_000, 640_000)  # 1x to 8x, in iterations of logit distillation
CANONICAL = (PLAIN, LOGIT, FEATURE, FEATURE_LOGIT)
# As their authors' scripts have them: those are what the published numbers are of.
ELABORATE = tuple(
    RIVALS[name]
    for name in ("skd-as-published", "ifvd-as-published", "cwd-as-published", "cirkd-as-published",
                 "af-dcd-as-published", "bpkd_like")
)  # fmt: skip
ADE20K_MAPS = LabelMaps(
    "ade20k", ADE20K, "real photographs: ADE20K", title="ADE20K", known=(), fit=(2048, 512)
)


@dataclass(frozen=True)
class WithWeights:
    """A data set, and the files of weights that its study begins with.

    Attributes:
        maps: the data set.
        files: names of the zoo's files, in the folder where torch's hub keeps its own.
    """

    maps: LabelMaps
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """The data set's."""
        return self.maps.name

    @property
    def sentence(self) -> str:
        """The data set's."""
        return self.maps.sentence

    @property
    def classes(self) -> tuple[str, ...]:
        """The data set's."""
        return self.maps.classes

    def missing(self, folder: Path | None) -> list[str]:
        """The folder, if it was not given, and the files that are not where they should be."""
        gone = [name for name in self.files if not place(name).is_file()]
        where = f"{' and '.join(gone)} of mmsegmentation's model zoo in {place('')}"
        return [*self.maps.missing(folder), *([where] if gone else [])]

    def open(self, folder: Path | None) -> Splits:
        """Check the files, then the images.

        Raises:
            UserError: a file whose digest is not that of its name, or as `LabelMaps.open`.
        """
        for name in self.files:
            found = sha256_file(place(name))
            if not found.startswith(digest(name)):
                raise UserError(f"{place(name)} is not that file: its sha256 begins {found[:8]}")
        return self.maps.open(folder)


def place(name: str) -> Path:
    """Where a file of the zoo lies: with those that torch's hub, and mmengine, have kept."""
    return Path(torch.hub.get_dir(), "checkpoints", name)


def digest(name: str) -> str:
    """The beginning of a file's sha256, out of its name."""
    return Path(name).stem.rpartition("-")[2]


def zoo_file(name: str) -> File:
    """A file of the zoo, by the digest in its name."""
    return File(digest(name), str(place(name)))


@steps_through(Distiller.forward)
def zoo_teacher(config: Teacher, ctx: Context) -> Outcome:
    """Take a given teacher, as `stages.teacher` does, and score it on the data of the students."""
    taken = stages.teacher(config, ctx)
    network = untrained(config, ctx.seed)
    path = ctx.folder / WEIGHTS
    load_trained(network, read_weights(path), str(path))
    adapter.set_device(ctx.device)
    scores = all_scores(network.to(ctx.device).eval(), ctx.data, config.classes, config.scored, 0)
    return replace(taken, metrics={**taken.metrics, **scores})


def equal_time_cityscapes(scale: Scale) -> Study:
    """PSPNet-R18 from PSPNet-R101 on Cityscapes, 512 x 1024, schedules of 1x to 8x.

    Cells: those of the abstract on Cityscapes, student, teacher and share.
    Cost: not run; `--plan` estimates memory and hours of every method.
    Deviations: see the module; mixed precision; the zoo's teacher (its table says 79.76 mIoU), and
    one GPU with the batch of the zoo's four. Scored whole, at one scale.
    """
    source = WithWeights(CITYSCAPES_MAPS, (CITYSCAPES_TEACHER, IMAGENET))
    return lineage("equal_time_cityscapes", scale, source, View((512, 1024), fit=(2048, 1024)), 8)


def equal_time_ade20k(scale: Scale) -> Study:
    """PSPNet-R18 from PSPNet-R101 on ADE20K, 512 x 512, schedules of 1x to 8x.

    Cells: the abstract's share of the teacher on ADE20K.
    Cost: not run; `--plan` estimates memory and hours of every method.
    Deviations: as on Cityscapes, with the zoo's teacher of 160k iterations (its table says 44.39).
    The zoo's students are trained for 80k or 160k; 1x is 80k here as well. Images are scored fitted
    into 2048 x 512, as the zoo does.
    """
    source = WithWeights(ADE20K_MAPS, (ADE20K_TEACHER, IMAGENET))
    return lineage("equal_time_ade20k", scale, source, View((512, 512), fit=(2048, 512)), 16)


def lineage(name: str, scale: Scale, source: WithWeights, view: View, batch_size: int) -> Study:
    """The study of a pair: canonical objectives at all schedules, elaborate ones at 1x and 2x."""
    classes, (teacher_file, imagenet) = len(source.classes), source.files
    optimiser = Optimiser(batch_size=batch_size, amp=True)
    config = Teacher(
        BUILT_IN["pspnet_r101"], classes, view, optimiser, given=zoo_file(teacher_file)
    )
    teacher = Arm("teacher", config, zoo_teacher, seed=0)
    like = Student(
        BUILT_IN["pspnet_r18"], classes, view, optimiser, PLAIN, start=zoo_file(imagenet)
    )
    arms: tuple[Any, ...] = comparison(
        like, teacher, CANONICAL, SCHEDULES, equal_iterations=SCHEDULES[:1]
    )
    for objective in ELABORATE:
        arms += (learns(like, objective, "iterations", SCHEDULES[0], teacher),)
        arms += tuple(learns(like, objective, "time", n, teacher) for n in SCHEDULES[:2])
    study = Study(name, scale, source, arms, (0, 1, 2, 3, 4))
    return equal_time(study, rounds=30)
