"""Top-1 and top-5 accuracy against a count by hand."""

import pytest
import torch
from torch import Tensor, nn

from repro_shared.metrics.classification import top_accuracy


def test_top_accuracy_counts_what_is_ranked_first() -> None:
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(50) % 9

    class Given(nn.Module):
        """Logits of images that hold their number."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(logits)

        def forward(self, images: Tensor) -> Tensor:
            return self.table[images[:, 0, 0, 0].long()]

    images = torch.arange(50.0)[:, None, None, None]
    batches = list(zip(images.split(8), targets.split(8), strict=True))
    order = [sorted(range(9), key=row.__getitem__, reverse=True) for row in logits.tolist()]
    top1 = sum(t == o[0] for t, o in zip(targets.tolist(), order, strict=True))
    top5 = sum(t in o[:5] for t, o in zip(targets.tolist(), order, strict=True))
    assert top_accuracy(Given(), batches) == (2 * top1, 2 * top5, 50)
    assert 0 < top1 < top5 < 50
    told: list[tuple[int, float]] = []
    top_accuracy(Given(), batches, lambda step, top1: told.append((step, top1)))
    assert [step for step, _ in told] == [1, 2, 3, 4, 5, 6, 7]
    assert told[-1][1] == pytest.approx(2 * top1)
