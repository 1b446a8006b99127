"""The objectives' equations against the plain way to write them, at one shape, interleaved.

The plain forms follow the authors' formulas line by line, with their loops over classes, images and
pairs; tests hold both forms to the same value. For CIRKD's memory it is its three bare matrix
products, which no form can do without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from repro_shared.evidence.cells import slug
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.checks import require
from repro_shared.runtime.rng import isolated_rng
from repro_shared.timing.bench import Bench, bench_of, conditions
from repro_shared.timing.calibrate import calibrate
from seg_kd.method.losses import unit_vectors
from seg_kd.rivals.boundary import body_distillation, class_edges, edge_distillation
from seg_kd.rivals.cirkd import pixel_to_pixel, to_memory
from seg_kd.rivals.dist import correlations
from seg_kd.rivals.generation import omni_contrast
from seg_kd.rivals.ifvd import class_variation
from seg_kd.rivals.skd import pair_wise

NAME = "objectives"
PLAIN = ", plain form"
AIMS = {"class variation": 5.0, "memory": 0.8}  # in times the plain form's speed; others: 1


@dataclass(frozen=True)
class Shapes:
    """What is timed: PSPNet-R18 and R101 on half of a Cityscapes batch, by default.

    Attributes:
        images: B; height, width: of logits and features; stride: from the label map to them.
        classes: K; own, other: channels of the pre-classifier features.
        rows: vectors that a memory gives.
    """

    images: int = 2
    height: int = 64
    width: int = 128
    stride: int = 8
    classes: int = 19
    own: int = 128
    other: int = 512
    rows: int = 216 * 19

    def maps(self, channels: int, device: str) -> Tensor:
        """Random maps."""
        return torch.randn(self.images, channels, self.height, self.width, device=device)

    def labels(self, device: str) -> Tensor:
        """Random label maps: blocks of 32 pixels, some unlabelled."""
        size = (self.images, self.height * self.stride, self.width * self.stride)
        coarse = torch.randint(self.classes + 1, (size[0], size[1] // 32 + 1, size[2] // 32 + 1))
        fine = coarse.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, : size[1], : size[2]]
        return fine.masked_fill(fine == self.classes, 255).to(device)


Loss = Callable[[], Tensor]


def pairs(shapes: Shapes, device: str) -> dict[str, tuple[Loss, Loss, Tensor]]:
    """By name: the equation, its plain form, and the student's map that both differentiate by."""
    classes, labels = shapes.classes, shapes.labels(device)
    own, wide = (shapes.maps(n, device).requires_grad_() for n in (shapes.own, shapes.other))
    logits = shapes.maps(classes, device).requires_grad_()
    taught, scores = shapes.maps(shapes.other, device), shapes.maps(classes, device)
    coarse = labels[:, shapes.stride // 2 :: shapes.stride, shapes.stride // 2 :: shapes.stride]
    size = (shapes.height, shapes.width)

    def boundary() -> Tensor:
        edges = class_edges(labels, size, classes=classes)
        edge = edge_distillation(logits, scores, edges)
        return edge + body_distillation(logits, scores, edges, labels)

    return {
        "pair-wise": (lambda: pair_wise(own, taught), lambda: plain_pair_wise(own, taught), own),
        "class variation": (
            lambda: class_variation(own, taught, labels, classes=classes),
            lambda: plain_class_variation(own, taught, coarse, classes),
            own,
        ),
        "correlation": (
            lambda: torch.stack(correlations(logits, scores)).sum(),
            lambda: plain_correlation(logits, scores),
            logits,
        ),
        "mini-batch": (
            lambda: pixel_to_pixel(own, taught),
            lambda: plain_pixel_to_pixel(own, taught),
            own,
        ),
        "contrast": (
            lambda: omni_contrast(wide, taught),
            lambda: plain_contrast(wide, taught),
            wide,
        ),
        "boundary": (boundary, lambda: plain_boundary(logits, scores, labels, size), logits),
    }


def steps(shapes: Shapes, device: str) -> dict[str, Callable[[], None]]:
    """Value and gradient of every form, by name; the plain forms' names end in `PLAIN`."""

    def step(loss: Loss, leaf: Tensor) -> Callable[[], None]:
        def run() -> None:
            torch.autograd.grad(loss(), leaf)

        return run

    found = dict[str, Callable[[], None]]()
    for name, (loss, plain, leaf) in pairs(shapes, device).items():
        found |= {name: step(loss, leaf), name + PLAIN: step(plain, leaf)}
    rows, others = (
        unit_vectors(shapes.maps(shapes.other, device)).permute(0, 2, 3, 1).flatten(0, 2)
        for _ in range(2)
    )
    memory = F.normalize(torch.randn(shapes.rows, shapes.other, device=device), dim=1)
    valid = torch.ones(len(rows), dtype=torch.bool, device=device)
    rows.requires_grad_()
    found["memory"] = step(lambda: to_memory(rows, others, memory, valid=valid), rows)
    found["memory" + PLAIN] = lambda: three_products(rows, others, memory)
    return found


def bench(device: str, rounds: int, shapes: Shapes = Shapes()) -> Bench:
    """Time both forms of every objective in turns.

    Args:
        device: cpu or cuda.
        rounds: timed rounds.
        shapes: of the maps.
    """
    require(rounds >= 1, "--rounds", "at least 1", rounds)
    origin = provenance(("seg-kd",), __file__)
    with isolated_rng(0):
        timed = calibrate(steps(shapes, device), warmup=2, rounds=rounds, lead_in=0)
    what = "" if device == "cpu" else f" {timed.machine.get('gpu', device)}"
    return bench_of(slug(f"{NAME}{what}"), timed, origin, device=device, **asdict(shapes))


def table(made: Bench) -> Table:
    """Speed of each equation over its plain form."""
    rows = list[tuple[Cell, ...]]()
    for name in (each for each in made.seconds if not each.endswith(PLAIN)):
        rows.append((name, made.ratio(name + PLAIN, name), AIMS.get(name, 1.0)))
    shapes = made.settings
    size = f"{shapes['images']} x {shapes['height']} x {shapes['width']}"
    return Table(
        f"bench-{made.name}",
        "Speed of the objectives over the plain way to write them, value and gradient",
        (Column("objective"), Column("speed", "x plain", 2), Column("aim", "x plain", 1)),
        tuple(rows),
        (
            conditions(made),
            f"Maps of {size} positions, {shapes['classes']} classes, {shapes['own']} and "
            f"{shapes['other']} channels (contrast and memory: {shapes['other']} both). Plain is "
            "the authors' formula line by line; for memory, its three bare matrix products.",
        ),
    )


def plain_pair_wise(own: Tensor, other: Tensor) -> Tensor:
    """Both similarity maps, B x N x N."""
    pooled = (F.max_pool2d(f, 2, ceil_mode=True).flatten(2) for f in (own, other))
    mine, taught = (F.normalize(f, dim=1) for f in pooled)
    return ((mine.mT @ mine - taught.mT @ taught) ** 2).mean()


def plain_class_variation(own: Tensor, other: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Class by class, with masks of the features' size."""
    nearness = []
    for feature in (own, other):
        centres, places = feature.clone(), labels[:, None].expand_as(feature)
        for k in range(classes):
            mask = (places == k).to(feature.dtype)
            mean = (mask * feature).sum((2, 3)) / (mask.sum((2, 3)) + 1e-6)
            centres = (1 - mask) * centres + mask * mean[:, :, None, None]
        nearness.append(F.cosine_similarity(feature, centres, dim=1))
    return F.mse_loss(nearness[0], nearness[1])


def plain_correlation(own: Tensor, other: Tensor) -> Tensor:
    """Rows of all positions, then of all classes."""
    mine, taught = (z.permute(0, 2, 3, 1).flatten(0, 2).softmax(1) for z in (own, other))
    total = own.new_zeros(())
    for one, two in ((mine, taught), (mine.T, taught.T)):
        one, two = (p - p.mean(1, keepdim=True) for p in (one, two))
        lengths = one.norm(dim=1) * two.norm(dim=1) + 1e-8
        total = total + 1 - ((one * two).sum(1) / lengths).mean()
    return total


def plain_pixel_to_pixel(own: Tensor, other: Tensor) -> Tensor:
    """Pair by pair, with both similarity maps, N x N."""
    mine, taught = (F.normalize(f.flatten(2), dim=1) for f in (own, other))
    total, images = own.new_zeros(()), len(own)
    for i in range(images):
        for j in range(images):
            similar, target = (f[i].T @ f[j] / 0.1 for f in (mine, taught))
            total = total + F.kl_div(
                similar.log_softmax(1), target.softmax(1), reduction="batchmean"
            )
    return total / images**2


@torch.no_grad()
def three_products(own: Tensor, other: Tensor, memory: Tensor) -> None:
    """The similarities of student and teacher to a memory, and the product of the gradient."""
    similar = own @ memory.T
    torch.mm(other, memory.T)
    torch.mm(similar, memory)


def plain_contrast(own: Tensor, other: Tensor) -> Tensor:
    """Positives and negatives picked out with masks."""
    groups, patch = 16, 4

    def patches(maps: Tensor) -> Tensor:
        maps = F.max_pool2d(maps, 4)
        cut = maps.unfold(2, patch, patch).unfold(3, patch, patch)  # B, C, rows, columns, p, p
        cut = cut.permute(0, 2, 3, 4, 5, 1).flatten(0, 2).flatten(1, 2)
        return cut.unflatten(2, (groups, -1)).flatten(1, 2)

    similar = -torch.cdist(patches(own), patches(other), p=1) / 0.07
    count, size = len(similar), similar.shape[1]
    same = torch.eye(size, dtype=torch.bool, device=own.device).expand(count, -1, -1)
    group = torch.arange(size, device=own.device) % groups
    rivals = (group[:, None] != group).expand(count, -1, -1)
    scores = torch.cat([similar[same].view(count * size, 1),
                        similar[rivals].view(count * size, -1)], dim=1)  # fmt: skip
    first = torch.zeros(len(scores), dtype=torch.long, device=own.device)
    return F.cross_entropy(scores, first, reduction="sum") * groups / len(scores)


def plain_boundary(own: Tensor, other: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Class by class: dilation minus erosion, and both terms on masked logits."""
    images, classes = own.shape[:2]
    labelled = (labels < classes)[:, None].float()
    nearest = F.interpolate(labelled, size, mode="nearest-exact")[:, 0]
    total = own.new_zeros(())
    for k in range(classes):
        member = (labels == k)[:, None].float()
        others = labelled - member
        seen = F.max_pool2d(member, 7, stride=1, padding=3)
        alien = F.max_pool2d(others, 7, stride=1, padding=3)
        edge = F.adaptive_avg_pool2d(seen * alien * labelled, size)[:, 0]
        # A pixel of another class sees this one: what it is itself makes it mixed.
        divergence = F.kl_div(
            own.log_softmax(1), other.log_softmax(1), reduction="none", log_target=True
        ).sum(1)
        total = total + 2 * (edge * divergence).sum() / edge.sum().clamp(min=1e-6)
        body = (1 - edge) * nearest
        mine, taught = ((z[:, k] * body).flatten(1).log_softmax(1) for z in (own, other))
        part = F.kl_div(mine, taught, reduction="sum", log_target=True)
        total = total + part / (images * classes)
    return total
