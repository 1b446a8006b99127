"""Students of the exact mixture: the split is exact, ends behave, rows share their first phase."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cg_augment.cli import PAPER
from cg_augment.method.stepwise import Stepwise
from cg_augment.study.generation import Worlds
from cg_augment.study.mixture import Mixture
from cg_augment.study.point_claims import broken, claims, named, suspended
from cg_augment.study.point_recipes import students_of_the_mixture, ways
from cg_augment.study.point_scores import described, scored
from cg_augment.study.points import (
    Further,
    Lesson,
    begin,
    distil_points,
    go_on,
    make,
    student_of,
    training_points,
)
from cg_augment.study.recipes import SHARES
from repro_shared.study.paper import Arm, Context, Start
from repro_shared.study.results import Results

WORLD, FIRST = Mixture(), Lesson(30)


def context(folder: Path, *starts: Start) -> Context:
    folder.mkdir(parents=True, exist_ok=True)
    return Context(Worlds(WORLD).open(None), 100, "cpu", folder, "key", "label", starts)


def test_the_split_adds_up_and_groups_are_tested_alike(tmp_path: Path) -> None:
    found = begin(FIRST, context(tmp_path)).metrics
    gap = found["test-risk"] - found["train-risk"]
    assert gap == pytest.approx(found["omega"] + found["psi"], abs=1e-9)
    assert found["worst-group"] <= found["mean-group"] <= found["in-distribution"]


def test_a_perfect_student_has_only_the_teachers_fit() -> None:
    """The true conditional itself: no difference of distributions is left but noise's."""

    class Truth(torch.nn.Module):
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            return WORLD.logits(points)

    points = training_points(WORLD, replace(FIRST, kind="oracle"), 0)
    found = scored(Truth(), WORLD, 0, points)
    assert abs(found["omega"]) < 0.01
    assert found["worst-group"] > 97


def test_rows_go_on_from_the_first_student(tmp_path: Path) -> None:
    kd = Arm("KD", FIRST, begin)
    begin(FIRST, context(tmp_path / "kd"))
    start = Start(kd, tmp_path / "kd")
    none = Further(replace(FIRST, steps=1, learning_rate=1e-12))
    same = go_on(none, context(tmp_path / "row", start)).metrics
    first = begin(FIRST, context(tmp_path / "again")).metrics
    assert same["test-risk"] == pytest.approx(first["test-risk"], abs=1e-6)
    fresh = go_on(none, context(tmp_path / "fresh")).metrics
    assert fresh["test-risk"] != pytest.approx(first["test-risk"], abs=1e-3)


def test_generated_points_are_of_the_pool_and_counted() -> None:
    student = student_of(WORLD, FIRST, 0)
    points = training_points(WORLD, FIRST, 0)
    for share, name in ((1.0, "unguided"), (0.5, "unguided"), (0.9, "SDEdit")):
        config = replace(ways()[name], lesson=FIRST, share=share, per_class=60, sampling=10)
        found = described(*make(student, WORLD, points, config, 0), WORLD)
        expected = {1.0: (0, 0), 0.5: (35, 65), 0.9: (0, 12)}[share]
        assert expected[0] <= found["minority"] <= expected[1], name
        assert found["forward"] == (5 if name == "SDEdit" else 10)
        assert found["backward"] == 0


def test_guidance_finds_a_rare_minority_for_a_biased_student() -> None:
    student, points = student_of(WORLD, FIRST, 0), training_points(WORLD, FIRST, 0)
    distil_points(student, WORLD, points, replace(FIRST, steps=300, learning_rate=5e-3), 0)
    own = replace(ways()["unguided"], lesson=FIRST, share=0.98, per_class=100)
    plain = described(*make(student, WORLD, points, own, 0), WORLD)
    guided = replace(own, engine=Stepwise(unguided=False))
    found = described(*make(student, WORLD, points, guided, 0), WORLD)
    assert found["minority"] > plain["minority"] + 3
    assert found["student"] < plain["student"] - 10
    assert (found["forward"], found["backward"]) == (25, 15)


def test_every_claim_is_of_arms_that_there_are() -> None:
    study: Any = students_of_the_mixture("cpu")
    known = {arm.id for arm in study.arms}
    made = claims(study.arms)
    assert {claim.arm for claim in made} | {claim.rival for claim in made} <= known
    assert len(study.arms) == 4 + len(SHARES) * len(ways())
    ends = {claim.arm for claim in made if claim.negative_control}
    assert ends == {arm.id for arm in study.arms if arm.name == named("stepwise", 1.0)}
    bounds = [claim for claim in made if claim.family == "balanced-mixture"]
    assert [claim.margin for claim in bounds] == [2.0, 2.0]
    assert (bounds[0].arm, bounds[0].rival) == (bounds[1].rival, bounds[1].arm)


def runs(study: Any, values: dict[str, list[float]]) -> list[Any]:
    """Records of these worst-group accuracies by arm and seed, as far as verdicts read them."""
    by_name = {arm.name: arm.id for arm in study.arms}
    return [
        SimpleNamespace(
            study="students_of_the_mixture", arm=by_name[name], seed=seed, status="complete",
            metrics={"worst-group": value}, method_version=2, data_fingerprint="x",
        )
        for name, each in values.items() for seed, value in enumerate(each)
    ]  # fmt: skip


def test_a_control_that_fails_suspends_what_is_said_of_guidance() -> None:
    study: Any = students_of_the_mixture("cpu")
    flat = [0.1, -0.1, 0.2, -0.2, 0.0]

    def around(mean: float) -> list[float]:
        return [mean + each for each in flat]

    fine = {
        "KD": around(2), "oracle": around(97),
        named("unguided", 1.0): around(2), named("stepwise", 1.0): [2.0, 2.1, 1.9, 2.2, 2.0],
        named("unguided", 0.5): around(95), named("stepwise", 0.5): [95.3, 95.0, 94.6, 95.1, 95.2],
    }  # fmt: skip
    guidance = next(claim for claim in study.claims if claim.family == "guidance-mixture")
    other = next(claim for claim in study.claims if claim.family == "cost-mixture")

    def why(claim: Any = guidance, **changes: list[float]) -> str:
        found = Results(PAPER, study, runs(study, {**fine, **changes}), Path())
        return suspended(found, claim)

    assert why() == ""
    better = {named("stepwise", 0.5): around(98.1)}  # more than the two points either way
    assert "a control is contradicted" in why(**better)
    assert "better than unguided" in why(**better)
    assert "worse than unguided" in why(**{named("stepwise", 0.5): around(91)})
    assert why(**{named("stepwise", 0.5): [93.0, 99.0, 91.0, 97.0, 95.0]}) == ""  # inconclusive
    assert "a control is supported" in why(**{named("stepwise", 1.0): around(40)})
    assert "not been run on all seeds" in why(**{named("stepwise", 1.0): [2.0]})
    assert why(other, **better) == ""
    assert "it is not biased" in why(KD=around(60))
    assert why(oracle=around(20)) == "the oracle gains 18.0 points, less than 30"
    assert broken(Results(PAPER, study, [], Path())).startswith("a control has not been run")
