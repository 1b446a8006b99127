"""The command `ofds`: verbs on a user's data start without the studies, which take seconds."""

from __future__ import annotations

import sys

import ofds
from ofds.verbs import DESCRIPTION, VERBS
from repro_shared.runtime.cli import run


def main() -> None:
    """Entry point of the `ofds` command."""
    if sys.argv[1:2] and sys.argv[1] in VERBS:
        sys.exit(run("ofds", DESCRIPTION, VERBS, version=ofds.__version__))
    from ofds.cli import main as whole

    whole()


if __name__ == "__main__":
    main()
