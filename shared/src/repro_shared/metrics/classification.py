"""Top-1 and top-5 accuracy of a model on one pass over a set, by one process or several."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from repro_shared.datasets.views import readable
from repro_shared.runtime.rng import isolated_rng


def top_accuracy(
    model: nn.Module,
    loader: Iterable[Any],
    tell: Callable[..., None] | None = None,
    world: int = 1,
) -> tuple[float, float, int]:
    """Top-1 and top-5 accuracy in percent, and the number of pictures.

    A random router's draws begin from a fixed seed each time, in each process, and follow the
    batches: its accuracy is repeatable for one batch size and number of processes. The model is
    left in the mode, training or evaluation, that it came in.

    Args:
        model: gives logits (B, classes); with at most five classes the second value is 100.
        loader: images (B, 3, H, W) and targets (B,), once each and at least one batch in all, see
            `repro_shared.datasets.views.batches`.
        tell: called after every batch, as `Progress.update` is: `tell(batches, top1=percent)`.
        world: processes that each hold a part of the set; what is returned is of all parts.
    """
    training, device = model.training, next(model.parameters()).device
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    model.eval()
    with torch.inference_mode(), isolated_rng(0):
        for step, (images, targets) in enumerate(readable(loader), start=1):
            counts += _hits(model(images.to(device)), targets.to(device))
            if tell is not None:
                tell(step, top1=100 * float(counts[0] / counts[2]))
    model.train(training)
    if world > 1:
        dist.all_reduce(counts)
    first, five, seen = counts.tolist()
    return 100 * first / seen, 100 * five / seen, seen


def _hits(logits: Tensor, targets: Tensor) -> Tensor:
    """How many targets are ranked first, among the first five, and how many there are."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == targets[:, None]
    return torch.stack([best[:, 0].sum(), best.sum(), torch.ones_like(targets).sum()])
