"""Claims can fail, and are not read where the teacher or stage 1 lies outside of the gates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from clip_distill.cli import PAPER
from clip_distill.study.claims import GATES, HELD_OUT, SEEDS
from clip_distill.study.figures import confounding, examples
from clip_distill.study.photographs_recipes import confounded_photographs
from clip_distill.study.recipes import coarse_digits, confounded_objects
from clip_distill.study.scoring import SEEN
from clip_distill.study.tables import amounts, by_confounding, by_loss, kept, sweep, unseen
from clip_distill.study.tuned import data_of
from repro_shared.evidence.cells import read_cells
from repro_shared.evidence.figures import save_figure
from repro_shared.study.results import Results

STUDIES = (confounded_objects, coarse_digits, confounded_photographs)


@dataclass
class Record:
    """As much of a run as verdicts read."""

    study: str
    arm: str
    seed: int
    metrics: dict[str, float]
    status: str = "complete"
    method_version: int = 1
    data_fingerprint: str = "a"
    key: str = ""


def results(study: Any, values: dict[str, float]) -> Results:
    """Every arm at 40 and those that are named elsewhere, with a little of the seed."""
    metrics = {claim.metric for claim in study.claims} | {SEEN, HELD_OUT, "accuracy/real"}
    records: list[Any] = [
        Record(study.name, arm.id, seed, {m: values.get(arm.name, 40.0) + 0.1 * seed * (n % 3)
                                          for m in metrics})
        for n, arm in enumerate(study.arms)
        for seed in SEEDS
    ]  # fmt: skip
    return Results(PAPER, replace(study), records, Path())


@pytest.mark.parametrize("make", STUDIES, ids=lambda make: make.__name__)
def test_claims_name_arms_and_cells_that_are_there_and_some_are_controls(make: Any) -> None:
    study = make("cpu")
    known = {arm.id for arm in study.arms}
    cells = {cell.id for cell in read_cells(PAPER.source / "tables" / "reported.csv")}
    for claim in study.claims:
        assert {claim.arm, claim.rival} <= known
        assert set(claim.cells) <= cells
    assert any(claim.negative_control for claim in study.claims)
    assert set(GATES[study.name]) <= {arm.name for arm in study.arms}


def test_every_claim_can_be_supported_and_contradicted() -> None:
    study = confounded_objects("cpu")
    passed = {"the teacher": 80.0, "the teacher, confounding 0": 80.0}
    for claim in study.claims:
        alone = replace(study, claims=(replace(claim, family=None),))
        names = {arm.id: arm.name for arm in study.arms}
        arm, rival = names[claim.arm], names[claim.rival]
        for better, word in ((15.0, "supported"), (-15.0, "contradicted")):
            middle = 45.0
            found = results(alone, {**passed, arm: middle + better / 2, rival: middle - better / 2})
            assert found.verdicts[0].verdict == word, claim.id


def test_a_teacher_outside_of_the_gates_suspends_all_claims() -> None:
    study = confounded_objects("cpu")
    for values in ({"the teacher": 99.0}, {"the teacher": 80.0, "stage 1": 75.0}):
        verdicts = results(study, values).verdicts
        assert {verdict.verdict for verdict in verdicts} == {"suspended"}
        assert " images, outside of" in verdicts[0].reason
    assert "suspended" not in {v.verdict for v in results(study, {"the teacher": 80.0}).verdicts}


@pytest.mark.parametrize("make", STUDIES, ids=lambda make: make.__name__)
def test_a_gate_is_not_passed_by_absence(make: Any) -> None:
    study = make("cpu")
    found = results(study, {"the teacher": 80.0, "the teacher, confounding 0": 80.0})
    assert "suspended" not in {verdict.verdict for verdict in found.verdicts}
    for name in GATES[study.name]:
        left = [r for r in found.records if r.arm != next(
            arm.id for arm in study.arms if arm.name == name)]  # fmt: skip
        verdicts = [v for v in replace(found, records=left).verdicts if v.low is not None]
        assert verdicts
        assert {(v.verdict, v.reason) for v in verdicts} == {("suspended", f"{name} was not run")}


def test_the_photographs_teacher_is_asked_about_both_domains() -> None:
    study = confounded_photographs("cpu")
    good = {"the teacher": 80.0, "the teacher, confounding 0": 80.0}
    for name in good:
        verdicts = results(study, {**good, name: 20.0}).verdicts
        assert {verdict.verdict for verdict in verdicts} == {"suspended"}


def test_tables_and_the_figure_show_what_the_records_say(tmp_path: Path) -> None:
    study = confounded_objects("cpu")
    found = results(study, {"L2, confounding 0.98": 61.0, "L2, 600 images": 33.0})
    lines = {name: sorted(each) for name, each in sweep(found).items()}
    assert list(lines) == ["L2", "vision-language", "class cross-entropy", "teacher's logits"]
    assert all(levels == [0.0, 0.9, 0.98, 1.0] for levels in lines.values())
    row = next(row for row in by_confounding(found).rows if row[0] == "L2")
    assert 61 <= row[3].mean < 61.5  # type: ignore[union-attr]
    first = next(row for row in amounts(found).rows if row[0] == "L2")
    assert 33 <= first[1].mean < 33.5  # type: ignore[union-attr]
    name, figure = confounding(found)
    text = save_figure(figure, tmp_path / name).read_text()
    assert text.count("<image") == 1
    assert examples(data_of(study.data).world).shape == (6 * 48, 6 * 48, 3)
    assert not [row for row in unseen(found).rows if "images" in str(row[0])]
    assert "the teacher are the same for every seed" in " ".join(by_loss(found).notes)


def test_the_share_that_is_kept_is_of_the_teachers_accuracy() -> None:
    study = confounded_photographs("cpu")
    found = results(study, {"the teacher": 80.0})
    records = [r for r in found.records if r.arm != "the-teacher" or r.seed == 0]
    rows = {row[0]: row[1] for row in kept(replace(found, records=records)).rows}
    assert 50 <= rows["L2, confounding 1"].mean < 51  # type: ignore[union-attr]
