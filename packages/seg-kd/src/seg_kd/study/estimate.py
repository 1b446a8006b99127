"""What `--plan` says of the paper's recipes: memory and hours of a GPU, estimated from shapes.

Hours are multiply-accumulates over what a GPU sustains; passes over memory (softmaxes,
normalisation, the optimiser) and waiting for data are in no count. Memory is what has to lie there
at once; workspaces and fragmentation come on top. `seg-kd cost --measure` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from repro_shared.study.paper import Study
from repro_shared.timing.counts import count_parameters
from seg_kd.study.arms import objectives, students, teacher
from seg_kd.study.cost import Card, Largest, card
from seg_kd.use import adapter
from seg_kd.use.models import OwnModel

LASTING = 12  # bytes of a trained parameter: itself, its gradient, its momentum


@dataclass(frozen=True)
class Held:
    """Bytes that training holds whatever the objective.

    Attributes:
        networks: both, with gradients and momentum of the student.
        activations: of the student, that its backward pass needs.
        teaching: maps of the teacher that are there at once: twice its largest.
    """

    networks: int
    activations: int
    teaching: int


def estimate(study: Study, tflops: float) -> list[str]:
    """A line a method, for `--plan`; nothing for studies of users' own models.

    Args:
        study: at scale paper.
        tflops: what a GPU sustains in training, in 10^12 operations a second, two a MAC.
    """
    like = students(study)[0].config
    if isinstance(like.model, OwnModel):
        return []
    chosen, images = objectives(study), like.optimiser.batch_size
    scene = (study.name, like.view.crop, images, like.classes)
    made = card(scene, [each for each in chosen if each.needs_teacher])
    kept = held(like, teacher(study).config)
    precision = "mixed precision" if like.optimiser.amp else "float32"
    yields = [
        f"  estimate from shapes, not measured: {tflops:g} TFLOPS sustained, one GPU, {images} "
        f"images of {like.view.crop[0]} x {like.view.crop[1]}, {precision}; memory without "
        "workspaces"
    ]
    shortest = min(arm.config.budget for arm in students(study))
    for each in chosen:
        macs = step_macs(made, each.name)
        hours = 2 * macs * shortest / (tflops * 1e12) / 3600
        size = memory(made, kept, each.name, like.optimiser.amp) / 2**30
        yields.append(
            f"    {each.name:20s} {macs / 1e9:8.0f} GMAC a step, {hours:6.1f} hours for {shortest} "
            f"steps, {size:5.1f} GiB"
        )
    reference = step_macs(made, "logit")
    seconds = 2 * reference * sum(
        arm.config.budget * (1.0 if arm.config.match == "time"
                             else step_macs(made, arm.config.objective.name) / reference)
        for arm in students(study)
    ) / (tflops * 1e12)  # fmt: skip
    yields.append(f"    all arms of one seed: {seconds / 3600:.0f} hours")
    return yields


def step_macs(made: Card, name: str) -> int:
    """Multiply-accumulates of a training step; without a teacher where there is no objective."""
    found = made.costs.get(name)
    return made.student + (made.teacher + found.macs if found else 0)


def memory(made: Card, kept: Held, name: str, amp: bool) -> int:
    """Bytes at once: networks, optimiser, activations, and the objective's own.

    Mixed precision halves activations and the objective's largest tensor, which is there with its
    gradient; for plain training the teacher is not there.
    """
    found, share = made.costs.get(name), 2 if amp else 1
    if found is None:
        return kept.activations // share + kept.networks
    own = LASTING * found.parameters + found.buffers + 2 * found.largest // share
    own += kept.teaching // share
    return kept.activations // share + kept.networks + own


def held(student: Any, teaching: Any) -> Held:
    """Of both networks at a study's shapes; activations as autograd keeps them, in float32."""
    crop, images = student.view.crop, student.optimiser.batch_size
    own, other = (
        adapter.build_model(each.model.config(each.classes, crop)).to("meta")
        for each in (student, teaching)
    )
    own.train()
    kept: dict[int, int] = {}
    inside = {id(p) for p in own.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in inside:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    pictures = torch.empty(images, 3, *crop, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        stages = own.extract_feat(pictures)
        heads = (own.decode_head(stages), own.auxiliary_head(stages))
        labels = torch.zeros(images, *crop, dtype=torch.long, device="meta")
        for scores in heads:
            large = torch.nn.functional.interpolate(scores, crop, mode="bilinear")
            torch.nn.functional.cross_entropy(large, labels)
    networks = LASTING * count_parameters(own) + 4 * count_parameters(other)
    with Largest() as largest, torch.no_grad():
        other.eval()(pictures, mode="tensor")
    return Held(networks, sum(kept.values()), 2 * largest.bytes)
