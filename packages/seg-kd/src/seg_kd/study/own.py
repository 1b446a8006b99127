"""`seg-kd train`, `distill`, `calibrate` on the user's own images, configs and weights.

Images and label maps lie in one folder: `images/<split>/*` and `labels/<split>/<same name>.png`,
labels as class indices. Models are mmseg config files with a `model`, or the names `pspnet_r18` and
`pspnet_r101`. A training is an arm that the user fills in, on the stages of every other study.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_json, sha256_file
from repro_shared.runtime.weights import read_weights
from repro_shared.study.paper import Arm, Paper
from repro_shared.study.publish import as_json
from repro_shared.study.session import Session
from repro_shared.study.together import together
from repro_shared.timing.calibrate import calibrate as measure
from repro_shared.timing.calibrate import iterations_for_budget, plan_iterations
from seg_kd.method.objectives import OBJECTIVES, PLAIN, Objective
from seg_kd.rivals.presets import NAMED
from seg_kd.study.calibration import REFERENCE, timed_step
from seg_kd.study.chosen import changed, known_arms
from seg_kd.study.own_arms import (
    Affordable,
    Images,
    Length,
    OneOf,
    flags,
    given_teacher,
    own_study,
)
from seg_kd.study.stages import WEIGHTS
from seg_kd.study.training import Settled, Training, settle
from seg_kd.use import adapter
from seg_kd.use.data import Splits
from seg_kd.use.network import Network

Flat = tyro.conf.OmitArgPrefixes
Device = Literal["cpu", "cuda"]
SCORES = ("miou", "pixel_accuracy")


@dataclass(frozen=True)
class Own:
    """The verbs on the user's own data, for a `Paper`."""

    paper: Paper

    def train(
        self,
        images: Annotated[Images, Flat] = Images(),
        training: Annotated[Training, Flat] = Training(),
        length: Annotated[Length, Flat] = Length(),
        *,
        model: str = "pspnet_r18",
        weights: str | None = None,
        out: str = "runs/train",
        device: Device = "cpu",
    ) -> None:
        """Train a segmentation model on a label-map folder: plain cross-entropy.

        Args:
            images: the data.
            training: how the student is trained.
            length: how long.
            model: mmseg config file, or pspnet_r18 or pspnet_r101.
            weights: state_dict to start from.
            out: output folder: model.safetensors, model.pth, scores.json.
            device: cpu or cuda.
        """
        settled = settle(training, model, device, **flags(images, length))
        self._run(images, settled, length, model, weights, PLAIN, None, out, device)

    def distill(
        self,
        images: Annotated[Images, Flat] = Images(),
        training: Annotated[Training, Flat] = Training(),
        length: Annotated[Length, Flat] = Length(),
        *,
        teacher: OneOf = "",
        teacher_weights: str = "",
        student: OneOf = "pspnet_r18",
        student_weights: str | None = None,
        objective: Annotated[str | Objective, tyro.conf.arg(constructor=str)] = "feature+logit",
        logit_weight: float | None = None,
        feature_weight: float | None = None,
        temperature: float | None = None,
        weights: tuple[str, ...] = (),
        out: str = "runs/distill",
        device: Device = "cpu",
    ) -> None:
        """Distil a trained teacher into a student on a label-map folder.

        Args:
            images: the data.
            training: how the student is trained.
            length: how long.
            teacher: mmseg config file, whose model alone is used, or a built-in name.
            teacher_weights: its state_dict (.safetensors or .pth, tensors only).
            student: mmseg config file of the student, or a built-in name.
            student_weights: state_dict to start from.
            objective: logit, feature, feature+logit, or one of the rivals: skd, ifvd, cwd-logits,
                cwd-features, at, fitnet, dist, cirkd, cirkd-mini-batch, cirkd-memory, mgd, af-dcd,
                normalised-feature, bpkd_like; with -as-published behind it what its authors add
                comes too (cwd-as-published has both of cwd's terms).
            logit_weight: instead of the objective's own.
            feature_weight: instead of the objective's own.
            temperature: of the logit term, instead of 1.
            weights: TERM=NUMBER for any term of the objective, 0 to leave it out, e.g.
                adversarial=0 discriminator=0.
            out: output folder: model.safetensors, model.pth, scores.json.
            device: cpu or cuda.
        """
        chosen = (
            objective
            if isinstance(objective, Objective)
            else changed(objective, logit_weight, feature_weight, temperature, weights)
        )
        images.source()
        settled = settle(training, str(student), device, **flags(images, length))
        made = given_teacher(images, settled.view, teacher, teacher_weights)
        self._run(images, settled, length, student, student_weights, chosen, made, out, device)

    def calibrate(
        self,
        images: Annotated[Images, Flat] = Images(),
        training: Annotated[Training, Flat] = Training(),
        *,
        iterations: int = 1000,
        budget_seconds: float | None = None,
        teacher: str = "",
        teacher_weights: str = "",
        student: str = "pspnet_r18",
        arms: tuple[str, ...] = tuple(OBJECTIVES),
        rounds: int = 30,
        device: Device = "cpu",
    ) -> None:
        """Print what a step of each objective costs here, interleaved, and equal-time lengths.

        Args:
            images: the data.
            training: how the student is trained.
            iterations: of logit distillation; they set the budget.
            budget_seconds: the budget, instead of iterations.
            teacher: mmseg config file of the teacher, or a built-in name.
            teacher_weights: its state_dict.
            student: mmseg config file of the student, or a built-in name.
            arms: objectives, see `distill`; logit is timed in any case.
            rounds: timed rounds.
            device: cpu or cuda.
        """
        require(rounds >= 1, "--rounds", "at least 1", rounds)
        length, names = Length(iterations, budget_seconds), known_arms((*arms, REFERENCE))
        adapter.set_device(device)
        source = images.source()
        settled = settle(training, student, device, **flags(images, length))
        made = given_teacher(images, settled.view, teacher, teacher_weights)
        with tempfile.TemporaryDirectory() as folder:
            studies = {
                name: own_study(images, source, settled, student, None, NAMED[name], made, 0)
                for name in names
            }
            session = Session(
                self.paper, studies[REFERENCE], Path(folder), Path(images.data), device,
                images.workers,
            )  # fmt: skip
            steps = {
                name: timed_step(replace(session, study=study), study.arms[-1], Path(folder) / name)
                for name, study in studies.items()  # they share the data and the teacher
            }
            result = measure(steps, rounds=rounds)
        ratios = result.ratios(REFERENCE)
        if budget_seconds is None:
            lengths = plan_iterations(ratios, REFERENCE, iterations)
        else:
            lengths = {n: iterations_for_budget(budget_seconds, result.median(n)) for n in ratios}
        for name, ratio in ratios.items():
            low, high = result.spread(name, REFERENCE)
            print(f"{name:14s} {1000 * result.median(name):9.1f} ms  {ratio:.3f} x logit "
                  f"[{low:.3f}, {high:.3f}]  {lengths[name]} iterations")  # fmt: skip

    def _run(
        self,
        images: Images,
        settled: Settled,
        length: Length,
        model: str | Network,
        weights: str | None,
        objective: Objective,
        teacher: Arm | None,
        out: str,
        device: Device,
    ) -> None:
        length = length.or_config(settled)
        check_device(device)
        rank, _ = processes(device)
        adapter.set_device(device)
        source = images.source()
        study = own_study(
            images, source, settled, model, weights, objective, teacher, length.iterations or 0
        )
        if length.budget_seconds is not None:
            study = replace(study, prepare=Affordable(length.budget_seconds))
        folder = Path(out)
        session = Session(self.paper, study, folder, Path(images.data), device, images.workers)
        found = together(session, length.seed, share=Splits.training_only)
        if rank:
            return
        assert found is not None
        record, made = found
        publish_model(made / WEIGHTS, folder)
        scores = {
            **{k: round(v, 4) for k, v in record.metrics.items() if k in SCORES},
            "iou": {k[4:]: round(v, 4) for k, v in record.metrics.items() if k.startswith("iou/")},
            "iterations": int(record.metrics["iterations"]),
            "seconds": record.seconds,
        }
        atomic_write_json(folder / "scores.json", scores)
        print(as_json(scores))


def publish_model(made: Path, folder: Path) -> None:
    """Write model.safetensors and, as mmseg's `load_checkpoint` reads it, model.pth.

    The run's own file may be gone: then what was written earlier counts, and a UserError says so
    where that is gone as well.
    """
    model, checkpoint = folder / "model.safetensors", folder / "model.pth"
    kept = model.is_file() and (not made.is_file() or sha256_file(model) == sha256_file(made))
    if not kept and not made.is_file():
        raise UserError(f"{model} is gone, and so is {made}: remove {folder} to train again")
    if not kept:
        atomic_write_bytes(model, made.read_bytes())
    if not kept or not checkpoint.is_file():
        atomic_write_bytes(checkpoint, adapter.checkpoint_bytes(read_weights(model)))
