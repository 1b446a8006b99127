"""What a student costs: parameters, arithmetic, and images a second here."""

from __future__ import annotations

import time
from typing import Any

import torch

from clip_distill.use.students import Student
from repro_shared.timing.calibrate import cpu_model
from repro_shared.timing.counts import count_operations, count_parameters

ROUNDS = 5


def cost_card(student: Student, device: str = "cpu", batch: int = 16) -> dict[str, Any]:
    """Parameters, MACs of one image, and the median of a few timed batches after one untimed."""
    size = student.config.preprocessing.size
    images = torch.zeros(batch, 3, size, size, device=device)
    seconds = list[float]()
    with torch.inference_mode():
        macs = count_operations(student, images[:1]).macs
        for _ in range(1 + ROUNDS):
            start = time.perf_counter()
            student(images)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    median = sorted(seconds[1:])[ROUNDS // 2]
    where = torch.cuda.get_device_name() if device == "cuda" else cpu_model()
    return {
        "parameters": count_parameters(student),
        "macs": macs,
        "images a second": batch / median,
        "on": f"{where}, {torch.get_num_threads()} threads, batch {batch}",
    }


def card_line(card: dict[str, Any]) -> str:
    """The card in a line."""
    return (
        f"{card['parameters'] / 1e6:.2f} M parameters, {card['macs'] / 1e6:.1f} M MACs an image, "
        f"{card['images a second']:.0f} images/s ({card['on']})"
    )
