"""Put what a run left beside the package's sources, with its record: weights that come along.

`python -m cg_augment.study.landing OUT STUDY ARM SEED FILE NAME`, for instance of the diffusion
model of outlines:

    python -m cg_augment.study.landing runs/cg-augment generator_training \\
        shapes-97-aligned-3500-steps 0 generator.safetensors shapes-97

It prints the line of the recipe that has to say so; a test then checks that recipe, record and file
belong together.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from cg_augment.study.committed import FOLDER
from repro_shared.evidence.hashing import resolved_config
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


def main(words: list[str]) -> int:
    """As the module's text says."""
    from cg_augment.cli import PAPER

    if len(words) != 6:
        print(__doc__, file=sys.stderr)
        return 2
    out, study, arm, seed, file, name = words
    try:
        print(f'sha256="{land(PAPER, Path(out), study, arm, int(seed), file, name)}"')
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
