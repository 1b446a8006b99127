"""`ofds demo`: the whole way, from photographs to an audit page, on data that come along."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ofds.use.audit_command import audit
from ofds.use.coco import read_json
from ofds.use.estimate_command import estimate
from ofds.use.export_command import export
from ofds.use.folders import check_empty
from ofds.use.formats.label_studio import TASKS
from ofds.use.ingest_command import LABELS, ingest
from ofds.use.propose_command import propose
from ofds.use.sample_command import sample
from ofds.use.select_command import select
from repro_shared.datasets.scenes import DigitScenes, SceneConfig
from repro_shared.runtime.cli import run
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text, ensure_output_dir

VERBS: dict[str, Callable[..., None]] = {
    "propose": propose, "sample": sample, "select": select, "export": export,
    "ingest": ingest, "estimate": estimate, "audit": audit,
}  # fmt: skip
IMAGES, SAMPLE, BUDGET, MINIMUM = 200, 30, 120, 4
STYLE = SceneConfig(
    min_digits=1, max_digits=5, min_scale=20, max_scale=36, brighter=True, backdrop=0.6,
    colour=0.5, min_contrast=0.4, class_imbalance=1.3,
)  # fmt: skip
PHOTOS, CLASSES, TRUTH = "photos", "classes.txt", "truth.json"


def demo(out: str = "ofds-demo") -> None:
    """Show the whole way on data that come along: propose, select, export, ingest, audit.

    Args:
        out: a new folder.
    """
    check_empty(out)
    folder = ensure_output_dir(out)
    _say(f"{IMAGES} scenes of digits on photographs, some digits much rarer than others")
    compose(folder)
    print(f"{folder / PHOTOS}: the pool; {folder / CLASSES}: what to look for")
    for words, command in steps(folder):
        _say(words)
        if callable(command):
            command()
            continue
        print(f"$ ofds {shlex.join(command)}\n")
        if run("ofds", "", VERBS, command, version=""):
            raise UserError("the demonstration stopped at this command")
    print(f"\nOpen {folder / 'audit.html'} in a browser. The commands above work alike on your own "
          "photographs, with a detector from the hub.")  # fmt: skip


def steps(folder: Path) -> list[tuple[str, list[str] | Callable[[], None]]]:
    """What is done, in words, and the command, or what the annotator does."""

    def at(name: str) -> str:
        return str(folder / name)

    pool, chosen, drawn = ("--pool", at("pool")), at("chosen"), at("sample")
    labels = ("--labels", at(f"sample-labels/{LABELS}"), at(f"labels/{LABELS}"))
    to_label_studio = ("export", *pool, "--format", "label-studio", "--selection")
    from_label_studio = ("ingest", *pool, "--format", "label-studio", "--selection")
    return [
        ("A small detector proposes objects; an ImageNet network describes each.",
         ["propose", "--folder", at(PHOTOS), "--classes", at(CLASSES), "--detector", "digits",
          "--side", "64", "--out", at("pool")]),
        (f"{SAMPLE} images at random will tell how far the proposals can be trusted.",
         ["sample", *pool, "--count", str(SAMPLE), "--out", drawn]),
        (f"Images for {BUDGET} objects, with at least {MINIMUM} of every digit.",
         ["select", *pool, "--budget", str(BUDGET), "--minimum", str(MINIMUM),
          "--folder", at(PHOTOS), "--out", chosen]),
        ("Both go to Label Studio, with the proposals to correct.",
         [*to_label_studio, drawn, "--out", at("sample-tasks")]),
        ("", [*to_label_studio, chosen, "--out", at("tasks")]),
        ("Annotators work: all of the sample, and the first two thirds of the chosen images.",
         lambda: annotators(folder)),
        ("Their results come back: the sample first.",
         [*from_label_studio, drawn, "--labels", at("sample-tasks/export.json"),
          "--out", at("sample-labels")]),
        ("Then the chosen images: what they cost, what they cover, and what comes next.",
         [*from_label_studio, chosen, "--labels", at("tasks/export.json"), "--out", at("labels")]),
        ('From "on proposals" to what is true.',
         ["estimate", *pool, "--sample", drawn, *labels, "--selection", chosen,
          "--out", at("estimate.json")]),
        ("One page that shows all of it.",
         ["audit", *pool, "--selection", chosen, "--folder", at(PHOTOS),
          *labels, "--estimate", at("estimate.json"),
          "--out", at("audit.html")]),
    ]  # fmt: skip


def compose(folder: Path) -> None:
    """Write the photographs, the classes, and the truth, which annotators alone will know."""
    scenes, truth = DigitScenes(STYLE, "test", IMAGES), dict[str, list[dict[str, Any]]]()
    (folder / PHOTOS).mkdir()
    for place, scene in enumerate(scenes):
        name = f"{place:03d}.png"
        Image.fromarray(scene.image).save(folder / PHOTOS / name)
        corners = scene.boxes.tolist()
        truth[name] = [
            {"class": STYLE.classes[label], "box": [left, top, right - left, bottom - top]}
            for label, (left, top, right, bottom) in zip(scene.classes, corners, strict=True)
        ]
    atomic_write_text(folder / CLASSES, "".join(f"{name}\n" for name in STYLE.classes[1:]))
    atomic_write_json(folder / TRUTH, truth)


def annotators(folder: Path) -> None:
    """Answer tasks as Label Studio exports them: every true object is a rectangle."""
    truth = json.loads((folder / TRUTH).read_text())
    for name, share in (("sample-tasks", 1.0), ("tasks", 2 / 3)):
        tasks = read_json(folder / name / TASKS)
        done = tasks[: round(share * len(tasks))]
        export = [annotated(task, truth[task["data"]["ofds_image"]]) for task in done]
        atomic_write_json(folder / name / "export.json", export)
        objects = sum(len(task["annotations"][0]["result"]) for task in export)
        print(f"{folder / name / 'export.json'}: {objects} objects on {len(done)} images")


def annotated(task: dict[str, Any], objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A task with its annotation; a rectangle that a prediction fits is that prediction's."""
    size, regions = STYLE.size, list[dict[str, Any]]()
    for number, each in enumerate(objects):
        x, y, width, height = (100 * value / size for value in each["box"])
        regions.append({
            "id": f"r{number}", "type": "rectanglelabels", "from_name": "rectangle",
            "to_name": "image", "original_width": size, "original_height": size,
            "value": {"x": x, "y": y, "width": width, "height": height, "rotation": 0,
                      "rectanglelabels": [each["class"]]},
        })  # fmt: skip
    return {**task, "annotations": [{"result": regions, "was_cancelled": False}]}


def _say(words: str) -> None:
    print(f"\n== {words}" if words else "")
