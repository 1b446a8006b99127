"""`seg-kd freeze`: what recipes and tables read, from records and shapes into the package.

Nothing is copied by hand. Run it when a screen has run, and again when the rivals that it ranked
first have had their tries; then commit what it wrote, before any final run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from repro_shared.evidence.hashing import resolved_config
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.cli import Command
from repro_shared.runtime.files import atomic_write_json, atomic_write_text, sha256_file
from repro_shared.study.command import results_folder
from repro_shared.study.paper import Paper
from repro_shared.study.results import Results, load_results
from seg_kd.study import regime
from seg_kd.study.published import COUNTED, count
from seg_kd.study.screen import best_tries, canonical, first, plateau
from seg_kd.study.settled import FILE, PLACES
from seg_kd.study.stages import COMMITTED, SHA256, WEIGHTS

SCREENS = {"camvid": regime.screen_camvid, "digits": regime.screen_digits}


def found(results: Results) -> dict[str, Any]:
    """What the records of a screen decide, as far as they are all there."""
    made: dict[str, Any] = {}
    length, names = plateau(results), first(results)
    main, pair = best_tries(results, "main"), best_tries(results, "pair")
    if length:
        made["plateau"] = length
    if names:
        made["first"] = list(names)
    if names and set(names) <= set(main):
        made["canonical"] = canonical(main)
        made["rates"] = {name: rate for name, (rate, _) in sorted(main.items())}
    if pair:
        made["pair_rates"] = {name: rate for name, (rate, _) in sorted(pair.items())}
    return made


def settled_by(paper: Paper, out: Path) -> dict[str, dict[str, Any]]:
    """Of all places, from the records below an output folder."""
    every = {name: found(load_results(paper, SCREENS[name]("cpu"), out)) for name in PLACES}
    return {name: made for name, made in every.items() if made}


def take_teacher(results: Results, out: Path, into: Path) -> str:
    """Copy the trained teacher of `teacher_camvid`, with its record beside it.

    Args:
        results: of that study; out: where its work lies; into: the package's weights.

    Returns:
        What was done, in words.
    """
    study = results.study
    (arm,) = study.arms
    runs: list[RunRecord] = results.runs(arm)
    for path in sorted((out / "work" / study.name / arm.id).glob(f"*/{WEIGHTS}")):
        if runs and runs[0].notes == f"{SHA256}{sha256_file(path)}":
            shutil.copyfile(path, into / f"{study.name}.safetensors")
            beside = {"record": runs[0].model_dump(mode="json"),
                      "config": resolved_config(arm.config)}  # fmt: skip
            atomic_write_json(into / f"{study.name}.json", beside)
            return f"{study.name}: weights and record are in {into}"
    return f"{study.name}: {'its weights are not here' if runs else 'not run'}; nothing is copied"


def verb(paper: Paper) -> Command:
    """The verb of this paper."""

    def freeze(*, out: str | None = None) -> None:
        """Write down what the screens decide and what is counted, and take the teacher along.

        Args:
            out: output folder of the screens; the committed results by default.
        """
        folder = results_folder(paper, out)
        made = settled_by(paper, folder)
        lines = [f" {json.dumps(name)}: {json.dumps(form)}" for name, form in made.items()]
        atomic_write_text(FILE, "{\n" + ",\n".join(lines) + "\n}\n")
        said = "; ".join(f"{name}: {', '.join(form)}" for name, form in made.items())
        print(f"{FILE}: {said or 'nothing is settled yet'}")
        atomic_write_json(COUNTED, count())
        results = load_results(paper, regime.teacher_camvid("cpu"), folder)
        print(take_teacher(results, folder, COMMITTED))

    return freeze
