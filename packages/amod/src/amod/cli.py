"""The command `amod`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from amod import __version__
from repro_shared.runtime.cli import Command, run
from repro_shared.runtime.errors import UserError

DESCRIPTION = "Mixture-of-Depths for timm ViTs, routed by attention (arXiv 2412.20875)."


def reproduce(
    *,
    scale: Literal["smoke", "cpu", "paper"] = "cpu",
    table: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    data: str | None = None,
    out: str = "runs/amod",
    controls: bool = False,
    plan: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Run what tables lack, then print and write tables, figures and verdicts.

    Args:
        scale: smoke (seconds), cpu (minutes, the default) or paper (its data, weights and a GPU).
        table: flops and digits (the default), cifar10, digits-tuning, cifar10-tuning; at scale
            paper table1, table3, table4 and table5, all by default.
        seeds: seeds; by default the recipe's own (0 1 2, tuning 100, scale paper 0); verdicts need
            0 1 2 3 4.
        data: folder with train/ and test/ for cifar10; at scale paper with imagenet/, cars/,
            flowers/, pets/ and weights/ (deit_small_patch16_224.pth and so on), see --plan.
        out: output folder; finished runs in it are skipped, killed ones resume.
        controls: also larger isoFLOP models, ablations, models routed from scratch, an oracle and
            the negative control; not at scale paper.
        plan: list what would run, and stop.
        device: cpu or cuda.
    """
    if scale == "paper":
        from amod.study.paper_scale import reproduce_tables

        reproduce_tables(table, Path(out), data, seeds, plan=plan, device=device)
        return
    from amod.study.reproduce import reproduce as reproduce_table

    for name in table or ("flops", "digits"):
        reproduce_table(
            name, scale, Path(out), data, seeds, controls=controls, plan=plan, device=device
        )


def train(
    *,
    model: str = "deit_small_patch16_224",
    data: str = "",
    weights: str | None = None,
    out: str = "runs/amod-train",
    kind: Literal["finetune", "transfer"] = "finetune",
    capacity: float = 0.5,
    router: str = "attention",
    preset: Literal["paper", "practical"] = "paper",
    layers: int = 0,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    warmup: float | None = None,
    clip: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    label_smoothing: float = 0.0,
    ema: float = 0.0,
    mirror: bool = True,
    amp: Literal["none", "bfloat16", "float16"] = "none",
    checkpointing: bool = False,
    evaluations: int = 10,
    seed: int = 0,
    workers: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Fine-tune or transfer a routed model on class folders; under torchrun on several GPUs.

    Args:
        model: a timm model name, e.g. deit_small_patch16_224.
        data: folder with train/ and val/ (or test/), class folders in each.
        weights: checkpoint of the dense or routed model; random weights without.
        out: output folder: model.safetensors, log.json; a killed run resumes.
        kind: the paper's schedule: finetune (AdamW 1e-5, 100 epochs) or transfer (SGD 0.01, 200).
        capacity: share of tokens in routed blocks; 1 trains the dense model.
        router: attention, linear, linear-sigmoid, linear-unit, random or l2norm.
        preset: paper, or practical (class token protected, first blocks dense).
        layers: keep so many first blocks of the dense model instead of routing (isoFLOP).
        epochs, batch_size, learning_rate, weight_decay, warmup: instead of the schedule's; warm-up
            is a share of the steps.
        clip: largest gradient norm, 0 for none.
        mixup, cutmix, label_smoothing, ema: regularisation, 0 for none.
        mirror: whether training may mirror pictures.
        amp: mixed precision.
        checkpointing: recompute activations to save memory.
        evaluations: how often accuracy is measured.
        seed: of data order, views and new weights.
        workers: loading processes.
        device: cpu or cuda.
    """
    from amod.use.own_data import train_own

    if not data:
        raise UserError("no data: give a folder with train/ and val/ with --data DIR")
    given = {
        "batch_size": batch_size, "learning_rate": learning_rate, "weight_decay": weight_decay,
        "warmup": warmup,
    }  # fmt: skip
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    changes |= {
        "clip": clip, "mixup": mixup, "cutmix": cutmix, "label_smoothing": label_smoothing,
        "ema": ema, "amp": amp, "checkpointing": checkpointing,
    }  # fmt: skip
    log = train_own(
        kind, model, weights, data, out, capacity=capacity, router=router, preset=preset,
        layers=layers, epochs=epochs, changes=changes, mirror=mirror, evaluations=evaluations,
        seed=seed, workers=workers, device=device,
    )  # fmt: skip
    last = log["curve"][-1]
    if os.environ.get("RANK", "0") == "0":  # under torchrun all processes come here
        print(f"{model}: accuracy {last['accuracy']:.2f} % after {last['step']} steps, in {out}")


def evaluate(
    *,
    model: str = "deit_small_patch16_224",
    data: str = "",
    weights: str | None = None,
    capacity: tuple[float, ...] = (0.5, 0.125),
    router: str = "attention",
    preset: Literal["paper", "practical"] = "paper",
    batch_size: int = 64,
    workers: int = 2,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Accuracy of a checkpoint, dense and right after conversion, beside the paper's table 3.

    Args:
        model: a timm model name, e.g. deit_small_patch16_224.
        data: folder of class folders, such as ImageNet's val.
        weights: the checkpoint (.safetensors or .pth); random weights without.
        capacity: capacities of the routed rows.
        router: attention, linear, linear-sigmoid, linear-unit, random or l2norm.
        preset: paper, or practical (class token protected, first blocks dense).
        batch_size: images a step.
        workers: loading processes.
        device: cpu or cuda.
    """
    from amod.use.evaluate import evaluate as run_evaluate

    if not data:
        raise UserError("no data: give a folder of class folders with --data DIR")
    made = run_evaluate(model, weights, data, capacity, router, preset, batch_size, device, workers)
    print(made.to_terminal())


def show(
    image: str,
    *,
    model: str = "deit_small_patch16_224",
    weights: str | None = None,
    out: str = "routing.png",
    capacity: float = 0.5,
    router: str = "attention",
    preset: Literal["paper", "practical"] = "paper",
    animate: bool = False,
) -> None:
    """Draw which patches of an image each routed block processes.

    Args:
        image: an image file.
        model: a timm model name.
        weights: its checkpoint; random weights without.
        out: file to write, .png, or .gif for an animation over capacity.
        capacity: of a still picture.
        router, preset: as the model was trained.
        animate: animate a .png, too.
    """
    from amod.use.show import show as draw

    print(draw(image, model, weights, out, capacity, router, preset, animate))


def export(
    model: str,
    out: str,
    *,
    weights: str | None = None,
    capacity: float = 0.5,
    router: str = "attention",
    preset: Literal["paper", "practical"] = "paper",
) -> None:
    """Write a routed model as ONNX.

    Args:
        model: a timm model name.
        out: the .onnx file.
        weights: its checkpoint; random weights without.
        capacity: share of tokens in routed blocks.
        router, preset: as the model was trained.
    """
    from amod.use.export import export_onnx
    from amod.use.weights import routed_model

    network = routed_model(model, weights, capacity, router, preset)
    try:
        print(export_onnx(network, out))
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from error


def data_check(directory: str) -> None:
    """Verify a folder of class folders: counts, unreadable files, fingerprint.

    Args:
        directory: holds class folders, or train/, val/, test/ with class folders in each.
    """
    from amod.use.folders import check

    print(check(directory))


def table(identifier: str, *, out: str | None = None) -> None:
    """Print one table of the committed evidence, or of an output folder.

    Args:
        identifier: as file names in `tables/`, e.g. flops or verdicts-digits.
        out: output folder; the committed results of this checkout by default.
    """
    from amod.study.flop_table import flop_table

    if identifier == "flops" and out is None:  # arithmetic: needs no checkout
        print(flop_table().to_markdown(), end="")
        return
    folder = (Path(out) if out else results_folder()) / "tables"
    path = folder / f"{identifier}.md"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.md"))) or "none yet"
        raise UserError(f"no table {identifier!r}; there are: {known}")
    print(path.read_text(), end="")


def cite(identifier: str) -> None:
    """Print one of the paper's cells beside what was measured, with verdict and BibTeX.

    Args:
        identifier: e.g. table5/deit-small-a-mod/gflops.
    """
    from amod.study.flop_table import reported
    from amod.study.paper import PAPER, REPOSITORY
    from amod.study.results import committed
    from repro_shared.evidence.cells import find_cell
    from repro_shared.evidence.measured import cite as cite_cell

    cell = find_cell(reported(), identifier)
    print(cite_cell(cell, committed(), PAPER, REPOSITORY), end="")


def report(*, out: str | None = None, check: bool = False) -> int:
    """Make tables, figures, measured.csv and the README block anew from the records.

    Args:
        out: output folder; the committed results of this checkout by default.
        check: write nothing; exit code 1 and a list if a generated file is not what it would be.
    """
    from amod.study.generate import generate

    stale = generate(Path(out) if out else results_folder(), check)
    for name in stale:
        print(f"stale: {name}", file=sys.stderr)
    return 1 if stale else 0


def bench(
    *,
    model: str = "deit_small_patch16_224",
    batch: int = 8,
    rounds: int = 15,
    compiled: bool = False,
    routed_only: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int = 2,
    out: str | None = None,
) -> None:
    """Speed of routed against dense models as ratios, interleaved, beside the ceiling by FLOPs.

    Args:
        model: a timm model name; weights are random.
        batch: images a step.
        rounds: timed rounds.
        compiled: run all models through torch.compile.
        routed_only: leave out depth-cut models and token merging.
        device: cpu or cuda.
        threads: of torch on the CPU.
        out: keep the times of all rounds below this folder, and the table.
    """
    from amod.study.bench import bench as run_bench
    from amod.study.timings import write_timing
    from repro_shared.evidence.tables import write_tables
    from repro_shared.runtime.files import ensure_output_dir

    folder = ensure_output_dir(out) if out else None
    timing = run_bench(model, batch, rounds, device, compiled, routed_only, threads)
    print(timing.table().to_terminal())
    if folder is not None:
        write_timing(folder, timing)
        write_tables(folder / "tables", [timing.table()])


def results_folder() -> Path:
    """`packages/amod/results` of the checkout this package runs from.

    Raises:
        UserError: installed without a checkout.
    """
    folder = Path(__file__).parents[2] / "results"
    if not folder.is_dir():
        raise UserError("no checkout here: give the output folder with --out DIR")
    return folder


def main() -> None:
    """Entry point of the `amod` command."""
    commands: dict[str, Command] = {
        "reproduce": reproduce,
        "train": train,
        "evaluate": evaluate,
        "show": show,
        "export": export,
        "bench": bench,
        "table": table,
        "cite": cite,
        "report": report,
        "data check": data_check,
    }
    sys.exit(run("amod", DESCRIPTION, commands, version=__version__))


if __name__ == "__main__":
    main()
