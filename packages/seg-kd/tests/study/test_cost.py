"""The cost card: counts that other code made, closed forms, and what a term really needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from repro_shared.runtime.errors import UserError
from seg_kd.rivals.presets import NAMED
from seg_kd.study import cost
from seg_kd.study.cost import SHAPES, Card, Largest, card, figure, table
from seg_kd.study.estimate import step_macs
from seg_kd.study.published import COUNTED

CHOSEN = ("logit", "feature", "skd", "ifvd", "at", "cirkd-mini-batch", "cirkd-memory", "mgd",
          "af-dcd-as-published", "dist", "dist-as-published")  # fmt: skip


@pytest.fixture(scope="module")
def cityscapes() -> Card:
    return card(SHAPES[0], [NAMED[name] for name in CHOSEN])


def test_a_step_at_the_papers_shapes(cityscapes: Card) -> None:
    # 54.2 and 255.9 GMAC at 512 x 512 forward; the student's step is three passes but for the
    # gradient of the pictures, and has the auxiliary head.
    assert cityscapes.teacher / 1e9 == pytest.approx(4 * 255.9, rel=2e-3)
    assert 3 * 4 * 54.2 < cityscapes.student / 1e9 < 3 * 4 * 54.2 * 1.03


@pytest.mark.parametrize(
    ("name", "gmac", "millions"),
    [
        ("logit", 0.0, 0.0),
        ("feature", 3.2, 0.0655),
        ("cirkd-mini-batch", 240, 0.0),
        ("cirkd-memory", 145, 0.3287),  # with the projection
        ("mgd", 3762, 76.6),
        ("af-dcd-as-published", 7473, 152),
    ],
)
def test_counts_are_those_that_were_made_by_other_code(
    cityscapes: Card, name: str, gmac: float, millions: float
) -> None:
    found = cityscapes.costs[name]
    assert found.macs / 1e9 == pytest.approx(gmac, rel=5e-3, abs=0.05)
    assert found.parameters / 1e6 == pytest.approx(millions, rel=2e-3)


def test_what_tables_read_of_the_counts_is_what_is_counted(cityscapes: Card) -> None:
    kept = json.loads(COUNTED.read_text())
    assert kept.keys() == {scene[0] for scene in SHAPES}
    names = {"plain", *(name for name, each in NAMED.items() if each.needs_teacher)}
    assert all(macs.keys() == names for macs in kept.values())
    for name in ("plain", *CHOSEN):
        assert kept["Cityscapes"][name] == step_macs(cityscapes, name)


def test_counts_are_the_closed_forms(cityscapes: Card) -> None:
    images, places, own, other, classes = 2, 64 * 128, 128, 512, 19
    pooled = places // 4
    # Three products of C x C, the gradient of one product of a map with itself and of one other.
    skd = pooled * (3 * own**2 + 2 * own * other + other**2)
    assert cityscapes.costs["skd"].macs == images * skd
    # Two products with the classes each, and their gradients where the student is: 2 and 1 (the
    # first's other factor is no variable).
    ifvd = places * classes * (2 * other + (2 + 3) * own)
    assert cityscapes.costs["ifvd"].macs == images * ifvd
    rows, vectors = images * places, 19 * (4096 // 19 + 1) + 19 * (1024 // 19 + 1)
    memory = 3 * rows * vectors * other
    projection = 3 * rows * (own * other + other**2)
    regions = rows * classes * other
    means = 2 * rows  # over the rows, of pixels and of regions
    assert cityscapes.costs["cirkd-memory"].macs == memory + projection + regions + means
    queues = cityscapes.costs["cirkd-memory"].buffers
    assert queues == pytest.approx(19 * (20001 + 2001) * 512 * 4, rel=1e-4)


def test_the_largest_tensor_is_not_a_product_of_all_places(cityscapes: Card) -> None:
    assert cityscapes.costs["skd"].largest < 2 * 2048**2 * 4  # similarities of pooled places
    assert cityscapes.costs["cirkd-mini-batch"].largest == 2**26 * 4  # a block of them
    assert cityscapes.costs["ifvd"].largest < 2 * 512 * 8192 * 4
    with Largest() as largest:
        maps = torch.zeros(4, 8)
        maps.view(8, 4).add_(1)
        torch.zeros(3)
    assert largest.bytes == 4 * 8 * 4


def test_a_teachers_auxiliary_head_has_its_price(cityscapes: Card) -> None:
    head = 2 * 8192 * (1024 * 256 * 9 + 256 * 19)  # a 3 x 3 convolution and the classifier
    found = cityscapes.costs["dist-as-published"].macs - cityscapes.costs["dist"].macs
    assert found == head


def test_table_figure_and_files(
    cityscapes: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = table([cityscapes, cityscapes])
    assert [row[0] for row in made.rows] == [*CHOSEN]
    assert len(made.columns) == 9
    assert {len(row) for row in made.rows} == {9}
    assert "teacher 1023 GMAC" in made.notes[0]
    bars = figure([cityscapes, cityscapes]).axes[0].patches
    assert len(bars) == 2 * len(CHOSEN)
    monkeypatch.setattr(cost, "card", lambda *_: cityscapes)
    cost.command(arms=("plain", "logit"), out=str(tmp_path))
    assert made.title in capsys.readouterr().out
    assert (tmp_path / "tables" / "cost-card.csv").is_file()
    assert (tmp_path / "figures" / "cost-card.svg").is_file()


def test_a_card_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--arms names no objective that adds anything"):
        cost.command(arms=("plain",), out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
