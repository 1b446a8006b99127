"""The command `seg-kd`. Heavy imports wait until arguments and data have been checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from repro_shared.runtime.cli import Command, run
from repro_shared.runtime.errors import UserError
from seg_kd import __version__

DESCRIPTION = (
    "Distillation for semantic segmentation, compared at equal wall-clock time (arXiv 2604.25530)."
)


def reproduce(
    *,
    scale: Literal["smoke", "cpu", "paper"] = "cpu",
    table: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    data: str | None = None,
    out: str = "runs/seg-kd",
    plan: bool = False,
    controls: bool = False,
    recalibrate: bool = False,
    retrain: bool = False,
    device: str = "cpu",
) -> int:
    """Run what a comparison lacks, then print and write its tables, figure and verdicts.

    Args:
        scale: smoke (seconds), cpu (minutes, the default) or paper (its data and GPUs).
        table: recipes to run: equal_time_digits (the default), equal_time_camvid,
            equal_time_cityscapes.
        seeds: seeds; the recipe's own (0 1 2) by default, verdicts need 0 1 2 3 4.
        data: folder of the data set, for recipes that need one.
        out: output folder; finished runs in it are skipped, killed ones resume.
        plan: list runs, cost and what must be present, and stop.
        controls: also the plain student at four times the budget and the untrained teacher.
        recalibrate: measure the step costs anew and begin a new set of runs.
        retrain: train the teacher here instead of using the committed one; it is kept and used from
            then on, and runs that had another teacher are set aside.
        device: cpu or cuda.
    """
    from seg_kd.study.recipes import find_recipe
    from seg_kd.study.reproduce import reproduce as reproduce_recipe

    for recipe in [find_recipe(name, scale) for name in (table or ("",))]:
        reproduce_recipe(
            recipe,
            Path(out),
            data,
            seeds or recipe.seeds,
            plan_only=plan,
            controls=controls,
            recalibrate=recalibrate,
            retrain=retrain,
            device=device,
        )
    return 0


def table(identifier: str, *, out: str | None = None) -> None:
    """Print one table of the committed evidence, or of an output folder.

    Args:
        identifier: as file names in `tables/`, e.g. verdicts-digits.
        out: output folder; the committed results of this checkout by default.
    """
    folder = (Path(out) if out else results_folder()) / "tables"
    path = folder / f"{identifier}.md"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.md"))) or "none yet"
        raise UserError(f"no table {identifier!r}; there are: {known}")
    print(path.read_text(), end="")


def cite(identifier: str) -> None:
    """Print one of the paper's cells beside what was measured, with verdict and BibTeX.

    Args:
        identifier: e.g. abstract/pspnet-r18-student/miou/cityscapes.
    """
    from repro_shared.evidence.cells import find_cell, read_cells
    from repro_shared.evidence.measured import cite as cite_cell
    from seg_kd.study.paper import PAPER, REPOSITORY
    from seg_kd.study.results import TABLES, committed

    cell = find_cell(read_cells(TABLES / "reported.csv"), identifier)
    print(cite_cell(cell, committed(), PAPER, REPOSITORY), end="")


def report(*, out: str | None = None, check: bool = False) -> int:
    """Make tables, figures, measured.csv and the README block anew from the records.

    Args:
        out: output folder; the committed results of this checkout by default.
        check: write nothing; exit code 1 and a list if a generated file is not what it would be.
    """
    from seg_kd.study.generate import generate

    stale = generate(Path(out) if out else results_folder(), check)
    for path in stale:
        print(f"stale: {path}", file=sys.stderr)
    return 1 if stale else 0


def data_check(directory: str, *, set: Literal["camvid", "cityscapes"] = "camvid") -> None:
    """Verify a data set's folder: counts, labels, unreadable files, fingerprint.

    Args:
        directory: holds images/<split> and labels/<split>.
        set: which set it is; gives classes and splits.
    """
    from seg_kd.study.recipes import find_recipe
    from seg_kd.use.data import open_split

    scale = "paper" if set == "cityscapes" else "cpu"
    recipe = find_recipe(f"equal_time_{set}", scale)
    for split, name in (("train", recipe.data.train_split), ("test", recipe.data.test_split)):
        images = open_split(recipe.data, directory, split)
        print(f"{name}: {len(images)} images, fingerprint {images.fingerprint}")


def results_folder() -> Path:
    """`packages/seg-kd/results` of the checkout this package runs from.

    Raises:
        UserError: installed without a checkout.
    """
    folder = Path(__file__).parents[2] / "results"
    if not folder.is_dir():
        raise UserError("no checkout here: give the output folder with --out DIR")
    return folder


def main() -> None:
    """Entry point of the `seg-kd` command."""
    from seg_kd.use.own_data import calibrate, distill, evaluate, train

    commands: dict[str, Command] = {
        "reproduce": reproduce,
        "train": train,
        "distill": distill,
        "evaluate": evaluate,
        "calibrate": calibrate,
        "bench": bench,
        "table": table,
        "cite": cite,
        "report": report,
        "data check": data_check,
    }
    sys.exit(run("seg-kd", DESCRIPTION, commands, version=__version__))


def bench(*, device: str = "cpu", rounds: int = 64) -> None:
    """Overhead of the distillation losses over teacher forward + student step, interleaved.

    Args:
        device: cpu or cuda.
        rounds: timed rounds.
    """
    from seg_kd.study.bench import bench as run_bench

    run_bench(device, rounds)


if __name__ == "__main__":
    main()
