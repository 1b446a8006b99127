"""The house rules of what the papers share: who uses it, and how long a file may be."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "shared" / "src"
LINES = 250

# The plan of the rooms. A module outside it is here because at least two papers use it; else it
# belongs into the paper that does.
ROOMS = {
    "runtime": (
        "errors", "files", "rng", "checkpoint", "progress", "images", "cli", "weights",
        "distributed", "checks", "memory",
    ),
    "datasets": (
        "wheels", "scenes", "composing", "label_maps", "label_values", "class_folders", "boxes",
        "views", "fingerprint",
    ),
    "metrics": ("segmentation", "classification", "detection", "ranking"),
    "timing": ("calibrate", "counts", "bench"),
    "evidence": ("cells", "records", "run_folder", "tables", "figures", "claims", "cite"),
    "study": ("paper", "protocols", "run", "results", "publish", "command", "pages"),
}  # fmt: skip


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCES).with_suffix("").parts)


MODULES = {name_of(path): path for path in SOURCES.rglob("*.py") if path.name != "__init__.py"}


def imported(path: Path) -> set[str]:
    """The shared modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & MODULES.keys()


def reached(paths: list[Path]) -> set[str]:
    """The shared modules that files import, directly or through other shared modules."""
    found: set[str] = set()
    waiting = set().union(*map(imported, paths))
    while waiting:
        found |= waiting
        waiting = set().union(*(imported(MODULES[name]) for name in waiting)) - found
    return found


def test_every_module_is_planned_or_used_by_two_papers() -> None:
    papers = {
        folder.name: reached(list((folder / "src").rglob("*.py")))
        for folder in (ROOT / "packages").iterdir()
        if (folder / "src").is_dir()
    }
    planned = {f"repro_shared.{room}.{name}" for room, names in ROOMS.items() for name in names}
    for name in sorted(MODULES.keys() - planned):
        users = [paper for paper, used in papers.items() if name in used]
        assert len(users) >= 2, f"{name} is used by {users or 'no paper'}: it belongs there"


def test_no_file_is_long() -> None:
    lines = {name: path.read_bytes().count(b"\n") for name, path in MODULES.items()}
    long = {name: count for name, count in lines.items() if count > LINES}
    assert not long, f"at most {LINES} lines a file"


def test_rooms_are_the_planned_ones() -> None:
    assert {name.split(".")[1] for name in MODULES} == set(ROOMS)
