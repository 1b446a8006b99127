"""What a paper brings to its studies: data sources, and preparations before the runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from repro_shared.study.paper import Arm, Study
    from repro_shared.study.results import Results


class Data(Protocol):
    """What a data source gives: the fingerprint of all that training and scoring read."""

    @property
    def fingerprint(self) -> str:
        """As `repro_shared.datasets.fingerprint` makes them."""
        ...


class DataSource(Protocol):
    """A data set by name; a frozen dataclass, so that equal sources are opened once."""

    @property
    def name(self) -> str:
        """Its short name, in records."""
        ...

    @property
    def sentence(self) -> str:
        """What the pictures are and which of them are scored, for tables and figures."""
        ...

    def missing(self, folder: Path | None) -> list[str]:
        """What is not there, in words; empty where `open` can be called."""
        ...

    def open(self, folder: Path | None) -> Any:
        """Read it: a `Data`. `folder` is `--data`. UserError for what is wrong with it."""
        ...


@dataclass(frozen=True)
class Arithmetic:
    """The data source of a study without arms, whose tables come from a closed form."""

    name = "none"
    sentence = "none: arithmetic"

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> None:
        """Nothing: without arms nobody asks."""


@runtime_checkable
class NamedSet(DataSource, Protocol):
    """A data set that others bring: the folder given may be another one, see `study.identity`."""

    @property
    def title(self) -> str:
        """Its name in prose."""
        ...

    @property
    def known(self) -> tuple[str, ...] | None:
        """Fingerprints of the committed records; None for a user's own, which has no other name."""
        ...

    @property
    def scoring(self) -> str:
        """What `sentence` says of the scored pictures, behind what they are."""
        ...


class Preparation(Protocol):
    """What a study measures before its runs, and checks after them (seg-kd: the cost of a step).

    What it finds are facts: plain values, kept as `prepared.json` beside the records.
    """

    def measure(self, study: Study, session: Any, facts: dict[str, Any] | None) -> dict[str, Any]:
        """The facts, going on from earlier ones; `session` opens the data of arms."""
        ...

    def fill(self, study: Study, facts: dict[str, Any] | None) -> Study:
        """The study with what the facts decide; without facts a guess, for `--plan`."""
        ...

    def check(self, facts: dict[str, Any]) -> None:
        """ValueError, with a short reason, for facts that are not this preparation's."""
        ...

    def concerns(self, arm: Arm) -> bool:
        """Whether a run of this arm has to be followed by `close`."""
        ...

    def close(self, study: Study, session: Any, facts: dict[str, Any]) -> dict[str, Any]:
        """The facts after runs were made."""
        ...

    def refuse(self, results: Results) -> None:
        """UserError where the facts say that the runs do not hold what the study promises."""
        ...
