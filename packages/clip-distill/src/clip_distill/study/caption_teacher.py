"""A CLIP of our own: a timm network for images, word vectors for captions.

It takes the place of a pretrained CLIP on rendered objects and digits. It comes along as float16
weights; `objects.json` beside them is the record of their training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from clip_distill.study.captions import CONTEXT, FILLED, WORDS, WordTokenizer
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.students import Student, StudentConfig
from clip_distill.use.teachers import Teacher, Texts
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights

FILE = Path(__file__).parents[1] / "weights" / "objects.safetensors"
OBJECTS = "1a2d3dc3f84abdee879a2e67b703c877ae3ea862e4dda73c6ba777f4aabfb9cd"
"""Its sha256."""

SIZE = 48  # pixels
PREPARED = Preprocessing(SIZE, (0.45, 0.45, 0.45), (0.25, 0.25, 0.25))


@dataclass(frozen=True)
class TwoTowers:
    """How large the teacher is.

    Attributes:
        backbone: timm's name.
        width: of the space that both towers map into.
    """

    backbone: str = "test_resnet"
    width: int = 64


class BagOfWords(nn.Module):
    """Tokens (b, n) to features (b, width): a vector a word, summed; FILLED counts for nothing.

    The grammar needs no order of words, and a transformer of two layers learned nothing of the
    names in the steps in which this one knew most of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), width, padding_idx=FILLED)
        nn.init.normal_(self.words.weight, std=0.3)
        with torch.no_grad():
            self.words.weight[FILLED] = 0
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.words(tokens).sum(dim=1) + self.bias
        return features


class CaptionTeacher(nn.Module):
    """Both towers and the logit scale (1 / tau, in its logarithm), as CLIP has them."""

    def __init__(self, config: TwoTowers) -> None:
        super().__init__()
        self.visual = Student(StudentConfig(config.backbone, config.width, PREPARED))
        self.text = BagOfWords(config.width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised images (b, 3, s, s) to features (b, width)."""
        features: Tensor = self.visual(images)
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Tokens (b, CONTEXT) to features (b, width)."""
        features: Tensor = self.text(tokens)
        return features


def as_teacher(network: CaptionTeacher, name: str = "captions-of-objects") -> Teacher:
    """The network as caches, students and evaluation take teachers."""
    network = network.eval().requires_grad_(False)
    tokenizer = WordTokenizer()
    texts = Texts(
        lambda given: network.encode_text(tokenizer(given).to(network.logit_scale.device)),
        lambda text: "",  # the tokenizer refuses what does not fit
        CONTEXT,
    )
    return Teacher(
        name=name,
        network=network,
        preprocessing=PREPARED,
        width=network.visual.config.width,
        encode=network.encode_image,
        texts=texts,
        image_tower=network.visual,
        libraries=("open_clip_torch", "timm"),
        logit_scale=float(network.logit_scale.exp()),
    )


def load(path: Path, config: TwoTowers) -> Teacher:
    """The teacher of a file of weights; UserError for those of another network."""
    network = CaptionTeacher(config)
    state = {name: value.float() if value.is_floating_point() else value
             for name, value in read_weights(path).items()}  # fmt: skip
    load_strictly(network, state, str(path))
    return as_teacher(network)


def committed() -> Teacher:
    """The teacher that comes along; UserError if its file is not what it was."""
    if not FILE.is_file() or sha256_file(FILE) != OBJECTS:
        raise UserError(f"{FILE} is missing or damaged: restore it, or use --retrain")
    return load(FILE, TwoTowers())
