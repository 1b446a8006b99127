"""A paper of a few lines: what every package hands to the shared command line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from repro_shared.evidence.citation import Citation, Repository
from repro_shared.evidence.claims import Claim
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.study.paper import Arm, Context, Outcome, Paper, Recipe, Scale, Study
from repro_shared.study.results import Results
from repro_shared.study.trip import steps_through


@dataclass(frozen=True)
class Numbers:
    """Data that come along, or lie in a file `numbers.txt` of a folder."""

    shipped: bool = True

    name = "numbers"
    sentence = "numbers, counted"

    def missing(self, folder: Path | None) -> list[str]:
        there = self.shipped or (folder is not None and (folder / "numbers.txt").is_file())
        return [] if there else ["a folder with numbers.txt (--data DIR)"]

    def open(self, folder: Path | None) -> Any:
        text = "1 2 3" if self.shipped or folder is None else (folder / "numbers.txt").read_text()
        return Opened([float(word) for word in text.split()])


@dataclass
class Opened:
    values: list[float]
    reads: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return "-".join(map(str, self.values))


@dataclass(frozen=True)
class Fit:
    """A constant times the numbers."""

    factor: float = 1.0
    steps: int = 10
    fail: str = ""

    @property
    def equations(self) -> tuple[Any, ...]:
        return (scaled,)


def scaled(value: float, factor: float) -> float:
    """The equation."""
    return value * factor


def step(value: float, config: Fit) -> float:
    """The train step."""
    return scaled(value, config.factor)


@steps_through(step)
def train(config: Fit, ctx: Context) -> Outcome:
    """A stage: leaves a file, starts from one if it has to."""
    if config.fail == "diverged":
        raise DivergedError("the loss is nan")
    if config.fail:
        raise UserError(config.fail)
    base = sum(json.loads((s.folder / "model.json").read_text()) for s in ctx.starts)
    found = base + ctx.seed + sum(step(value, config) for value in ctx.data.values)
    (ctx.folder / "model.json").write_text(json.dumps(found))
    curve: dict[str, list[float | None]] = {"step": [1, 2], "score": [0.0, found]}
    return Outcome({"score": found}, seconds=0.5, samples=30, curve=curve)


BASE = Arm("base model", Fit(0.5), train)


def scores(results: Results) -> Table:
    """Mean score of each arm."""
    arms = results.study.arms
    rows = [(a.name, *(results.values(a, "score") or [None])[:1]) for a in arms]
    columns, about = (Column("model"), Column("score")), ("plain", "large-twice")
    return Table("scores", "Scores", columns, tuple(rows), arms=about)


def counting(scale: Scale) -> Study:
    """Two fits from one base model."""
    plain = Arm("plain", Fit(), train, starts_from=(BASE,))
    large = Arm("large, twice", Fit(2.0), train, starts_from=(BASE,))
    control = Arm("control", Fit(1.0, steps=11), train, starts_from=(BASE,), control=True)
    name = "counting_smoke" if scale == "smoke" else "counting"
    claim = Claim(
        id="large-beats-plain", statement="large beats plain", cells=("table1/large/score",),
        study=name, metric="score", arm=large.id, rival=plain.id, kind="superiority",
    )  # fmt: skip
    return Study(
        name, scale, Numbers(), (BASE, plain, large, control), (0, 1), tables=(scores,),
        claims=(claim,) if scale == "cpu" else (),
    )  # fmt: skip


def reading(scale: Scale) -> Study:
    """The same on a file of the user's."""
    return replace(counting(scale), name="reading", data=Numbers(shipped=False), claims=())


CITATION = Citation("key2026", "Title", ("A Uthor",), 2026, "2600.00001", 1)
REPORTED = (
    "paper,table,row,column,dataset,metric,unit,value,plus_minus,source,status\n"
    "2600.00001,table1,large,score,,score,points,12.5,,2600.00001v1 p. 3,read\n"
)


def toy_paper(root: Path) -> Paper:
    """The paper, with its package's files below `root`, as in a checkout."""
    source = root / "toy" / "src" / "toy"
    (source / "tables").mkdir(parents=True, exist_ok=True)
    (source / "tables" / "reported.csv").write_text(REPORTED)
    (root / "toy" / "results").mkdir(exist_ok=True)
    (source / "__init__.py").touch()
    package = ModuleType("toy")
    package.__file__ = str(source / "__init__.py")
    vars(package).update(METHOD_VERSION=1, __version__="0.1.0")
    return Paper(
        package,
        "toy",
        "Counts.",
        CITATION,
        Repository("toy", "toy", "0.1.0", 2026),
        (
            Recipe(counting, ("smoke", "cpu"), default=("smoke", "cpu")),
            Recipe(reading, ("cpu",)),
        ),
    )
