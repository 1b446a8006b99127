"""`clip-distill freeze`: what the tuning's records decide, from records into the package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_distill.study.scoring import SEEN
from clip_distill.study.tuned import FILE, Tries, Try
from clip_distill.study.tuning import TUNINGS, Tuning, named, tries
from repro_shared.runtime.cli import Command
from repro_shared.runtime.files import atomic_write_text
from repro_shared.study.command import results_folder
from repro_shared.study.paper import Paper
from repro_shared.study.results import Results, load_results

KEPT = 2  # best tries that are made again


def verb(paper: Paper) -> Command:
    """The verb of this paper."""

    def freeze(*, out: str | None = None) -> None:
        """Write the losses' best settings, as far as tuning has found them, for final studies.

        Args:
            out: output folder of the tuning; the committed results by default.
        """
        folder, made = results_folder(paper, out), dict[str, dict[str, Any]]()
        for name, tuning in TUNINGS.items():
            if groups := settled(paper, tuning, folder):
                made[name] = groups
        lines = [f"{json.dumps(name)}: {_lines(groups)}" for name, groups in made.items()]
        atomic_write_text(FILE, "{" + ",\n".join(lines) + "}\n")
        said = [f"{name}, {group}: {', '.join(form)}"
                for name, each in made.items() for group, form in each.items()]  # fmt: skip
        print(f"{FILE.name}: {'; '.join(said) or 'nothing is tuned yet'}")

    return freeze


def settled(paper: Paper, tuning: Tuning, out: Path) -> dict[str, dict[str, Any]]:
    """By group: the best tries of each loss once all were made, and the chosen ones."""
    first = load_results(paper, tuning.first("cpu"), out)
    best = dict[str, Tries]()
    for group, losses in tuning.losses.items():
        wanted = {loss: tries(loss, tuning.rates) for loss in losses}
        found = ranked((first,), wanted, group, len(first.study.seeds))
        best[group] = {loss: each[:KEPT] for loss, each in found.items()}
    again = load_results(paper, tuning.again(best), out)
    seeds = len(first.study.seeds) + len(again.study.seeds)
    made = dict[str, dict[str, Any]]()
    for group, found in best.items():
        if found:
            made[group] = {"first": {loss: [_form(one) for one in each]
                                     for loss, each in found.items()}}  # fmt: skip
        if final := ranked((first, again), found, group, seeds):
            made[group]["chosen"] = {loss: _form(each[0]) for loss, each in final.items()}
    return made


def ranked(
    several: Sequence[Results], wanted: Mapping[str, tuple[Try, ...]], group: str, seeds: int
) -> Tries:
    """The tries of each loss by their mean accuracy on real images, the best first.

    Args:
        several: results of studies that made them.
        wanted: by loss; one of whose tries not every seed has been run is left out.
        group: of their data.
        seeds: that each must have.
    """
    found = dict[str, tuple[Try, ...]]()
    for loss, each in wanted.items():
        means = dict[Try, float]()
        for one in each:
            values = [
                value
                for results in several
                for arm in results.study.arms
                if arm.name == named(loss, one, group)
                for value in results.values(arm, SEEN)
            ]
            if len(values) == seeds:
                means[one] = sum(values) / len(values)
        if each and len(means) == len(each):
            found[loss] = tuple(sorted(means, key=lambda one: -means[one]))
    return found


def _lines(groups: Mapping[str, Any]) -> str:
    made = [f"  {json.dumps(group)}: {json.dumps(form)}" for group, form in groups.items()]
    return "{\n" + ",\n".join(made) + "\n}"


def _form(one: Try) -> list[float | None]:
    return [one.temperature, one.rate]
