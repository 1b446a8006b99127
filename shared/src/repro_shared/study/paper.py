"""The nouns of every paper: an arm (a row of a table), a study (everything that will run), a paper.

A recipe is a function that returns a `Study` with all its arms written out. An arm names its stage,
a function of the paper's `study/stages.py`, so that a reader jumps from the row to the code that
runs it. Nothing here, nor in the runner, knows a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

from repro_shared.evidence.cells import ReportedCell, slug
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.evidence.claims import Claim
from repro_shared.evidence.tables import Table
from repro_shared.runtime.cli import Command
from repro_shared.runtime.errors import UserError
from repro_shared.study.protocols import DataSource, Preparation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from repro_shared.study.results import Results
    from repro_shared.timing.bench import Bench

Scale = Literal["smoke", "cpu", "gpu", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)


@dataclass
class Outcome:
    """What a stage found: it goes into the run's record."""

    metrics: dict[str, float]
    seconds: float = 0.0  # of training
    samples: int = 0  # seen in training
    macs: int | None = None  # of a forward pass on one sample
    peak_memory_mb: float | None = None
    curve: dict[str, list[float | None]] = field(default_factory=dict)  # if a table reads it
    notes: str = ""


@dataclass(frozen=True)
class Start:
    """What a run starts from: an arm that has run, and the folder that its stage wrote to."""

    arm: Arm
    folder: Path


@dataclass(frozen=True)
class Context:
    """Where and with what a stage runs."""

    data: Any  # what the arm's data source opened
    seed: int
    device: str
    folder: Path  # the run's own: checkpoints, and what other arms start from
    key: str  # of the run: a checkpoint or file of another key is not this run's
    label: str  # for progress lines
    starts: tuple[Start, ...] = ()  # in the order of `Arm.starts_from`
    workers: int = 0  # loading processes


Stage = Callable[[Any, Context], Outcome]


@dataclass(frozen=True)
class Arm:
    """One row of a table: a setting with the stage that runs it."""

    name: str  # in words: "A-MoD, half of the tokens"
    config: Any  # the paper's own frozen dataclass: all that decides the result
    run: Stage
    starts_from: tuple[Arm, ...] = ()  # the dense model, the teacher: their keys are in this key
    data: DataSource | None = None  # where it is not the study's
    control: bool = False  # runs with --controls only
    seed: int | None = None  # of an arm that all seeds share, such as a teacher

    @property
    def id(self) -> str:
        """The name as records have it: lower case, words joined by hyphens."""
        return slug(self.name)

    @property
    def steps(self) -> int:
        """Training steps, for the plan's cost: the config's `steps`, if it has one."""
        return int(getattr(self.config, "steps", 0))

    @property
    def epochs(self) -> float:
        """Where the length is known in epochs only: the config's `epochs`, if it has them."""
        return 0.0 if self.steps else float(getattr(self.config, "epochs", 0))

    @property
    def length(self) -> str:
        """Of the training, in words; empty for an arm that trains nothing."""
        epochs = f"{self.epochs:g} epochs" if self.epochs else ""
        return f"{self.steps} steps" if self.steps else epochs


def ids(arms: Iterable[Arm]) -> tuple[str, ...]:
    """Of several arms, for `Table.arms`."""
    return tuple(arm.id for arm in arms)


@dataclass(frozen=True)
class Study:
    """What a recipe function returns: everything that will run, written out."""

    name: str
    scale: Scale
    data: DataSource
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    tables: tuple[Callable[[Results], Table], ...] = ()
    figures: tuple[Callable[[Results], tuple[str, Figure]], ...] = ()  # file name, drawing
    claims: tuple[Claim, ...] = ()
    suspended: Callable[[Results, Claim], str] | None = None  # why a verdict is, or ""
    prepare: Preparation | None = None
    retrain: Callable[[Study], Study] | None = None  # without weights that come along

    def __post_init__(self) -> None:
        ids = [arm.id for arm in self.arms]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"study {self.name}: two arms are called {', '.join(twice)}")
        for arm in self.arms:
            for start in arm.starts_from:
                if start not in self.arms[: self.arms.index(arm)]:
                    raise ValueError(f"study {self.name}: {arm.name} precedes {start.name}")

    def source(self, arm: Arm) -> DataSource:
        """The data of an arm."""
        return arm.data or self.data

    def sources(self, arm: Arm) -> dict[DataSource, None]:
        """The data of an arm and of all that it starts from, in order, each once."""
        found = {self.source(arm): None}
        for start in arm.starts_from:
            found |= self.sources(start)
        return found

    def arm(self, identifier: str) -> Arm:
        """The arm of this id."""
        return next(arm for arm in self.arms if arm.id == identifier)


@dataclass(frozen=True)
class Recipe:
    """A function that makes a study, at the scales that it has."""

    make: Callable[[Scale], Study]
    scales: tuple[Scale, ...]
    default: tuple[Scale, ...] = ()  # where `reproduce` runs it unasked

    @property
    def name(self) -> str:
        """The function's."""
        return self.make.__name__


@dataclass(frozen=True)
class Paper:
    """What the command line and the report know of a package."""

    package: ModuleType  # the import package; its METHOD_VERSION and folder are used
    command: str
    description: str
    citation: Citation
    repository: Repository
    recipes: tuple[Recipe, ...]
    distributions: tuple[str, ...] = ()  # whose versions are recorded
    verbs: Mapping[str, Command] = field(default_factory=dict)
    bench_table: Callable[[Bench], Table] | None = None  # of a line of `bench.jsonl`
    # File name and drawing of such a line, or None for one that has none.
    bench_figure: Callable[[Bench], tuple[str, Figure] | None] | None = None
    # What a closed form gives for a reported cell, for `cite`; "" for a cell that has to be run.
    computed: Callable[[ReportedCell], str] | None = None
    # For `--plan` at scale paper: lines on memory and hours of a GPU that sustains so many TFLOPS.
    estimate: Callable[[Study, float], list[str]] | None = None
    # Generated blocks by document below the package's folder (README.md) and by their name.
    blocks: Callable[[Mapping[str, Results]], Mapping[str, Mapping[str, str]]] | None = None

    @property
    def source(self) -> Path:
        """The folder of the import package."""
        assert self.package.__file__ is not None
        return Path(self.package.__file__).parent

    @property
    def results(self) -> Path:
        """The committed results, if the package runs from a checkout."""
        return self.source.parents[1] / "results"

    @property
    def method_version(self) -> int:
        """Of the package."""
        return int(self.package.METHOD_VERSION)

    def recipe(self, name: str, scale: str) -> Recipe:
        """The recipe `name`; UserError if there is none, or not at this scale."""
        known = {recipe.name: recipe for recipe in self.recipes}
        if name not in known:
            raise UserError(f"unknown study {name!r}: choose one of {', '.join(known)}")
        if scale not in known[name].scales:
            there = " and ".join(known[name].scales)
            raise UserError(f"{name} exists at scale {there}, not at {scale}")
        return known[name]

    def chosen(self, names: tuple[str, ...], scale: Scale) -> list[Study]:
        """The studies of these names at a scale, or those that run unasked."""
        found = [self.recipe(name, scale) for name in names]
        found = found or [recipe for recipe in self.recipes if scale in recipe.default]
        if not found:
            raise UserError(f"{self.command} has no study at scale {scale}")
        return [recipe.make(scale) for recipe in found]

    def every_study(self) -> list[tuple[Recipe, Study]]:
        """All studies at all of their scales."""
        return [(recipe, recipe.make(scale)) for recipe in self.recipes for scale in recipe.scales]
