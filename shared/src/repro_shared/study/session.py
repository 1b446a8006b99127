"""A study in an output folder: its data, records, prepared facts, and the order of its runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repro_shared.evidence.records import Origin, RunRecord
from repro_shared.evidence.run_folder import RunFolder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text, sha256_bytes
from repro_shared.runtime.progress import say
from repro_shared.study.identity import identified, is_itself, sentence_of
from repro_shared.study.keys import data_key, recipe_key, seed_of
from repro_shared.study.paper import Arm, Paper, Study
from repro_shared.study.protocols import DataSource

FACTS = "prepared.json"
LEFT = "left.json"  # in the folder of a run that has ended: its key, and the files that it left


@dataclass
class Session:
    """One study in one output folder, with what has been opened so far."""

    paper: Paper
    study: Study
    out: Path
    folder: Path | None = None  # --data
    device: str = "cpu"
    workers: int = 0
    opened: dict[DataSource, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)  # by arm and seed, in this session
    known: dict[tuple[str, int, str], RunRecord] = field(default_factory=dict)  # by arm, seed, key
    # By source: two of one name may differ, in how many pictures they have or how these are made.
    origins: dict[DataSource, Origin] = field(default_factory=dict)

    @property
    def records(self) -> RunFolder:
        """The study's records."""
        return RunFolder(self.out / self.study.name, self.study.name)

    def open(self, source: DataSource) -> Any:
        """A data source's content, read once."""
        if source not in self.opened:
            self.opened[source] = opened = source.open(self.folder)
            found = identified(source, opened)
            if not is_itself(source, found):
                say(f"{source.name}: {sentence_of(source, found)}")
        return self.opened[source]

    def work(self, arm: Arm, seed: int) -> Path:
        """Checkpoints and what a run leaves for others; not evidence, safe to delete."""
        name = f"seed-{seed_of(arm, seed)}-{sha256_bytes(self.key(arm, seed).encode())[:8]}"
        return self.out / "work" / self.study.name / arm.id / name

    def key(self, arm: Arm, seed: int) -> str:
        """See `study.keys`; opens the data."""

        def fingerprint(of: Arm) -> str:
            found: str = self.open(self.study.source(of)).fingerprint
            return found

        return f"{recipe_key(self.paper, arm)}-{data_key(arm, seed, fingerprint)}"

    def read(self) -> None:
        """Learn which runs have been made; of those of one key the newest counts."""
        self.known = {(r.arm, r.seed, r.key): r for r in self.records.read()}

    def made(self, arm: Arm, seed: int) -> RunRecord | None:
        """The record of a run, if it was made on the data as they are.

        The data are read only where there is something to compare them with.
        """
        own, recipe = seed_of(arm, seed), recipe_key(self.paper, arm)
        if not any((r.arm, r.seed, r.recipe) == (arm.id, own, recipe) for r in self.known.values()):
            return None
        return self.known.get((arm.id, own, self.key(arm, seed)))

    def files(self, arm: Arm, seed: int) -> bool:
        """Whether what a run left for others is there, whole."""
        folder = self.work(arm, seed)
        try:
            left = json.loads((folder / LEFT).read_text())
            there = all((folder / n).stat().st_size == size for n, size in left["files"].items())
            return there and bool(left["key"] == self.key(arm, seed))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return False


def read_facts(out: Path, study: Study) -> dict[str, Any] | None:
    """What a study prepared in this output folder; UserError for a damaged file."""
    path = out / study.name / FACTS
    try:
        facts = dict(json.loads(path.read_text(encoding="utf-8")))
        if study.prepare is not None:
            study.prepare.check(facts)
        return facts
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        mend = "restore it, or measure anew with `reproduce --recalibrate`"
        raise UserError(f"{path} is damaged ({error}): {mend}") from error


def write_facts(out: Path, study: Study, facts: dict[str, Any]) -> None:
    """Keep what a study prepared, one line a fact."""
    folder = out / study.name
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in facts.items()]
    atomic_write_text(folder / FACTS, "{" + ",\n".join(rows) + "}\n")


def filled(out: Path, study: Study) -> Study:
    """The study with what was prepared in this folder, or guessed where nothing was."""
    return study.prepare.fill(study, read_facts(out, study)) if study.prepare else study


def schedule(study: Study, seeds: tuple[int, ...], controls: bool) -> Iterator[tuple[Arm, int]]:
    """All runs in order: seed by seed, arms in the study's order, shared ones once."""
    done = set()
    for seed in seeds:
        for arm in study.arms:
            place = (arm.id, seed_of(arm, seed))
            if (controls or not arm.control) and place not in done:
                done.add(place)
                yield arm, seed


def set_facts_aside(out: Path, study: Study) -> None:
    """Keep what was prepared under another name; nothing is deleted."""
    path = out / study.name / FACTS
    if path.is_file():
        stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        aside = path.with_name(f"prepared-until-{stamp:%Y%m%dT%H%M%S}.json")
        path.replace(aside)
        say(f"{path} is kept as {aside.name}")
