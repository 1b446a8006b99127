"""The command line of a paper: what all papers have, and the verbs of its own."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from repro_shared.evidence.cells import find_cell
from repro_shared.evidence.cite import cite as cite_cell
from repro_shared.evidence.tables import Table
from repro_shared.runtime.checks import check_device, check_seeds, require
from repro_shared.runtime.cli import Command, run
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.study.paper import Arm, Paper, Scale, Study
from repro_shared.study.plan import plan as plan_of
from repro_shared.study.publish import publish, table_of, write_study
from repro_shared.study.results import load_results, reported, shipped
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session
from repro_shared.study.trip import trip


def main(paper: Paper, argv: Sequence[str] | None = None) -> int:
    """Run the paper's command; returns the exit code."""
    version = str(paper.package.__version__)
    return run(paper.command, paper.description, commands(paper), argv, version=version)


def commands(paper: Paper) -> dict[str, Command]:
    """Every sub-command by name."""
    return {
        "reproduce": _reproduce(paper),
        **paper.verbs,
        "table": _table(paper),
        "cite": _cite(paper),
        "report": _report(paper),
    }


def results_folder(paper: Paper, out: str | None) -> Path:
    """The output folder, or the committed results of the checkout that the package runs from."""
    folder = Path(out) if out else paper.results
    if not folder.is_dir():
        missing = f"{folder}: no such folder" if out else "no checkout here"
        raise UserError(f"{missing}: give the output folder with --out DIR")
    return folder


def reproduce_study(
    session: Session,
    seeds: tuple[int, ...],
    *,
    controls: bool = False,
    plan: bool = False,
    recalibrate: bool = False,
) -> None:
    """Run what a study lacks, then write and print its tables and figures; or print the plan.

    Raises:
        UserError: whatever is wrong with data, folders or files; runs that could not be made; facts
            that do not hold what the study promises.
    """
    study = session.study
    seeds = seeds or study.seeds
    if plan:
        made = plan_of(session, seeds, controls, recalibrate) if study.arms else ""
        print(made or f"{study.name}: arithmetic")
        return
    problem: UserError | None = None
    if study.arms:
        try:
            run_missing(session, seeds, controls, recalibrate)
        except UserError as error:
            problem = error
            if not session.records.read():
                raise
    results = load_results(session.paper, study, session.out, session.opened)
    for table in write_study(results, session.out):
        print(table.to_terminal())
    if problem is not None:
        raise problem
    if study.prepare is not None:
        study.prepare.refuse(results)


def _reproduce(paper: Paper) -> Command:
    def reproduce(
        *,
        scale: Scale = "cpu",
        table: tuple[str, ...] = (),
        seeds: tuple[int, ...] = (),
        data: str | None = None,
        out: str = f"runs/{paper.command}",
        controls: bool = False,
        plan: bool = False,
        retrain: bool = False,
        recalibrate: bool = False,
        device: Literal["cpu", "cuda"] = "cpu",
        workers: int = 0,
        sustained_tflops: float = 60.0,
    ) -> None:
        require(0 < sustained_tflops < math.inf, "--sustained-tflops", "above 0", sustained_tflops)
        if not plan:
            check_device(device)
        require(workers >= 0, "--workers", "0 or more", workers)
        if seeds:
            check_seeds(seeds)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError("reproduce runs in one process: start it without torchrun")
        studies = paper.chosen(table, scale)
        check_data(studies, data)
        problems = list[str]()
        for study in retrained(studies) if retrain else studies:
            folder = Path(data) if data else None
            session = Session(paper, study, Path(out), folder, device, workers)
            try:
                reproduce_study(
                    session, seeds, controls=controls, plan=plan, recalibrate=recalibrate
                )
            except UserError as error:  # the other studies need not wait for it
                problems.append(str(error))
                if len(studies) > 1:
                    say(f"{study.name}: {error}")
            if plan and scale == "paper" and paper.estimate is not None:
                print("\n".join(paper.estimate(study, sustained_tflops)))
        if problems:
            count = f"{len(problems)} of {len(studies)} studies failed, the first: "
            raise UserError(f"{count if len(studies) > 1 else ''}{problems[0]}")

    names = "; ".join(
        f"{r.name} ({', '.join(r.scales)}{'; by default' if r.default else ''})"
        for r in paper.recipes
    )
    reproduce.__doc__ = f"""Run what studies lack, then write and print tables and verdicts.

    Args:
        scale: smoke (seconds), cpu (minutes, the default), gpu, or paper (its data, weights, GPUs).
        table: studies to run: {names}.
        seeds: seeds; each study's own by default, verdicts need 0 1 2 3 4.
        data: folder of the data set, for studies that need one.
        out: output folder; finished runs in it are skipped, killed ones resume.
        controls: also negative controls, and what only the committed evidence needs.
        plan: list runs, cost and what must be present, and stop.
        retrain: train here what comes along as committed weights.
        recalibrate: measure anew what a study measures before its runs.
        device: cpu or cuda.
        workers: loading processes.
        sustained_tflops: what a GPU sustains in training, for the hours that --plan estimates.
    """
    return reproduce


def check_data(studies: Sequence[Study], data: str | None) -> None:
    """UserError for a `--data` that is no folder, or that none of the studies reads."""
    if data is None:
        return
    if not Path(data).is_dir():
        raise UserError(f"--data {data}: no such folder")
    sources = {study.source(arm) for study in studies for arm in study.arms}
    if not any(source.missing(None) for source in sources):
        names = ", ".join(study.name for study in studies)
        reads = "reads" if len(studies) == 1 else "read"
        raise UserError(f"--data {data}: {names} {reads} no data; leave it out, or name --table")


def retrained(studies: Sequence[Study]) -> list[Study]:
    """The studies with arms trained here that come along as committed weights."""
    if not any(study.retrain for study in studies):
        names = ", ".join(study.name for study in studies)
        raise UserError(f"{names}: no committed weights to make again; leave --retrain out")
    return [study.retrain(study) if study.retrain else study for study in studies]


def _table(paper: Paper) -> Command:
    def table(identifier: str, *, out: str | None = None) -> None:
        """Print one table, made from the committed records or those of an output folder.

        Args:
            identifier: its id, the file's name in `tables/`.
            out: output folder; the committed results of this checkout by default.
        """
        folder = Path(out) if out else paper.results
        made, results = table_of(paper, identifier, folder)
        print(made.to_markdown(), end="")
        if results is not None and results.study.arms:
            arms = results.study.arms
            print("\n" + "\n".join(trip_lines(paper, results.study, _told(made, arms))))

    return table


def _told(table: Table, arms: Sequence[Arm]) -> Arm:
    """The arm of the table's first row that leads to an equation, or of its first row."""
    known = {arm.id: arm for arm in arms}
    rows = [known[name] for name in table.arms if name in known] or list(arms)
    return next((arm for arm in rows if getattr(arm.config, "equations", ())), rows[0])


def trip_lines(paper: Paper, study: Study, arm: Arm) -> list[str]:
    """From a row to the equation: file and line of every hop."""
    recipe = next(recipe for recipe, known in paper.every_study() if known.name == study.name)
    return [f"row        {arm.name}", *map(str, trip(recipe, arm))]


def _cite(paper: Paper) -> Command:
    def cite(identifier: str) -> None:
        """Print one of the paper's cells beside what was measured, with verdict and BibTeX.

        Args:
            identifier: e.g. table1/deit-small-a-mod/top-1-at-50/imagenet-1k.
        """
        cell = find_cell(reported(paper), identifier)
        rows, lines = shipped(paper), list[str]()
        claimed = next((row for row in rows if cell.id in row.cells), None)
        for _, study in paper.every_study() if claimed else ():
            if claimed and study.name == claimed.study:
                lines = trip_lines(paper, study, study.arm(claimed.arm))
        computed = paper.computed(cell) if paper.computed else ""
        print(cite_cell(cell, rows, paper.citation, paper.repository, lines, computed), end="")

    return cite


def _report(paper: Paper) -> Command:
    def report(*, out: str | None = None, check: bool = False) -> int:
        """Make tables, figures, measured.csv and the README's blocks anew from the records.

        Args:
            out: output folder; the committed results of this checkout by default.
            check: write nothing; exit code 1 and a list of the files that are not up to date.
        """
        stale = publish(paper, results_folder(paper, out), check)
        for name in stale:
            print(f"stale: {name}", file=sys.stderr)
        return 1 if stale else 0

    return report
