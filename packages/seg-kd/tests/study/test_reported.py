"""The paper's numbers: only the four of the abstract, and they agree with one another."""

import re
from importlib.resources import files
from pathlib import Path

from repro_shared.evidence.cells import ReportedCell, read_cells

PACKAGE = Path(str(files("seg_kd")))
REPORTED = PACKAGE / "tables" / "reported.csv"


def cells() -> dict[str, ReportedCell]:
    return {cell.id: cell for cell in read_cells(REPORTED)}


def test_the_file_holds_exactly_what_the_abstract_says() -> None:
    # Written out a second time, by hand, so that a slip in either place shows.
    assert {cell_id: cell.printed for cell_id, cell in cells().items()} == {
        "abstract/pspnet-r18-student/miou/cityscapes": "79.0",
        "abstract/r101-teacher/miou/cityscapes": "79.8",
        "abstract/pspnet-r18-student/share-of-teacher/cityscapes": "99",
        "abstract/pspnet-r18-student/share-of-teacher/ade20k": "92",
    }


def test_every_cell_says_that_it_was_read_in_the_abstract() -> None:
    for cell in cells().values():
        assert cell.paper == "2604.25530"
        assert cell.table == "abstract"
        assert cell.status == "abstract"
        assert cell.source == "arXiv 2604.25530 (abstract)"
        assert cell.plus_minus is None
        assert cell.unit == "percent"


def test_the_share_on_cityscapes_is_the_quotient_of_the_two_mious() -> None:
    found = cells()
    student = found["abstract/pspnet-r18-student/miou/cityscapes"].value
    teacher = found["abstract/r101-teacher/miou/cityscapes"].value
    share = found["abstract/pspnet-r18-student/share-of-teacher/cityscapes"].value
    assert round(100 * student / teacher) == share


def test_a_paper_number_is_typed_nowhere_else() -> None:
    for source in PACKAGE.rglob("*.py"):
        found = re.search(r"(?<![\d.])79\.[08](?![\d])", source.read_text(encoding="utf-8"))
        assert found is None, f"{source.name} holds {found and found[0]}"
