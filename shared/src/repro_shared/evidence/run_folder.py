"""A study's records: one line a run, and beside it what many runs share, written once.

`<study>/runs.jsonl` has a line for each run. `sets.json` has code, machine and data of runs that
share them, and the resolved config of every arm. `curves.jsonl` has the curves that a table or
figure reads. No file names a path, a host or a user.

Appending is safe: a run is one synced line, its set and curve are on disk before it, and a last
line that a kill tore off is passed over and cut away by the next append.
"""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pydantic

from repro_shared.evidence.hashing import text_of
from repro_shared.evidence.records import Curve, Origin, RunRecord, curve_line, first_problem
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import (
    append_line,
    atomic_write_text,
    complete_lines,
    ensure_output_dir,
)

RUNS, SETS, CURVES, DAMAGED = "runs.jsonl", "sets.json", "curves.jsonl", "damaged.jsonl"
VERSION = 1
CurveId = tuple[str, int, str]  # arm, seed and key of a run


class RunFolder:
    """The records of one study in one folder."""

    def __init__(self, folder: Path | str, study: str) -> None:
        self.folder, self.study = Path(folder), study

    @contextmanager
    def locked(self) -> Iterator[Self]:
        """Inside, no other process may add runs; UserError where one does. Damage is set aside."""
        ensure_output_dir(self.folder)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                problem = "another process writes there: wait for it, or give another --out"
                raise UserError(f"{self.folder}: {problem}") from None
            self._set_damage_aside()
            yield self
        finally:
            os.close(handle)

    def read(self) -> list[RunRecord]:
        """All intact records by arm, seed and time; a damaged line costs a warning on stderr.

        UserError for a damaged `sets.json` and for records of a newer version.
        """
        origins, curves, found = self._origins(), self.curves(), []
        for number, line in self._lines():
            problem, record = self._parse(line, origins, curves)
            if record is not None:
                found.append(record)
            else:
                where = f"{self.folder / RUNS}, line {number}"
                print(
                    f"warning: {where} is damaged ({problem}): its run counts as not made",
                    file=sys.stderr,
                )
        return sorted(found, key=lambda record: (record.arm, record.seed, record.finished))

    def configs(self) -> dict[str, Any]:
        """The resolved configs, by the name that records give them."""
        return dict(self._sets()["configs"])

    def curves(self) -> dict[CurveId, Curve]:
        """Curves by arm, seed and key; a damaged line is passed over."""
        parsed = (_curve_of(line) for _, line in complete_lines(self.folder / CURVES))
        return dict(each for each in parsed if each is not None)

    def append(self, record: RunRecord, config: dict[str, Any], curve: Curve | None = None) -> None:
        """Add a run; inside `locked` only. What its line refers to is on disk before it."""
        line = record.model_copy(update={"curve": bool(curve)}).line()
        self.folder.mkdir(parents=True, exist_ok=True)
        sets = self._sets()
        before = text_of(sets)
        sets["sets"].setdefault(record.origin.id, record.origin.model_dump(mode="json"))
        sets["configs"].setdefault(record.config, config)
        if text_of(sets) != before:
            self._write_sets(sets)
        if curve:
            append_line(self.folder / CURVES, curve_line(record, curve))
        append_line(self.folder / RUNS, line)

    def rewrite(self) -> None:
        """Order the lines by arm and seed, atomically, and drop what no line refers to."""
        records, curves, sets = self.read(), self.curves(), self._sets()
        if not records:
            return
        used, configs = {r.origin.id for r in records}, {r.config for r in records}
        kept = {
            **sets,
            "sets": {name: sets["sets"][name] for name in sorted(used)},
            "configs": {n: form for n, form in sorted(sets["configs"].items()) if n in configs},
        }
        ordered = [(r, curves.get((r.arm, r.seed, r.key))) for r in records]
        self._write_sets(kept)
        if curves:
            lines = [curve_line(record, curve) for record, curve in ordered if curve]
            atomic_write_text(self.folder / CURVES, "".join(f"{line}\n" for line in lines))
        atomic_write_text(self.folder / RUNS, "".join(f"{r.line()}\n" for r in records))

    def _sets(self) -> dict[str, Any]:
        path = self.folder / SETS
        try:
            sets: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if int(sets["version"]) > VERSION:
                problem = f"version {sets['version']}; this code reads up to {VERSION}: update it"
                raise UserError(f"{path}: these records are of {problem}")
            return {"version": VERSION, "sets": {**sets["sets"]}, "configs": {**sets["configs"]}}
        except FileNotFoundError:
            if self._lines():
                problem = f"is gone, and {RUNS} means nothing without it"
                raise UserError(f"{path} {problem}: restore it, or give another --out") from None
            return {"version": VERSION, "sets": {}, "configs": {}}
        except (ValueError, TypeError, KeyError) as error:
            problem = one_line(f"damaged ({type(error).__name__}: {error})")
            raise UserError(f"{path}: {problem}; restore it, or give another --out") from None

    def _write_sets(self, sets: dict[str, Any]) -> None:
        # A line for each set and config: small files whose changes can be read.
        parts = [f'"version": {VERSION}']
        for part in ("sets", "configs"):
            rows = [f'  "{n}": {json.dumps(f, ensure_ascii=False)}' for n, f in sets[part].items()]
            parts.append(f'"{part}": {{\n' + ",\n".join(rows) + "\n}")
        atomic_write_text(self.folder / SETS, "{" + ",\n".join(parts) + "}\n")

    def _origins(self) -> dict[str, Origin]:
        path = self.folder / SETS
        try:
            return {n: Origin.model_validate(form) for n, form in self._sets()["sets"].items()}
        except pydantic.ValidationError as error:
            problem = f"damaged ({first_problem(error)}); restore it, or give another --out"
            raise UserError(f"{path}: {problem}") from None

    def _lines(self) -> list[tuple[int, str]]:
        return complete_lines(self.folder / RUNS)

    def _parse(
        self, line: str, origins: dict[str, Origin], curves: dict[CurveId, Curve]
    ) -> tuple[str, RunRecord | None]:
        try:
            form = json.loads(line)
            origin = origins[form.pop("set")]
            found = RunRecord.model_validate({**form, "study": self.study, "origin": origin})
            if found.curve and (found.arm, found.seed, found.key) not in curves:
                return f"its curve is not in {CURVES}", None
            return "", found
        except pydantic.ValidationError as error:
            return first_problem(error), None
        except (ValueError, TypeError, KeyError, AttributeError):
            return "no record", None

    def _set_damage_aside(self) -> None:
        """Move damaged lines to `damaged.jsonl`, so that their runs are made again."""
        origins, curves = self._origins(), self.curves()
        self._move_aside(RUNS, lambda line: self._parse(line, origins, curves)[1] is None)
        self._move_aside(CURVES, lambda line: _curve_of(line) is None)

    def _move_aside(self, name: str, is_damaged: Callable[[str], bool]) -> None:
        path = self.folder / name
        lines = [line for _, line in complete_lines(path)]
        bad = [line for line in lines if is_damaged(line)]
        if not bad:
            return
        for line in bad:
            append_line(self.folder / DAMAGED, line)
        atomic_write_text(path, "".join(f"{line}\n" for line in lines if line not in bad))
        print(
            f"warning: {path}: {len(bad)} damaged lines were moved to {DAMAGED}; their runs are "
            "made again",
            file=sys.stderr,
        )


def _curve_of(line: str) -> tuple[CurveId, Curve] | None:
    """Whose curve a line holds, and its columns; None for a damaged line."""
    try:
        form = json.loads(line)
        return (form["arm"], int(form["seed"]), form["key"]), dict(form["columns"])
    except (ValueError, TypeError, KeyError):
        return None
