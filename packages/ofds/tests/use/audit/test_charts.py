"""Charts: where things are drawn."""

from __future__ import annotations

import pytest

from ofds.use.audit.charts import HEIGHT, WIDTH, bar, curves, scatter, ticks


@pytest.mark.parametrize("most", [0.003, 0.9, 1, 3, 7, 10, 37, 60, 199, 1000, 123456])
def test_ticks_are_few_and_round(most: float) -> None:
    found = ticks(most)
    assert 3 <= len(found) <= 7
    assert found[0] == 0
    assert found[-1] <= most * (1 + 1e-6)
    assert found[-1] + found[1] > most * (1 - 1e-6)
    assert float(f"{found[1]:.2g}") == pytest.approx(found[1])


def test_equal_values_lie_on_the_diagonal() -> None:
    drawn = scatter([(1, 1), (4, 4), (2, 8)], "predicted", "true")
    line = next(each for each in drawn if each.tag == "polyline").get("points") or ""
    (x0, y0), (x1, y1) = (map(float, corner.split(",")) for corner in line.split())
    dots = [(float(c.get("cx") or 0), float(c.get("cy") or 0)) for c in drawn.iter("circle")]
    for x, y in dots[:2]:
        assert (y - y0) * (x1 - x0) == pytest.approx((x - x0) * (y1 - y0), rel=0.01)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in dots)


def test_a_curve_of_nothing() -> None:
    assert curves([("predicted", [0.0], "#000", True)], "images", "cost").tag == "svg"
    assert scatter([], "a", "b").tag == "svg"


def test_a_bar_and_its_mark() -> None:
    rects = list(bar(0.25, "#123456", 0.5))
    assert [rect.get("width") for rect in rects] == ["25", "1"]
    assert rects[1].get("x") == "50"
    assert len(bar(0.0, "#123456")) == 1
