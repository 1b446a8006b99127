"""How folders hold images and label maps: the forms of public data sets, and one's own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from repro_shared.datasets.label_maps import Pair
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES


@dataclass(frozen=True)
class Form:
    """A form of folder; `{split}` stands for the folder of a split.

    Attributes:
        name: what `--format` calls it.
        images, labels: where the files of a split lie, in folders as deep as one likes.
        image_suffix, label_suffix: what the names of an image and its label map end in, with or
            without the ending of the file; what stands before is the same. "": an image's ending.
        listed: text file with the names of a split, one a line; "": all files.
        splits: (split, what it is called here).
        num_classes: of the public data set of this form; 0: any.
        mapped, reduce_zero: see `LabelValues`.
    """

    name: str
    images: str
    labels: str
    image_suffix: str = ""
    label_suffix: str = ""
    listed: str = ""
    splits: tuple[tuple[str, str], ...] = ()
    num_classes: int = 0
    mapped: tuple[tuple[int, int], ...] = ()
    reduce_zero: bool = False

    def folders(self, split: str) -> tuple[str, str, str]:
        """Images, labels and list of a split, below the root."""
        called = dict(self.splits).get(split, split)
        images, labels, listed = (
            part.format(split=called) for part in (self.images, self.labels, self.listed)
        )
        return images, labels, listed

    def has(self, root: Path, split: str) -> bool:
        """Whether a folder of this form has a split: its list, or the folder of its images."""
        images, _, listed = self.folders(split)
        return (root / listed).is_file() if listed else (root / images).is_dir()

    def fits(self, root: Path) -> bool:
        """Whether a folder has this form."""
        places = (self.images, self.labels)
        if self.splits:  # by the names of their folders
            return any(all((root / p.format(split=n)).is_dir() for p in places)
                       for _, n in self.splits)  # fmt: skip
        general = [place.partition("/{split}")[0].format(split="*") for place in places]
        return all(any(path.is_dir() for path in root.glob(place)) for place in general)


# https://github.com/mcordts/cityscapesScripts, helpers/labels.py: id -> trainId; the others and
# those of the "void" category are not trained.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_TO_TRAIN_IDS = (
    *((value, 255) for value in range(34) if value not in _CITYSCAPES_IDS),
    *((value, train_id) for train_id, value in enumerate(_CITYSCAPES_IDS)),
)
FORMS = (
    Form(
        "cityscapes", "leftImg8bit/{split}", "gtFine/{split}", "_leftImg8bit", "_gtFine_labelIds",
        num_classes=19, mapped=_TO_TRAIN_IDS,
    ),
    Form(
        "ade20k", "images/{split}", "annotations/{split}",
        splits=(("train", "training"), ("val", "validation")), num_classes=150, reduce_zero=True,
    ),
    Form(
        "voc", "JPEGImages", "SegmentationClass",
        listed="ImageSets/Segmentation/{split}.txt", num_classes=21,
    ),
    Form("mmseg", "img_dir/{split}", "ann_dir/{split}"),
    Form("labels", "images/{split}", "labels/{split}"),
    Form("annotations", "images/{split}", "annotations/{split}"),
    Form("masks", "images/{split}", "masks/{split}"),
    Form("split/labels", "{split}/images", "{split}/labels"),
    Form("split/masks", "{split}/images", "{split}/masks"),
)  # fmt: skip


def find_form(root: Path, name: str = "") -> Form:
    """The form of that name, or the first that the folder has.

    Raises:
        UserError: no such folder or form, or a folder of none of them.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder of the data set")
    if name:
        known = {form.name: form for form in FORMS}
        if name not in known:
            raise UserError(f"--format {name}: choose one of {', '.join(known)}")
        return known[name]
    for form in FORMS:
        if form.fits(root):
            return form
    forms = "; ".join(f"{form.name}: {form.images} and {form.labels}" for form in FORMS)
    raise UserError(f"{root} holds no images and label maps in a known form: {forms}")


def changed(
    form: Form,
    image_suffix: str = "",
    label_suffix: str = "",
    mapped: tuple[tuple[int, int], ...] = (),
    reduce_zero: bool = False,
) -> Form:
    """A form with the user's settings; train ids of Cityscapes are classes as they are."""
    own = () if "TrainIds" in label_suffix else form.mapped
    return replace(
        form,
        image_suffix=image_suffix or form.image_suffix,
        label_suffix=label_suffix or form.label_suffix,
        mapped=(*own, *mapped),
        reduce_zero=form.reduce_zero or reduce_zero,
    )


@dataclass(frozen=True)
class Listing:
    """The pairs of a split, and how many files of each kind below its folders were passed over."""

    pairs: tuple[Pair, ...]
    passed_over: Counter[str]

    def sentence(self) -> str:
        """Counts, for a line."""
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.passed_over.items()))
        many = "" if len(self.pairs) == 1 else "s"
        return f"{len(self.pairs)} image{many}; passed over: {kinds or 'nothing'}"


def list_pairs(root: Path, form: Form, split: str, advice: str = "") -> Listing:
    """All images of a split with their label maps, by name.

    Args:
        root: the folder of the data set.
        form: its form.
        split: which split.
        advice: how another split is chosen, for the error of one that is not there.

    Raises:
        UserError: folders or lists that are not there or empty, two files of one name, an image
            or a label map without the other.
    """
    places = form.folders(split)
    passed_over = Counter[str]()
    images, labels = (
        _by_name(root / place, _known_splits(root, general, advice), suffix, passed_over)
        for place, general, suffix in (
            (places[0], form.images, form.image_suffix),
            (places[1], form.labels, form.label_suffix),
        )
    )
    if form.listed:
        wanted = _names(root / places[2], _known_splits(root, form.listed, advice))
        for files, folder in ((images, places[0]), (labels, places[1])):
            missing = [name for name in wanted if name not in files]
            if missing:
                raise UserError(
                    f"{root / places[2]}: {missing[0]} is not in {root / folder} "
                    f"({len(missing)} of {len(wanted)} are not)"
                )
        passed_over["images that the list lacks"] = len(images) - len(wanted)
        return Listing(tuple(Pair(n, images[n], labels[n]) for n in wanted), +passed_over)
    _require_partners(images, labels, "image", "label map", root / places[1])
    _require_partners(labels, images, "label map", "image", root / places[0])
    return Listing(tuple(Pair(n, images[n], labels[n]) for n in sorted(images)), passed_over)


def _by_name(folder: Path, splits: str, suffix: str, passed_over: Counter[str]) -> dict[str, Path]:
    """Files below a folder by their path there without the suffix."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder{splits}")
    files: dict[str, Path] = {}
    for path in _walk(folder, passed_over):
        place = path.relative_to(folder).as_posix()
        stem, ending = place.removesuffix(path.suffix), path.suffix.lower()
        if ending not in SUFFIXES:
            passed_over[ending or "files without an ending"] += 1
            continue
        # The longer first: a suffix may hold the ending of the file.
        name = next((n.removesuffix(suffix) for n in (place, stem) if n.endswith(suffix)), "")
        if not name:
            passed_over[f"{ending} of other names"] += 1
            continue
        name = name if suffix else stem
        if name in files:
            raise UserError(f"{path}: same name as {files[name].name}; keep one of them")
        files[name] = path
    if not files:
        ending = f" that ends in {suffix}" if suffix else f" ({', '.join(SUFFIXES)})"
        raise UserError(f"{folder}: holds no image{ending}")
    return files


def _walk(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """All files below a folder, sorted; hidden ones are passed over, links to folders followed."""
    seen = set[str]()
    for place, below, names in os.walk(folder, onerror=_refuse, followlinks=True):
        seen.add(os.path.realpath(place))
        hidden = [name for name in (*below, *names) if name.startswith(".")]
        if hidden:
            passed_over["hidden"] += len(hidden)
        below[:] = sorted(
            name
            for name in below
            if name not in hidden and os.path.realpath(os.path.join(place, name)) not in seen
        )
        yield from (Path(place, name) for name in sorted(names) if name not in hidden)


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None


def _known_splits(root: Path, general: str, advice: str) -> str:
    """What an error says about the splits that there are, where one of them is looked for."""
    place = next((i for i, part in enumerate(Path(general).parts) if "{split}" in part), 0)
    after = Path(general).parts[place].partition("{split}")[2]
    found = (path.relative_to(root).parts[place] for path in root.glob(general.format(split="*")))
    names = sorted({name.removesuffix(after) for name in found if not name.startswith(".")})
    return f"; splits found: {', '.join(names)}{advice}" if names else ""


def _names(path: Path, splits: str) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path}: no such list{splits}")
    names = [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
    return sorted({name for name in names if name})


def _require_partners(
    files: dict[str, Path], partners: dict[str, Path], kind: str, partner: str, folder: Path
) -> None:
    alone = sorted(files.keys() - partners.keys())
    if not alone:
        return
    hint = ""
    if len(alone) == len(files):  # perhaps names differ in the same way everywhere
        rests = {o[len(n) :] for n in alone for o in partners if o.startswith(n)}
        if len(rests) == 1:
            hint = f"; perhaps --{partner.split()[0]}-suffix {rests.pop()}"
    raise UserError(
        f"{files[alone[0]]}: {kind} without {partner} in {folder} "
        f"({len(alone)} of {len(files)} {kind}s lack one){hint}"
    )
