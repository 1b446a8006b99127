"""Run a recipe: the dense model of each seed, then every arm that has no finished record yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import amod
from amod.study.checks import check_device
from amod.study.recipes import (
    Arm,
    Data,
    Recipe,
    aligned_arms,
    control_arms,
    conversion_arms,
    finetune_arms,
    scratch_arms,
    transfer_arms,
    tried_arms,
)
from amod.study.stages import (
    Experiment,
    Result,
    Run,
    convert,
    dense,
    finetune,
    importance,
    oracle,
    scratch,
    transfer,
)
from amod.train import DivergedError
from amod.use.data import Arrays, canvases
from amod.use.folders import ClassFolder
from repro_shared.evidence.records import (
    RunRecord,
    path_for,
    provenance,
    read_record,
    resolved_config,
    write_record,
)
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import derive_seed

DISTRIBUTIONS = ("amod", "timm", "torchvision")
CONVENTION = "multiply-accumulates, five operations an element of a layer norm, head included"
Stage = Callable[[Experiment, Run, int], Result]


def open_experiment(
    recipe: Recipe, out: Path, folder: str | None = None, device: str = "cpu"
) -> Experiment:
    """Check the output folder and read all pictures.

    Raises:
        UserError: unusable output folder or data.
    """
    ensure_output_dir(out)
    if recipe.data.scenes is None and folder is None:
        raise UserError(f"{recipe.name} needs its data: give the folder with --data DIR")
    check_device(device)
    parts = [read(recipe.data, folder, part) for part in ("train", "test")]
    if parts[0].classes != parts[1].classes or len(parts[0].classes) != recipe.network.classes:
        raise UserError(
            f"{recipe.data.name} must have the same {recipe.network.classes} classes in train and "
            f"test; found {len(parts[0].classes)} and {len(parts[1].classes)}"
        )
    if recipe.target is not None:
        parts += [read(recipe.target, folder, part) for part in ("train", "test")]
    return Experiment(recipe, out, device, *parts)


def read(data: Data, folder: str | None, part: str) -> Arrays:
    """One part, `train` or `test`, of a recipe's data."""
    training = part == "train"
    if data.scenes is not None:
        split = data.train_split if training else data.test_split
        length = data.train_length if training else data.test_length
        return canvases(data.scenes, split, length, data.seed)
    assert folder is not None
    where = "train" if data.held_out else part
    files = ClassFolder(folder, where)
    # Mixed, so that the first pictures, which importance looks at, are of all classes.
    order = np.random.RandomState(derive_seed("order", where)).permutation(len(files))
    if data.held_out:
        order = order[np.arange(len(order)) % 5 != 0] if training else order[::5]
    pictures = [files.read(int(i)).resize((data.size, data.size)) for i in order]
    return Arrays(
        np.stack([np.asarray(picture) for picture in pictures]),
        np.array(files.targets)[order],
        tuple(files.classes),
        files.fingerprint(),
    )


def runs(recipe: Recipe, controls: bool = False) -> Iterator[tuple[Run, Stage]]:
    """Everything that is recorded for one seed, with or without controls and ablations."""
    yield Run("dense"), dense
    if recipe.tries:
        for arm in tried_arms(recipe):
            for rate in recipe.tries:
                schedule = replace(recipe.finetune, learning_rate=rate)
                yield Run(f"try-{arm.name}-{rate:g}", (arm,), schedule), finetune
        return
    for row, arms in conversion_arms(recipe).items():
        yield Run(f"convert-{row}", tuple(arms)), convert
    for arm in (
        Arm("attention"),
        Arm("cls-row", score="cls-row"),
        Arm("l2norm", "l2norm"),
        Arm("random", "random"),
        Arm("other-image", "other-image"),
    ):
        yield Run(f"importance-{arm.name}", (arm,), pictures=recipe.importance), importance
    for arm in [*finetune_arms(recipe), *(control_arms(recipe) if controls else ())]:
        schedule = replace(recipe.finetune, learning_rate=recipe.rate(arm))
        pictures = recipe.importance if arm.name in recipe.examined else 0
        yield Run(f"finetune-{arm.name}", (arm,), schedule, pictures=pictures), finetune
    if recipe.target is not None and recipe.transfer is not None:
        for arm in transfer_arms(recipe):
            schedule = replace(recipe.transfer, learning_rate=recipe.rate(arm))
            yield Run(f"transfer-{arm.name}", (arm,), schedule, transferred=True), transfer
    if controls:
        aligned = tuple(aligned_arms(recipe))
        yield Run("convert-aligned", aligned), convert
        kept = tuple(Arm("oracle", capacity=capacity) for capacity in recipe.capacities)
        yield Run("convert-oracle", kept, pictures=4 * recipe.importance), oracle
        for arm in scratch_arms(recipe):
            yield Run(f"scratch-{arm.name}", (arm,), recipe.dense), scratch


def run_missing(experiment: Experiment, seeds: tuple[int, ...], controls: bool = False) -> int:
    """Run what has no finished record, seed by seed; returns how many runs were made."""
    recipe, made = experiment.recipe, 0
    origin = provenance(DISTRIBUTIONS, __file__)  # of the code that is loaded, for all runs
    todo = list(runs(recipe, controls))
    for seed in seeds:
        for number, (run, stage) in enumerate(todo, 1):
            if not finished(experiment, run, seed):
                say(f"{recipe.name} seed {seed}, run {number} of {len(todo)}: {run.name}")
                record(experiment, run, stage, seed, origin)
                made += 1
    return made


def record(
    experiment: Experiment, run: Run, stage: Stage, seed: int, origin: dict[str, Any]
) -> RunRecord:
    """Make one run and its record; one that diverges is recorded as failed, the others go on."""
    started = datetime.now(UTC)
    recipe = experiment.recipe
    try:
        result, notes = stage(experiment, run, seed), ""
    except DivergedError as error:
        say(f"{recipe.name}: {run.name} seed {seed} failed: {error}")
        result, notes = Result({}), str(error)
    data = recipe.target if run.transferred and recipe.target else recipe.data
    made = RunRecord(
        recipe=recipe.name,
        recipe_hash=experiment.key,
        recipe_config=resolved_config(replace(recipe, seeds=())),
        arm=run.name,
        seed=seed,
        method_version=amod.METHOD_VERSION,
        data_name=data.name,
        data_fingerprint=experiment.fingerprint(run),
        metrics=result.metrics,
        curve=result.curve,
        seconds=result.seconds,
        samples_seen=result.samples,
        flops={"forward": result.macs, "convention": CONVENTION} if result.macs else None,
        peak_memory_mb=result.peak_memory_mb or None,
        provenance=origin,
        started=started,
        finished=datetime.now(UTC),
        status="complete" if result.metrics else "failed",
        notes=notes,
    )
    write_record(experiment.out, made)
    return made


def finished(experiment: Experiment, run: Run, seed: int) -> bool:
    """Whether the record of this run is complete, of this recipe, method version and data."""
    path = path_for(experiment.out, experiment.recipe.name, run.name, seed)
    if not path.is_file():
        return False
    found = read_record(path)
    return (
        found.status == "complete"
        and found.recipe_hash == experiment.key
        and found.method_version == amod.METHOD_VERSION
        and found.data_fingerprint == experiment.fingerprint(run)
    )
