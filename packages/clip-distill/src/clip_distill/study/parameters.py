"""How many parameters a student saves, by both ways of counting: arithmetic, no training."""

from __future__ import annotations

import torch

from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.students import Student, StudentConfig, open_clip_parameters
from repro_shared.evidence.tables import Column, Table
from repro_shared.study.results import Results
from repro_shared.timing.counts import count_parameters

TEACHER, WIDTH, SIZE = "ViT-B-32", 512, 224
BACKBONES = ("tiny_vit_5m_224", "tiny_vit_11m_224", "tiny_vit_21m_224",
             "efficientnet_b0", "efficientnet_b3")  # fmt: skip
COLUMNS = (
    Column("student"),
    Column("parameters", "M", 2),
    Column("fewer than the whole teacher", "%", 1),
    Column("fewer than its image tower", "%", 1),
)


def parameters(results: Results) -> Table:
    """Backbones of the paper's two families with a linear map to 512 dimensions."""
    whole, tower = open_clip_parameters(TEACHER)
    rows = []
    for name in BACKBONES:
        with torch.device("meta"):
            own = count_parameters(Student(StudentConfig(name, WIDTH, Preprocessing(SIZE))))
        rows.append((name, own / 1e6, 100 * (1 - own / whole), 100 * (1 - own / tower)))
    return Table(
        "parameters",
        "Parameters of students beside those of their teacher",
        COLUMNS,
        tuple(rows),
        (
            f"Teacher: {TEACHER}, {whole / 1e6:.2f} M parameters, {tower / 1e6:.2f} M of them in "
            "the image tower.",
            "The abstract says up to 92 % fewer. We could not read which students it means, nor "
            "which way of counting.",
        ),
    )
