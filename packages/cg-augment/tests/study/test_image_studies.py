"""The studies on images: rows that share what they can, claims, gates, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cg_augment.cli import PAPER
from cg_augment.study import figures, gallery, image_claims, image_tables
from cg_augment.study.generator import train_generator
from cg_augment.study.image_recipes import (
    MAIN,
    digits_on_photographs,
    images_to_look_at,
    shapes_on_grounds,
    six_grounds,
)
from cg_augment.study.image_worlds import lengths
from cg_augment.study.rows import run_row
from cg_augment.study.stages import Biased, Rowed
from cg_augment.study.try_recipes import gates, generator_training, tries_on_shapes
from cg_augment.train import Trained
from repro_shared.evidence.cells import read_cells
from repro_shared.evidence.figures import save_figure
from repro_shared.evidence.hashing import resolved_config
from repro_shared.runtime.weights import save_weights
from repro_shared.study.command import main
from repro_shared.study.results import Results, load_results
from repro_shared.study.session import schedule

STUDIES = (shapes_on_grounds, digits_on_photographs, six_grounds)


class Run:
    """A record as tables and rules read it."""

    seconds = 1.5


def results_of(study: Any, values: dict[tuple[str, str], list[float]]) -> Results:
    """Records of these values by arm's name and metric."""
    found = Results(PAPER, study, [], Path())
    patched: Any = found
    object.__setattr__(patched, "values", lambda arm, metric: values.get((arm.name, metric), []))
    object.__setattr__(
        patched, "runs", lambda arm: [Run()] if any(a == arm.name for a, _ in values) else []
    )
    return found


@pytest.mark.parametrize("make", STUDIES, ids=lambda make: make.__name__)
def test_rows_arms_and_claims_of_a_study(make: Any) -> None:
    study = make("cpu")
    rows = [arm for arm in study.arms if isinstance(arm.config, Biased)]
    shares = {arm.name.rpartition(", ")[2] for arm in rows if arm.config.row.way is not None}
    names = {arm.config.row.name for arm in rows}
    assert len(names) == (19 if make is shapes_on_grounds else len(MAIN) + 2)
    assert len(shares) == (3 if make is shapes_on_grounds else 1)
    cells = {cell.id for cell in read_cells(PAPER.source / "tables" / "reported.csv")}
    known = {arm.id for arm in study.arms}
    for claim in study.claims:
        assert {claim.arm, claim.rival} <= known
        assert set(claim.cells) <= cells
        assert claim.seeds == (0, 1, 2, 3, 4)
    assert any(claim.headline for claim in study.claims)


def test_diffusion_models_of_controls_are_trained_for_controls_alone() -> None:
    study = shapes_on_grounds("cpu")

    def trained(controls: bool) -> list[str]:
        return [a.name for a, _ in schedule(study, (0, 1), controls) if a.run is train_generator]

    assert trained(False) == []
    assert trained(True) == [
        "shapes, 100 % aligned, 3500 steps", "shapes, 80 % aligned, 3500 steps",
    ]  # fmt: skip
    assert [a.control for a in digits_on_photographs("cpu").arms if a.run is train_generator] == [
        False
    ]


def test_rows_start_from_the_biased_student_where_their_first_phase_is_the_same() -> None:
    alone = {"feature KD", "RandAugment", "mixup, relabelled", "CutMix, relabelled",
             "adversarial images", "TAB", "oracle"}  # fmt: skip
    study = shapes_on_grounds("cpu")
    for arm in study.arms:
        if not isinstance(arm.config, Rowed):
            continue
        starts = [start.name for start in arm.starts_from]
        assert ("KD" in starts) == (arm.config.row.name not in alone)
        assert ("judge" in starts) == (arm.config.row.way is not None)
        assert starts[0] == "teacher"
    steps = {arm.config.row.plan.steps for arm in study.arms if isinstance(arm.config, Rowed)}
    assert steps == {400}


def test_going_on_from_the_biased_student_changes_no_bit(
    classifier_of: Callable[..., Any], grouped_of: Callable[..., Any]
) -> None:
    own = lengths(True)
    first, longer = (next(r for r in own.rows() if r.name == n) for n in ("KD", "KD, longer"))
    pictures, teacher = grouped_of((8, 8, 8, 8)).pictures, classifier_of(1, 12)
    whole = run_row(longer, lambda: classifier_of(2), teacher, pictures, 5)
    begun = run_row(first, lambda: classifier_of(2), teacher, pictures, 5)
    student = begun.student.requires_grad_(True)
    again = run_row(
        longer, lambda: classifier_of(3), teacher, pictures, 5,
        begun=Trained(student, 1.0, begun.images, [], None, None),
    )  # fmt: skip
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, again.student.state_dict()[name]), name
    assert whole.images == again.images
    tab = next(r for r in own.rows() if r.name == "TAB")
    with pytest.raises(ValueError, match="from the first phase on"):
        run_row(tab, lambda: classifier_of(2), teacher, pictures, 5, begun=whole.phases[0])


def test_gates_read_teacher_student_and_oracle_alone() -> None:
    study, worst = shapes_on_grounds("cpu"), image_claims.WORST
    fine = {("teacher", worst): [95.0], ("KD", worst): [10.0], ("oracle", worst): [70.0]}
    claim = next(c for c in study.claims if not image_claims.guides(c) and not c.negative_control)

    def why(**changes: float) -> str:
        values = {**fine, **{(name, worst): [value] for name, value in changes.items()}}
        return image_claims.suspended(results_of(study, values), claim)

    assert why() == ""
    assert why(teacher=80.0) == "the teacher has 80.0 %, below 90"
    assert "it is not biased" in why(KD=60.0, oracle=100.0)
    assert why(oracle=30.0) == "the oracle gains 20.0 points, less than 30"
    none = image_claims.suspended(results_of(study, {}), claim)
    assert none == "the teacher has not been run"
    guidance = study.claims[0]  # waits for the controls, too
    why_not = image_claims.suspended(results_of(study, fine), guidance)
    assert why_not.startswith("the negative control has not been run")


def test_gates_of_six_grounds_are_of_the_spurious_score() -> None:
    study, name = six_grounds("cpu"), image_claims.SPURIOUS
    claim = study.claims[0]
    fine = {("teacher", name): [99.0], ("KD", name): [30.0], ("oracle", name): [95.0]}

    def why(**changes: float) -> str:
        values = {**fine, **{(arm, name): [value] for arm, value in changes.items()}}
        return image_claims.suspended(results_of(study, values), claim)

    assert why() == ""
    assert why(teacher=79.0) == "the teacher has 79.0 %, below 80"
    assert "above 80: it is not biased" in why(KD=81.0, oracle=99.0)
    assert why(KD=30.0, oracle=39.0) == "the oracle gains 9.0 points, less than 10"


@pytest.mark.parametrize("found", ["supported", "contradicted", "inconclusive"])
def test_a_negative_control_that_is_supported_suspends_guidance(found: str) -> None:
    study, worst = shapes_on_grounds("cpu"), image_claims.WORST
    means = {"supported": 30.0, "contradicted": 0.5, "inconclusive": 10.0}
    spread = [3.0, -3.0, 1.0, -1.0, 0.0]
    records = [
        SimpleNamespace(study="shapes_on_grounds", arm=arm.id, seed=seed, status="complete",
                        metrics={worst: mean + wide * spread[seed]}, method_version=2,
                        data_fingerprint="x")
        for arm in study.arms if arm.name.endswith("100 % aligned")
        for mean, wide in [(0.0, 0.0) if arm.name.startswith("unguided") else (means[found], 1.0)]
        for seed in range(5)
    ]  # fmt: skip
    results = Results(PAPER, study, records, Path())  # type: ignore[arg-type]
    why = image_claims.broken(results)
    assert why.startswith("the negative control is supported") == (found == "supported")
    assert bool(why) == (found == "supported")


def test_a_table_says_what_the_judge_does_not_believe() -> None:
    study = shapes_on_grounds("cpu")
    row, other = "ConfiG, stepwise, 97 % aligned", "unguided, 97 % aligned"
    values = {(row, "worst"): [1.0, 2.0, 1.0], (row, "worst-low"): [10.0, 12.0, 14.0],
              (row, "worst-high"): [20.0, 22.0, 24.0], ("judge", "refuses blobs"): [91.0],
              (row, "valid"): [70.0, 80.0], (other, "valid"): [90.0, 95.0],
              (row, "forward"): [12.0, 12.0], (row, "backward"): [7.0, 7.0],
              ("judge", "class"): [98.0], ("judge", "ground"): [100.0]}  # fmt: skip
    table = image_tables.by_row(results_of(study, values))
    said = " ".join(table.notes)
    assert f"fewer than 80 % of the images of: {row}." in said
    assert "names the class of 98.0 % and the ground of 100.0 %" in said
    assert "refuses 91.0 % of blobs" in said
    cells = {line[0]: line for line in table.rows}
    passes = [column.name for column in table.columns].index("network evaluations an image")
    assert cells[row][passes] == 19
    assert cells[row][3] == (
        "3 lobes/ground 2 (2 of 3 seeds; 250 pictures, 12.0 to 22.0)"
    )  # groups are class, then ground
    assert not [name for name in cells if "80 % aligned" in str(name)]  # controls have not run


def test_figures_draw_without_and_with_images(tmp_path: Path) -> None:
    study = shapes_on_grounds("cpu")
    values = {("KD", "worst-group"): [1.0, 2.0, 4.0, 3.0, 2.0], ("teacher", "worst-group"): [99.0]}
    found = results_of(study, values)
    name, figure = figures.by_row(found)
    assert name == "shapes-on-grounds"
    images = gallery.Shown(
        ("unguided", "ConfiG, stepwise"), np.zeros((2, 3, 8, 8, 3), np.uint8),
        np.full((2, 3), 0.987, np.float32), np.full((2, 3), 0.12, np.float32), 100,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "shown", lambda: images)
        _, both = figures.by_row(found)
    texts = [text.get_text() for axes in both.axes for text in axes.texts]
    assert texts.count("99 / 12") == 6
    assert "ConfiG\nstepwise" in texts
    assert "seed 100, one noise a column" in str(both.get_supxlabel())
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == []
    (axes,) = figure.axes
    points = {tuple(map(float, line.get_xdata())) for line in axes.lines}
    assert (1.0, 2.0, 4.0, 3.0, 2.0) in points
    assert (99.0,) in points
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["teacher", "KD"]
    save_figure(both, tmp_path / "both")


def test_images_that_come_along_belong_to_their_record(tmp_path: Path) -> None:
    pixels = torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)
    half = {"pixels": pixels, "teacher": torch.ones(1, 2), "student": torch.zeros(1, 2)}
    digest = save_weights(half, tmp_path / "shown.safetensors")
    record = tmp_path / "shown.json"
    metrics = {"teacher/x": 1.0, "student/x": 2.0}
    record.write_text(json.dumps({"record": {"seed": 7, "metrics": metrics}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "SHA256", digest)
        found = gallery.shown(tmp_path / "shown.safetensors", record)
        assert found is not None
        assert (found.ways, found.seed, found.pixels.shape) == (("x",), 7, (1, 2, 4, 4, 3))
        patch.setattr(gallery, "SHA256", "0" * 64)
        with pytest.raises(gallery.UserError, match="missing or damaged"):
            gallery.shown(tmp_path / "shown.safetensors", record)
    if gallery.shown() is not None:  # what really comes along is whole, and of the recipe
        about = json.loads(gallery.RECORD.read_text())
        (arm,) = (each for each in images_to_look_at("cpu").arms if each.run is gallery.gallery)
        assert about["record"]["notes"] == f"images sha256 {gallery.SHA256}"
        assert about["config"] == json.loads(json.dumps(resolved_config(arm.config)))


OTHERS = (images_to_look_at, generator_training, tries_on_shapes, gates)


@pytest.mark.parametrize("make", [*STUDIES, *OTHERS], ids=lambda make: make.__name__)
def test_smoke(make: Any, tmp_path: Path) -> None:
    """Every stage runs from end to end, and a second call has nothing to do."""
    study = make("smoke")
    command = ["reproduce", "--table", make.__name__, "--scale", "smoke", "--out", str(tmp_path)]
    assert main(PAPER, command) == 0
    found = load_results(PAPER, study, tmp_path)
    wanted = {arm.id for arm in study.arms if not arm.control}
    assert {record.arm for record in found.records} == wanted
    assert {record.status for record in found.records} == {"complete"}
    for arm in study.arms:
        if isinstance(arm.config, Rowed) and arm.config.row.way is not None:
            (metrics,) = [record.metrics for record in found.runs(arm)]
            assert metrics["kept"] == 100
            assert 0 <= metrics["valid-minority"] <= metrics["valid"] <= 100
    if make is six_grounds:
        assert all(found.values(arm, "spurious-map") for arm in study.arms
                   if isinstance(arm.config, Biased))  # fmt: skip
    if make is tries_on_shapes:
        named = {name for record in found.records for name in record.metrics}
        assert not [name for name in named if "minority" in name]  # no group is looked at
    if make is not images_to_look_at:
        assert replace(study).tables[0](found).rows
