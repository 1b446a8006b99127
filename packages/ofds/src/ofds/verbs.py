"""The verbs of `ofds` on a user's own data: they start without the studies and without torch."""

from __future__ import annotations

from collections.abc import Mapping

from ofds.use.audit_command import audit
from ofds.use.compare_command import compare
from ofds.use.curve_command import curve
from ofds.use.demo_command import demo
from ofds.use.estimate_command import estimate
from ofds.use.export_command import export
from ofds.use.ingest_command import ingest
from ofds.use.merge_command import merge
from ofds.use.parts_command import parts
from ofds.use.propose_command import propose
from ofds.use.sample_command import sample
from ofds.use.select_command import select
from ofds.use.split_command import split
from repro_shared.runtime.cli import Command

DESCRIPTION = "Choose what to annotate by objects, every class covered, in one pass."
VERBS: Mapping[str, Command] = {
    "propose": propose,
    "parts": parts,
    "select": select,
    "split": split,
    "export": export,
    "ingest": ingest,
    "merge": merge,
    "sample": sample,
    "estimate": estimate,
    "audit": audit,
    "compare": compare,
    "curve": curve,
    "demo": demo,
}
