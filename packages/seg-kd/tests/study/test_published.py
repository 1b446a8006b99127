"""Published numbers: what was read, what their arithmetic comes to, and who is ahead with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_shared.runtime.errors import UserError
from repro_shared.study.results import load_results
from seg_kd.cli import PAPER
from seg_kd.rivals.presets import NAMED
from seg_kd.study import published
from seg_kd.study.break_even import ahead
from seg_kd.study.published import counted_cost, published_numbers, published_table


def test_every_number_has_a_source_a_preset_that_exists_and_a_plain_row() -> None:
    found = published.published()
    plain = {(each.dataset, each.pair) for each in found if not each.preset}
    for each in found:
        assert each.status == "authors-repository"
        assert each.preset in ("", *NAMED)
        assert (each.dataset, each.pair) in plain
        assert 30 < each.miou < each.teacher


def test_the_gains_and_the_arithmetic(tmp_path: Path) -> None:
    table = published_table(load_results(PAPER, published_numbers("cpu"), tmp_path))
    rows = {(row[0], row[1]): row for row in table.rows}
    # Gains by hand, of what was printed: 76.26 - 74.23, 36.21 - 33.91 and 36.92 - 33.91.
    assert rows["Cityscapes, PSPNet R101 to R18", "CWD"][3] == pytest.approx(2.03)
    deeplab = "ADE20K, DeepLabV3 R101 to R18"
    assert rows[deeplab, "Af-DCD"][3] == pytest.approx(2.30)
    longer = rows[deeplab, "plain, twice the iterations"]
    assert longer[3] == pytest.approx(3.01)
    # Plain training leaves out the teacher, 0.39 of a step at these shapes.
    assert longer[5] == pytest.approx(0.39, abs=0.01)
    mgd = rows["Cityscapes, PSPNet R101 to R18, crops of 512 x 512", "MGD"]
    assert mgd[6] == pytest.approx(40 * 3.24, abs=0.5)
    assert rows["Cityscapes, PSPNet R101 to R18", "plain"][3] is None


def test_the_counted_cost_is_relative_to_any_objective() -> None:
    assert counted_cost("logit") == 1
    assert counted_cost("mgd", beside="feature") == pytest.approx(
        counted_cost("mgd") / counted_cost("feature")
    )


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "published.csv"
    path.write_text(published.FILE.read_text().replace("74.23", "many", 1))
    monkeypatch.setattr(published, "FILE", path)
    with pytest.raises(UserError, match=r"published\.csv, line 2"):
        published.published()


@pytest.mark.parametrize(
    ("low", "high", "cost", "said"),
    [
        (1.1, 1.4, 1.5, "canonical"),
        (1.1, 1.4, 1.0, "rival"),
        (1.1, 1.4, 1.2, "neither"),
        (1.1, 2.0, 2.5, "neither"),  # beyond the longest training it is not known
        (0.25, 0.4, 0.2, "neither"),  # nor below the shortest
        (2.0, 2.0, 1.0, "rival"),
    ],
)
def test_who_is_ahead_follows_from_interval_and_cost(
    low: float, high: float, cost: float, said: str
) -> None:
    assert ahead((low, high, 0.25, 2.0), cost) == said
    assert ahead(None, cost) == ahead((low, high, 0.25, 2.0), None) == ""
