"""The settings of each loss that were chosen on tuning seeds; rule and tries: results/protocol.md.

`clip-distill freeze` writes them into a file from the records of the tuning studies, so nothing is
copied by hand. A final study whose settings are not all there has `Untuned` data: it says what is
to be run first, and runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_shared.runtime.errors import UserError
from repro_shared.study.protocols import DataSource

FILE = Path(__file__).parents[1] / "tables" / "tuned.json"


@dataclass(frozen=True)
class Try:
    """One setting of a loss.

    Attributes:
        temperature: None for L2, which has none.
        rate: the learning rate of stage 2.
    """

    temperature: float | None
    rate: float

    def __str__(self) -> str:
        tau = "" if self.temperature is None else f"temperature {self.temperature:g}, "
        return f"{tau}rate {self.rate:g}"


Tries = Mapping[str, tuple[Try, ...]]
"""By loss, the best ones first."""


def shortlist(study: str, group: str) -> Tries:
    """The two best tries of each loss on the first tuning seed; empty until that has run."""
    found = _frozen().get(study, {}).get(group, {}).get("first", {})
    return {name: tuple(Try(*each) for each in tries) for name, tries in found.items()}


def chosen(study: str, group: str) -> Mapping[str, Try]:
    """What final runs take, by loss; empty until all of it is known."""
    found = _frozen().get(study, {}).get(group, {}).get("chosen", {})
    return {name: Try(*each) for name, each in found.items()}


def needs_tuning(study: str, wanted: Mapping[str, Iterable[str]]) -> str:
    """What has to be run before a study, in words; "" if all losses of all groups are chosen."""
    lacking = [
        f"{name} at {group}"
        for group, names in wanted.items()
        for name in names
        if name not in chosen(study, group)
    ]
    if not lacking:
        return ""
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    steps = f"--table {study}_tuning, freeze, --table {study}_tuning_again, freeze"
    return f"the tuned settings of {lacking[0]}{more} (tune first: {steps})"


def _frozen() -> dict[str, Any]:
    try:
        return dict(json.loads(FILE.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{FILE}: damaged ({error}); `clip-distill freeze` writes it") from None


@dataclass(frozen=True)
class Untuned:
    """Data of a study that waits for tuning.

    Attributes:
        source: its data.
        needs: what has to be run first.
    """

    source: DataSource
    needs: str

    @property
    def name(self) -> str:
        """The data's own."""
        return self.source.name

    @property
    def sentence(self) -> str:
        """The data's own."""
        return self.source.sentence

    def missing(self, folder: Path | None) -> list[str]:
        """The tuning, and what the data lack."""
        return [self.needs, *self.source.missing(folder)]

    def open(self, folder: Path | None) -> Any:
        """UserError: nothing is run before it is tuned."""
        raise UserError(f"needs {self.needs}")


def waiting(source: DataSource, needs: str) -> DataSource:
    """The source, or one that waits if anything is needed."""
    return Untuned(source, needs) if needs else source


def data_of(source: DataSource) -> Any:
    """The source behind one that waits."""
    return source.source if isinstance(source, Untuned) else source
