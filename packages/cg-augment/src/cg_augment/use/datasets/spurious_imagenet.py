"""Spurious ImageNet from a local folder, with ImageNet's validation images of the same classes.

Layout of the authors' release: `spurious_imagenet/images/<folder>/`, where the folder's name, cut
at underscores, has the class's number in ImageNet as its third part and the number of the spurious
component as its last one, and holds 75 photographs that show the feature and not the class.
ImageNet's validation set lies in class folders named by WordNet ids, all 1,000 of them, or some of
them with a class map.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cg_augment.use.pictures import Files
from repro_shared.datasets.class_folders import ClassFolder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES

OUTPUTS = 1000  # classes of ImageNet
_HERE = "give the folder that holds images/ with one folder a class and component"


@dataclass(frozen=True)
class SpuriousImages:
    """What spurious scores are computed from; targets are ImageNet's class numbers.

    Attributes:
        spurious: pictures that show a class's spurious feature alone.
        components: (m,) the component of each.
        validation: ImageNet's validation images of these classes.
    """

    spurious: Files
    components: np.ndarray
    validation: Files

    @property
    def classes(self) -> tuple[int, ...]:
        """Numbers of the classes that have spurious pictures."""
        return tuple(sorted({*map(int, self.spurious.targets)}))


def spurious_imagenet(
    root: str | Path, validation: str | Path, class_map: Mapping[str, int] | None = None
) -> SpuriousImages:
    """Both sets.

    Args:
        root: folder of the release.
        validation: folder of ImageNet's validation set, class folders in it.
        class_map: from the name of a class folder to the class's number; needed where there are
            fewer than 1,000 folders, whose order would give other numbers.

    Raises:
        UserError: no such layout, a number that is no class's, or a class without validation
            images.
    """
    folder = Path(root)
    for below in ("spurious_imagenet", "images"):
        folder = folder / below if (folder / below).is_dir() else folder
    if not folder.is_dir():
        raise UserError(f"{root}: no such folder; {_HERE}")
    names = tuple(str(number) for number in range(OUTPUTS))
    paths, targets, components = list[Path](), list[int](), list[int]()
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        number, component = _numbers(place)
        found = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise UserError(f"{place} has no images")
        paths += found
        targets += [number] * len(found)
        components += [component] * len(found)
    if not paths:
        raise UserError(f"{folder} has no folders of spurious images; {_HERE}")
    spurious = Files(folder, paths, targets, names, empty=True)
    return SpuriousImages(
        spurious, np.asarray(components), _validation(validation, set(targets), names, class_map)
    )


def read_class_index(path: str | Path) -> dict[str, int]:
    """A class map from `imagenet_class_index.json`: {"0": ["n01440764", "tench"], ...}.

    Raises:
        UserError: no such file, or another form.
    """
    try:
        form = json.loads(Path(path).read_text(encoding="utf-8"))
        return {str(entry[0]): int(number) for number, entry in form.items()}
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: no class index ({type(error).__name__}: {error})") from None


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Names of all 1,000 classes in their order, from the same file, for teachers that read names.

    Two pairs of classes share a name in the file that is handed out (crane, maillot): to such a
    teacher each pair is one class.

    Raises:
        UserError: no such file, another form, or fewer classes.
    """
    numbers = sorted(read_class_index(path).values())
    if numbers != list(range(OUTPUTS)):
        raise UserError(
            f"{path} has {len(numbers)} classes: a teacher that knows classes by name needs the "
            f"names of all {OUTPUTS}"
        )
    form = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        return tuple(str(form[str(n)][1]).replace("_", " ") for n in numbers)
    except (KeyError, IndexError) as error:
        raise UserError(f"{path}: no class index ({type(error).__name__}: {error})") from None


def _numbers(place: Path) -> tuple[int, int]:
    parts = place.name.split("_")
    try:
        number, component = int(parts[2]), int(parts[-1])
        if not 0 <= number < OUTPUTS:
            raise ValueError
    except (IndexError, ValueError):
        raise UserError(
            f"{place}: the third part of the name, cut at underscores, must be a class of "
            f"ImageNet, 0 to {OUTPUTS - 1}, and the last one the component"
        ) from None
    return number, component


def _validation(
    root: str | Path, wanted: set[int], names: tuple[str, ...], class_map: Mapping[str, int] | None
) -> Files:
    folder = ClassFolder(root, None, class_map)
    if class_map is None and len(folder.classes) != OUTPUTS:
        raise UserError(
            f"{root} has {len(folder.classes)} class folders: without all {OUTPUTS} of ImageNet "
            "their order does not give the numbers of the classes; give a class map"
        )
    numbers = [folder.numbers[target] for target in folder.targets]
    kept = [place for place, number in enumerate(numbers) if number in wanted]
    if lacking := sorted(wanted - {numbers[place] for place in kept}):
        raise UserError(f"{root} has no validation images of class {lacking[0]}")
    return Files(
        folder.folder,
        [folder.paths[i] for i in kept],
        [numbers[i] for i in kept],
        names,
        empty=True,
    )
