"""Objects of classes that cannot be counted, such as road or sky: parts of a predicted label map.

An object is a connected component of the pixels of one class (neighbours are 8); what it costs to
annotate is its number of pixels. The paper's abstract (2412.10032) names Cityscapes, and does not
say what an object of such a class is: this definition is ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from pycocotools import mask as coco_masks
from scipy import ndimage

from ofds.use.dataset import Dataset, Objects
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress

NEIGHBOURS = np.ones((3, 3), np.uint8)
AT_ONCE = 64  # crops that a network sees together
SMALLEST = 20  # pixels; smaller components are dropped, and counted


@dataclass(frozen=True)
class Component:
    """One object.

    Attributes:
        label: place of its class.
        score: mean probability of its pixels; 1 where none is known.
        box: x, y, width, height in pixels.
        area: its pixels.
        mask: (height, width) of the box, which pixels are its own.
    """

    label: int
    score: float
    box: tuple[int, int, int, int]
    area: int
    mask: NDArray[np.bool_]

    def counts(self, height: int, width: int) -> bytes:
        """Compressed COCO run lengths of its mask in an image of this size."""
        x, y, w, h = self.box
        whole = np.zeros((height, width), np.uint8, order="F")
        whole[y : y + h, x : x + w] = self.mask
        return bytes(coco_masks.encode(whole)["counts"])

    def crop(self, image: NDArray[np.uint8], ground: int = 127) -> NDArray[np.uint8]:
        """The box cut out of an image (H, W, 3), gray where the component is not."""
        x, y, w, h = self.box
        cut = image[y : y + h, x : x + w].copy()
        cut[~self.mask] = ground
        return cut


def components(
    labels: NDArray[np.integer],
    classes: int,
    smallest: int = SMALLEST,
    probability: NDArray[np.floating] | None = None,
) -> tuple[list[Component], NDArray[np.int64]]:
    """Connected components of a label map, class by class.

    Args:
        labels: (H, W) places of classes; other values, such as 255, belong to none.
        classes: how many there are.
        smallest: fewest pixels of a component.
        probability: (H, W) of each pixel's label, 0 to 1.

    Returns:
        The components, and for each class the number of those that were dropped as too small.
    """
    found, dropped = list[Component](), np.zeros(classes, np.int64)
    for label in (int(each) for each in np.unique(labels) if 0 <= each < classes):
        numbers, count = ndimage.label(labels == label, NEIGHBOURS)
        areas = np.bincount(numbers.ravel(), minlength=count + 1)
        for number, place in enumerate(ndimage.find_objects(numbers), start=1):
            if areas[number] < smallest:
                dropped[label] += 1
                continue
            mask = numbers[place] == number
            score = 1.0 if probability is None else float(probability[place][mask].mean())
            rows, columns = place
            box = (columns.start, rows.start, mask.shape[1], mask.shape[0])
            found.append(Component(label, min(score, 1.0), box, int(areas[number]), mask))
    return found, dropped


def pooled(
    maps: NDArray[np.floating], parts: Sequence[Component], height: int, width: int
) -> NDArray[np.float32]:
    """Mean of a feature map (d, h, w) over each component of an image of this size, (n, d).

    Each cell counts by the share of it that the component fills.
    """
    d, h, w = maps.shape
    found, flat = np.zeros((len(parts), d), np.float32), maps.reshape(d, -1).astype(np.float32)
    row_of, column_of = np.arange(height) * h // height, np.arange(width) * w // width
    for into, part in zip(found, parts, strict=True):
        rows, columns = np.nonzero(part.mask)
        x, y = part.box[:2]
        cells = row_of[rows + y] * w + column_of[columns + x]
        weight = np.bincount(cells, minlength=h * w).astype(np.float32)
        into[:] = flat @ weight / weight.sum()
    return found


def described(
    crops: Iterable[NDArray[np.uint8]], count: int, side: int, device: str = "cpu"
) -> NDArray[np.float16]:
    """Features of crops (h, w, 3), stretched to squares: EfficientNet-Lite0's, (count, 1280)."""
    import torch  # takes seconds

    from ofds.use.nets.lite0 import WIDTH, lite0

    network, found = lite0().to(device), np.zeros((count, WIDTH), np.float16)
    stream = iter(crops)
    with Progress(count, "parts described") as progress, torch.inference_mode():
        for start in range(0, count, AT_ONCE):
            squares = [
                np.asarray(Picture.fromarray(crop).resize((side, side), Picture.Resampling.BOX))
                for crop in itertools.islice(stream, AT_ONCE)
            ]
            x = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
            found[start : start + AT_ONCE] = network(x.to(device)).cpu().numpy()
            progress.update(start + len(squares))
    return found


class FromLabelMaps(NamedTuple):
    """Proposals of a folder of label maps.

    Attributes:
        objects: by image, in the data set's order.
        parts: (n,) the component behind each.
        masks: (n,) compressed run lengths of each.
    """

    objects: Objects
    parts: tuple[Component, ...]
    masks: tuple[bytes, ...]


def proposals_from_label_maps(
    dataset: Dataset,
    label_maps: Iterable[tuple[int, NDArray[np.integer], NDArray[np.floating] | None]],
    repairs: Repairs,
    smallest: int = SMALLEST,
) -> FromLabelMaps:
    """The object table of predicted label maps.

    Args:
        dataset: images and classes; the label value of a class is its place.
        label_maps: for each image its place, its labels (H, W) and perhaps their probabilities.
        repairs: books components that are dropped as too small, by class.
        smallest: fewest pixels of a component.

    Raises:
        UserError: a label map of another size than its image.
    """
    names, parts = [each.name for each in dataset.categories], list[Component]()
    owner, masks = list[int](), list[bytes]()
    for place, labels, probability in label_maps:
        image = dataset.images[place]
        if image.width and labels.shape != (image.height, image.width):
            size = (
                f"{labels.shape[1]} x {labels.shape[0]}, the image {image.width} x {image.height}"
            )
            raise UserError(
                f"the label map of {image.name!r} is {size}; they must be the same size"
            )
        found, dropped = components(labels, len(names), smallest, probability)
        for label in np.flatnonzero(dropped):
            why = f"dropped: {names[label]}, a component of fewer than {smallest} pixels"
            repairs.add(why, repr(image.name), int(dropped[label]))
        parts += found
        owner += [place] * len(found)
        masks += [part.counts(*labels.shape) for part in found]
    objects = Objects(
        image=np.array(owner, np.int64),
        label=np.array([part.label for part in parts], np.int64),
        score=np.array([part.score for part in parts], np.float64),
        box=np.array([part.box for part in parts], np.float64).reshape(-1, 4),
        area=np.array([part.area for part in parts], np.float64),
        crowd=np.zeros(len(parts), bool),
        row=np.arange(len(parts)),
        id=(),
        entries=(),
    )
    return FromLabelMaps(objects, tuple(parts), tuple(masks))
