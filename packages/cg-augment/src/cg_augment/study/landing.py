"""`cg-augment freeze`: what a run left, beside the package's sources, with its record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cg_augment.study.committed import FOLDER
from repro_shared.evidence.hashing import resolved_config
from repro_shared.runtime.cli import Command
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text, sha256_file
from repro_shared.study.paper import Paper
from repro_shared.study.session import Session


def land(
    paper: Paper, out: Path, study: str, arm: str, seed: int, file: str, name: str,
    folder: Path = FOLDER,
) -> str:  # fmt: skip
    """Copy a file and write its record; returns the file's sha256.

    Raises:
        UserError: the run has no record, left no such file, or another one than its record says.
    """
    made = paper.recipe(study, "cpu").make("cpu")
    session = Session(paper, made, out)
    session.read()
    if arm not in (known := [each.id for each in made.arms]):
        raise UserError(f"{study} has no arm {arm!r}: choose one of {', '.join(known)}")
    one = made.arm(arm)
    record, source = session.made(one, seed), session.work(one, seed) / file
    if record is None or not source.is_file():
        raise UserError(
            f"{out}: {study}, {arm}, seed {seed} has not been run here, or left no {file}"
        )
    digest = sha256_file(source)
    if not record.notes.endswith(digest):
        raise UserError(f"{source} is not the file that its record speaks of")
    about = {
        "record": json.loads(record.model_dump_json()),
        "config": resolved_config(one.config),
        "pictures": resolved_config(made.source(one)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / f"{name}.safetensors")
    atomic_write_text(folder / f"{name}.json", json.dumps(about, indent=1) + "\n")
    return digest


def verb(paper: Paper) -> Command:
    """The verb of this paper."""

    def freeze(
        study: str, arm: str, file: str, name: str, *, seed: int = 0, out: str = "runs/cg-augment"
    ) -> None:
        """Take what a run left into the package, with its record: weights that come along.

        It prints the line of the recipe that has to say so; a test then checks that recipe, record
        and file belong together. For instance: freeze generator_training
        shapes-97-aligned-3500-steps generator.safetensors shapes-97

        Args:
            study: that the run was made for.
            arm: its id.
            file: that it left.
            name: of the file in the package's weights, without its ending.
            seed: of the run.
            out: output folder.
        """
        print(f'sha256="{land(paper, Path(out), study, arm, seed, file, name)}"')

    return freeze
