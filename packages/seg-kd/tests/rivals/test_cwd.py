"""Channel-wise distillation against loops, and against the reductions of three code bases."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seg_kd.rivals.cwd import channel_wise


def slow(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """One channel of one image at a time."""
    total, images, channels = 0.0, *student.shape[:2]
    for b in range(images):
        for c in range(channels):
            own, other = (np.exp(maps[b, c] / temperature) for maps in (student, teacher))
            own, other = own / own.sum(), other / other.sum()
            total += float((other * np.log(other / own)).sum())
    return temperature**2 * total / (images * channels)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_against_slow_reference(temperature: float, device: str) -> None:
    student, teacher = np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5))
    own, other = (torch.tensor(maps, device=device) for maps in (student, teacher))
    found = channel_wise(own, other, temperature=temperature)
    assert found.item() == pytest.approx(slow(student, teacher, temperature), rel=1e-10)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_reductions_are_those_of_three_code_bases(temperature: float) -> None:
    student, teacher = torch.tensor(np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5)))
    images, channels, height, width = student.shape
    flat = [maps.reshape(-1, height * width) / temperature for maps in (student, teacher)]
    own, other = flat[0].log_softmax(1), flat[1].softmax(1)
    # CIRKD and TorchDistiller: KLDivLoss' sum over n * c; mmrazor: a sum written out, over C * N.
    cirkd = nn.KLDivLoss(reduction="sum")(own, other) / (images * channels) * temperature**2
    mmrazor = (other * other.log() - other * own).sum() * temperature**2 / (channels * images)
    torch.testing.assert_close(cirkd, mmrazor)
    torch.testing.assert_close(channel_wise(student, teacher, temperature=temperature), cirkd)

    # TorchDistiller's and mmrazor's reductions of the pixel loss, applied to this one.
    element = F.kl_div(own, other, reduction="sum") / student.numel()
    batch = F.kl_div(own, other, reduction="sum") * temperature**2 / images
    found = {
        each: channel_wise(student, teacher, temperature=temperature, reduction=each)
        for each in ("element_mean", "batch_sum")
    }
    torch.testing.assert_close(found["element_mean"], element)
    torch.testing.assert_close(found["batch_sum"], batch)
    torch.testing.assert_close(element, cirkd / (height * width * temperature**2))
    torch.testing.assert_close(batch, cirkd * channels)


def test_a_constant_added_to_a_channel_is_not_seen() -> None:
    student, teacher = torch.tensor(np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5)))
    shift = torch.arange(6.0, dtype=torch.float64).view(2, 3, 1, 1)
    found = channel_wise(student + shift, teacher - 2 * shift)
    torch.testing.assert_close(found, channel_wise(student, teacher))


def test_an_unknown_reduction_is_named() -> None:
    maps = torch.zeros(1, 2, 2, 2)
    with pytest.raises(ValueError, match="channel_mean, element_mean, batch_sum; got 'mean'"):
        channel_wise(maps, maps, reduction="mean")  # type: ignore[arg-type]
