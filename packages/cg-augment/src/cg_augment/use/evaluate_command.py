"""`cg-augment evaluate`: accuracy by group, and scores on spurious images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cg_augment.method.groups import Figure, GroupAccuracy
from cg_augment.use.classifiers import Classifier, load_classifier, reordered
from cg_augment.use.datasets.spurious_imagenet import (
    OUTPUTS,
    read_class_index,
    read_class_names,
    spurious_imagenet,
)
from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import check_files
from cg_augment.use.scoring import by_group, spurious
from cg_augment.use.sources import Kind, Split, grouped_source
from cg_augment.use.teachers import load_teacher
from cg_augment.use.zero_shot import TEMPLATE
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError

Sets = Literal["folders", "groups", "celeba", "spuco-birds", "elpv", "spurious-imagenet"]


def evaluate(
    data: str,
    *,
    student: str | None = None,
    teacher: str | None = None,
    set: Sets = "folders",
    split: Split = "test",
    training: str | None = None,
    dropped: tuple[str, ...] = (),
    validation: str | None = None,
    class_index: str | None = None,
    template: tuple[str, ...] = (TEMPLATE,),
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Accuracy by group under four names, or scores on spurious images, of student and teacher.

    Args:
        data: class folders of test images, a folder with test/ in it, or a data set's own layout.
        student: folder that `train` wrote.
        teacher: as of `train`.
        set: folders (each class is a group), groups (CLASS/GROUP/ folders), celeba, spuco-birds,
            elpv or spurious-imagenet.
        split: which part.
        training: the training set, for the adjusted accuracy; known sets have it in their layout.
        dropped: groups that training was made without.
        validation: ImageNet's validation set in class folders, for spurious-imagenet.
        class_index: imagenet_class_index.json, where --validation lacks some of the classes, and
            for the names of classes, where a teacher knows them by name.
        template: prompts with {} for the class, for teachers that know classes by name.
        device: cpu or cuda.
        workers: decoding processes.
    """
    check_device(device)
    require(workers >= 0, "--workers", "0 or more", workers)
    if student is None and teacher is None:
        raise UserError("nothing to evaluate: give a student's folder, --teacher, or both")
    if set == "spurious-imagenet":
        _spurious(data, student, teacher, validation, class_index, template, device, workers)
        return
    model = load_classifier(student)[0] if student is not None else None
    wanted = model.classes if model is not None else ()
    grouped = grouped_source(set, data, split, wanted if set in ("folders", "groups") else ())
    sizes = _sizes(set, data, training, dropped, grouped)
    check_files([grouped.pictures], max(1, workers))
    models = dict[str, Classifier]()
    if model is not None:
        models["student"] = reordered(model, grouped.pictures.classes, data)
    if teacher is not None:
        models["teacher"] = load_teacher(teacher, grouped.pictures.classes, template)
    found = {name: by_group(each, grouped, sizes, device, workers) for name, each in models.items()}
    print(summary(found, data).to_terminal())
    print(listed(found).to_terminal())


def summary(found: Mapping[str, GroupAccuracy], data: str) -> Table:
    """The four averages of each model."""
    rows, notes = list[tuple[Cell, ...]](), list[str]()
    for name, each in found.items():
        worst = each.worst
        cells: list[Cell] = [name]
        if worst is None or worst.interval is None or worst.accuracy is None:
            cells += [None, "undefined", None]
        else:
            low, high = worst.interval
            accuracy = Interval(100 * worst.accuracy, 100 * low, 100 * high)
            cells += [accuracy, worst.name, worst.images]
        figures = each.figures()
        cells += [_percent(figures[key]) for key in list(figures)[1:]]
        rows.append(tuple(cells))
    first = next(iter(found.values()))
    notes = [
        f"{key}: undefined, {figure.undefined}."
        for key, figure in first.figures().items()
        if figure.value is None
    ]
    notes.append("Interval: Wilson, 95 %, of that group's images; it does not cover seeds.")
    columns = (
        Column("model"), Column("worst-group accuracy", "%", 2), Column("worst group"),
        Column("images of it"), Column("mean-group accuracy", "%", 2),
        Column("adjusted accuracy", "%", 2), Column("accuracy", "%", 2),
    )  # fmt: skip
    return Table("groups", f"Accuracy by group on {data}", columns, tuple(rows), tuple(notes))


def listed(found: Mapping[str, GroupAccuracy]) -> Table:
    """Every group of every model."""
    first = next(iter(found.values()))
    rows: list[tuple[Cell, ...]] = []
    for place, group in enumerate(first.groups):
        shares = [each.groups[place].accuracy for each in found.values()]
        rows.append((
            group.name, *(None if share is None else 100 * share for share in shares),
            group.images, group.training,
        ))  # fmt: skip
    columns = (
        Column("group"), *(Column(name, "%", 2) for name in found), Column("images"),
        Column("in training"),
    )  # fmt: skip
    return Table("each-group", "Accuracy of each group", columns, tuple(rows))


def _percent(figure: Figure) -> float | None:
    return None if figure.value is None else 100 * figure.value


def _sizes(
    kind: Kind, data: str, training: str | None, dropped: tuple[str, ...], grouped: Grouped
) -> tuple[int, ...] | None:
    """Of the groups in training, in the order of the test set's; None where nobody knows."""
    if training is None and kind in ("folders", "groups"):
        if dropped:
            raise UserError("--dropped needs the training set that groups were dropped from")
        return None
    source = grouped_source(kind, training or data, "train")
    for name in dropped:
        source.number(name)  # refused if it is none
    sizes = dict(zip(source.names, source.sizes, strict=True))
    return tuple(0 if name in dropped else sizes.get(name, 0) for name in grouped.names)


def _spurious(
    data: str,
    student: str | None,
    teacher: str | None,
    validation: str | None,
    class_index: str | None,
    template: tuple[str, ...],
    device: str,
    workers: int,
) -> None:
    if validation is None:
        raise UserError("spurious-imagenet needs ImageNet's validation set: give --validation")
    names = _names(teacher or "", class_index)
    classes = read_class_index(class_index) if class_index else None
    images = spurious_imagenet(data, validation, classes)
    check_files([images.spurious, images.validation], max(1, workers))
    models = dict[str, Classifier]()
    if student is not None:
        models["student"] = load_classifier(student)[0]
    if teacher is not None:
        own = Path(teacher).is_dir()  # a folder of `train`: its outputs are taken as they are
        models["teacher"] = (
            load_classifier(teacher)[0] if own else load_teacher(teacher, names, template)
        )
    rows: list[tuple[Cell, ...]] = []
    for name, each in models.items():
        if len(each.classes) <= max(images.classes):
            raise UserError(
                f"{each.name} has {len(each.classes)} classes: spurious scores need the outputs of "
                "an ImageNet classifier, in ImageNet's order"
            )
        found = spurious(each, images, device, workers)
        rows.append((
            name, found.spurious_map, found.spurious_auroc, found.joint, 100 * found.fooled,
            len(found.classes),
        ))  # fmt: skip
    columns = (
        Column("model"), Column("spurious mAP", "", 4), Column("spurious mAUROC", "", 4),
        Column("joint AP", "", 4), Column("taken for the class", "%", 2), Column("classes"),
    )  # fmt: skip
    note = (
        "Spurious mAP is what the data set's authors report as spurious mAUC: their code computes "
        "the average precision."
    )
    title = f"Spurious images in {Path(data)}"
    print(Table("spurious", title, columns, tuple(rows), (note,)).to_terminal())


def _names(teacher: str, class_index: str | None) -> tuple[str, ...]:
    """Of ImageNet's classes, as a teacher takes them; numbers are no names."""
    if not teacher.startswith(("open_clip:", "transformers:")):
        return tuple(str(number) for number in range(OUTPUTS))
    if class_index is None:
        raise UserError(
            f"{teacher} knows classes by name: give their names with --class-index "
            "imagenet_class_index.json"
        )
    return read_class_names(class_index)
