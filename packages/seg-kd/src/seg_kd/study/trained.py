"""`seg-kd evaluate` and `predict`: what a trained model is worth, and what it says."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text, ensure_output_dir
from repro_shared.runtime.output import keep_log
from repro_shared.runtime.progress import say
from repro_shared.runtime.weights import read_weights
from repro_shared.study.identity import other_than
from repro_shared.study.paper import Paper, Study
from repro_shared.study.publish import as_json
from seg_kd.study import recipes
from seg_kd.study.arms import teacher
from seg_kd.study.own_arms import HOW_MANY, Images
from seg_kd.study.stages import committed
from seg_kd.study.training import DEFAULT_VIEW
from seg_kd.study.trial import check_prediction
from seg_kd.use import adapter
from seg_kd.use.data import LabelMaps, Samples, Scenes, together
from seg_kd.use.evaluation import evaluate as score
from seg_kd.use.models import num_classes_of, own_model
from seg_kd.use.palettes import read_palette
from seg_kd.use.predict import class_colours, pictures
from seg_kd.use.predict import predict as write
from seg_kd.use.weights import load_trained

Flat = tyro.conf.OmitArgPrefixes
Device = Literal["cpu", "cuda"]


def committed_teachers() -> Mapping[str, Study]:
    """Studies whose teacher comes along, by the name that stands for it."""
    studies = (recipes.equal_time_digits("cpu"), recipes.equal_time_camvid("cpu"))
    return {study.name: study for study in studies}


def network_of(model: str, weights: str, num_classes: int, crop: tuple[int, int] | None) -> Any:
    """A trained segmentor: a config or a built-in name with weights, or a committed teacher.

    Raises:
        UserError: no weights, or what does not fit.
    """
    known = committed_teachers().get(model)
    if known is not None:
        if weights:
            raise UserError(f"{model} is a teacher that comes along: leave --weights out")
        config = teacher(known).config
        require(num_classes == config.classes, "--num-classes", f"{config.classes}", num_classes)
        return committed(config)
    view = crop or DEFAULT_VIEW.crop
    config = own_model(model, num_classes, view, trained=True)
    if not weights:
        raise UserError(f"no weights for {model}: give --weights FILE")
    state = read_weights(weights)
    network = adapter.build_model(config.config(num_classes, view))
    load_trained(network, state, weights)
    return network.eval()


@dataclass(frozen=True)
class Trained:
    """The verbs, for a `Paper`."""

    paper: Paper

    def evaluate(
        self,
        images: Annotated[Images, Flat] = Images(),
        *,
        model: str = "pspnet_r18",
        weights: str = "",
        confusion: str = "",
        device: Device = "cpu",
    ) -> None:
        """Score a model on the evaluation split: mIoU and the IoU of each class.

        Args:
            images: the data.
            model: mmseg config file, pspnet_r18 or pspnet_r101; or equal_time_digits or
                equal_time_camvid, the teacher that comes along, scored as its study scores it
                unless --num-classes is given.
            weights: its state_dict.
            confusion: CSV file to write: pixels of each class (rows), by what is predicted.
            device: cpu or cuda.
        """
        adapter.set_device(device)
        if confusion:
            ensure_output_dir(Path(confusion).parent)
        test, classes = self._scored(images, model)
        network = network_of(model, weights, len(classes), images.crop).to(device)
        check_prediction(network, test, "the model")
        result = score(network, test, len(classes))
        shown = {
            "miou": round(float(result.miou), 4),
            "pixel_accuracy": round(float(result.pixel_accuracy), 4),
            "iou": {
                name: None if value != value else round(float(value), 4)
                for name, value in zip(classes, result.iou, strict=True)
            },
            "absent_classes": [classes[index] for index in result.absent],
            "images": len(test),
        }
        if confusion:
            atomic_write_text(Path(confusion), _csv(classes, result.confusion))
        print(as_json(shown))

    def predict(
        self,
        source: str,
        *,
        model: str = "pspnet_r18",
        weights: str = "",
        num_classes: int = 0,
        palette: str = "",
        opacity: float = 0.5,
        out: str = "runs/predict",
        device: Device = "cpu",
    ) -> None:
        """Write what a model says of images: label maps, and the same laid over the images.

        Args:
            source: folder of images, in folders as deep as one likes, or one image.
            model: as of evaluate.
            weights: its state_dict.
            num_classes: number of classes; left out, the config's, or the palette's.
            palette: colours of the classes: text file with a line `R G B name` each.
            opacity: of the classes over the images, 0 to 1.
            out: output folder: labels/*.png (class indices) and overlays/*.png.
            device: cpu or cuda.
        """
        adapter.set_device(device)
        require(0 <= opacity <= 1, "--opacity", "0 to 1", opacity)
        colours = read_palette(palette)[0] if palette else ()
        known = committed_teachers().get(model)
        own = teacher(known).config.classes if known else num_classes_of(model)
        count = num_classes or own or len(colours)
        if not count:
            raise UserError(HOW_MANY.partition(",")[0])
        require(2 <= count <= 254, "--num-classes", "2 to 254", count)
        require(own in (0, count), "--num-classes", f"{own}, as in {model}", count)
        if colours and len(colours) < count:
            raise UserError(f"--palette {palette} has {len(colours)} colours for {count} classes")
        found = pictures(Path(source), Path(out))
        network = network_of(model, weights, count, None).to(device)
        keep_log(ensure_output_dir(Path(out)))
        write(network, found, Path(out), colours or class_colours(count), opacity)
        print(f"{len(found)} label maps and overlays in {out}")

    def _scored(self, images: Images, model: str) -> tuple[Samples, tuple[str, ...]]:
        """The images that are scored, and the names of the classes."""
        known = committed_teachers().get(model)
        folder = Path(images.data) if images.data else None
        if known is None or images.num_classes:
            source = images.source()
            if not source.test_split:
                raise UserError("nothing to score: name a split with --val-split")
            return source.part(folder, training=False), source.classes
        missing = known.data.missing(folder)
        if missing:
            raise UserError(missing[0])
        data = known.data
        assert isinstance(data, Scenes | LabelMaps)
        test = data.part(folder, training=False)
        if isinstance(data, LabelMaps) and data.known:
            scored = together("", test.fingerprint)  # the training images are not read
            if not any(each.endswith(scored) for each in data.known):
                say(f"{data.name}: {other_than(data)}")
        return test, data.classes


def _csv(classes: tuple[str, ...], confusion: np.ndarray) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["label", *classes])
    rows.writerows([name, *map(int, row)] for name, row in zip(classes, confusion, strict=True))
    return text.getvalue()
