"""`seg-kd freeze`: what recipes and tables read, from records and shapes into the package.

Nothing is copied by hand. Run it when a screen has run, and again when the rivals that it ranked
first have had their tries; then commit what it wrote, before any final run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro_shared.evidence.hashing import resolved_config
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.cli import Command
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text, sha256_file
from repro_shared.study.command import results_folder
from repro_shared.study.paper import Paper
from repro_shared.study.results import Results, load_results
from seg_kd.study import regime
from seg_kd.study.places import TEACHER
from seg_kd.study.published import COUNTED, count
from seg_kd.study.regime_claims import teacher
from seg_kd.study.screen import best_tries, canonical, first, plateau
from seg_kd.study.settled import FILE, FROZEN, PLACES
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


def merged(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]], out: Path
) -> dict[str, dict[str, Any]]:
    """What was settled, with what the records of an output folder say now.

    Raises:
        UserError: they say less of a place than was settled; places without records stay.
    """
    for name, made in now.items():
        if gone := sorted({*before.get(name, {})} - {*made}):
            raise UserError(
                f"{name}: {', '.join(gone)} had been settled, and the records in {out} no longer "
                f"say so: bring the records back, or take {name} out of {FILE.name} on purpose"
            )
    return {name: dict(now.get(name, before.get(name, {}))) for name in {**before, **now}}


def take_teacher(results: Results, out: Path, into: Path) -> str:
    """Copy the teacher that a screen accepted, with its record beside it.

    Args:
        results: of that screen; out: where its work lies; into: the package's weights.

    Returns:
        What was done, in words.

    Raises:
        UserError: it was trained, its weights are not here, and were not taken before.
    """
    arm = teacher(results.study)
    runs: list[RunRecord] = results.runs(arm)
    if not runs:
        return "the teacher has not been trained: nothing is copied"
    target = into / f"{TEACHER}.safetensors"
    for path in sorted((out / "work" / results.study.name / arm.id).glob(f"*/{WEIGHTS}")):
        if runs[0].notes == f"{SHA256}{sha256_file(path)}":
            shutil.copyfile(path, target)
            beside = {"record": runs[0].model_dump(mode="json"),
                      "config": resolved_config(arm.config)}  # fmt: skip
            atomic_write_json(into / f"{TEACHER}.json", beside)
            return f"{target.name}: weights and record are in {into}"
    if target.is_file() and runs[0].notes == f"{SHA256}{sha256_file(target)}":
        return f"{target.name} is there already"
    raise UserError(f"the teacher's weights are neither below {out / 'work'} nor in {into}")


def verb(paper: Paper) -> Command:
    """The verb of this paper."""

    def freeze(*, out: str | None = None) -> None:
        """Write down what the screens decide and what is counted, and take the teacher along.

        Args:
            out: output folder of the screens; the committed results by default.
        """
        folder = results_folder(paper, out)
        made = merged(FROZEN, settled_by(paper, folder), folder)
        screen = load_results(paper, regime.screen_camvid("cpu"), folder)
        said = take_teacher(screen, folder, COMMITTED)
        lines = [f" {json.dumps(name)}: {json.dumps(form)}" for name, form in made.items()]
        atomic_write_text(FILE, "{\n" + ",\n".join(lines) + "\n}\n")
        listed = "; ".join(f"{name}: {', '.join(form)}" for name, form in made.items())
        print(f"{FILE}: {listed or 'nothing is settled yet'}")
        atomic_write_json(COUNTED, count())
        print(said)

    return freeze
