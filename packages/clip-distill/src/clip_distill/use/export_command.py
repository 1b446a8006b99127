"""`clip-distill export`: a student as ONNX file or open_clip model."""

from __future__ import annotations

from pathlib import Path

from clip_distill.use.prompts import (
    ClassTexts,
    chosen_texts,
    class_texts,
    read_names,
    templates_of,
)
from clip_distill.use.sources import texts_of
from clip_distill.use.students import check_taught_by, load_student, ratios
from clip_distill.use.teachers import load_teacher
from repro_shared.runtime.errors import UserError


def export(
    student: str,
    *,
    onnx: str | None = None,
    open_clip: str | None = None,
    classes: str | None = None,
    text_input: bool = False,
    teacher: str | None = None,
    template: tuple[str, ...] = (),
) -> None:
    """Write a student as an ONNX classifier, or as a model that open_clip loads.

    Args:
        student: folder that `distill` wrote.
        onnx: file to write: a classifier with its classes built in.
        open_clip: folder to write, with the text tower of --teacher.
        classes: file of class names, one a line; without it those kept with the student.
        text_input: the ONNX file takes text vectors as input instead.
        teacher: see `cache`; for names that are not kept with the student, and for --open-clip.
        template: prompts: photo, pets, ..., a text with {}, or @FILE.
    """
    if onnx is None and open_clip is None:
        raise UserError("nothing to write: give --onnx FILE, --open-clip FOLDER, or both")
    built = onnx is not None and not text_input
    for flag, given, used in (
        ("--classes", classes is not None, built),
        ("--template", bool(template), built and classes is not None and teacher is not None),
        ("--text-input", text_input, onnx is not None),
    ):
        if given and not used:
            with_classes = "--onnx with --classes and --teacher, without --text-input"
            needs = {"--template": with_classes, "--text-input": "--onnx"}
            wanted = needs.get(flag, "--onnx without --text-input")
            raise UserError(f"{flag} would be without effect: it needs {wanted}")
    model, about = load_student(student)
    frozen = load_teacher(teacher) if teacher else None
    if frozen is not None:
        check_taught_by(about, frozen.sha256)
    if open_clip is not None:
        from clip_distill.use.export_open_clip import check_widths, export_open_clip
        from clip_distill.use.open_clip_teachers import config_of

        check_widths(model)
        if frozen is None or teacher is None or not teacher.startswith("open_clip:"):
            raise UserError("--open-clip needs the text tower of --teacher open_clip:...")
        made = export_open_clip(model, frozen.network, config_of(teacher), open_clip)
        print(f"written: {made}; open_clip.create_model_and_transforms('local-dir:{made}')")
    if onnx is not None:
        from clip_distill.use.export_onnx import export_onnx

        texts: ClassTexts | None = None
        if not text_input:
            if frozen is not None and classes is not None:
                names = read_names(classes)
                source = Path(classes).name
                texts = class_texts(frozen, names, templates_of(template), source)
            else:
                texts = texts_of(student)
                if classes is not None:
                    texts = chosen_texts(texts, read_names(classes), "the student")
        kept = {"teacher": about.get("teacher", "not known")}
        made = export_onnx(model, onnx, texts, about=kept)
        print(f"written: {made}, {texts if texts is not None else 'text vectors are an input'}")
    if frozen is not None:
        print(ratios(model, *frozen.parameters))
    elif sizes := about.get("teacher_parameters"):
        print(ratios(model, int(sizes["whole"]), int(sizes["image_tower"])))
