"""The committed teachers: recipe, record and weights belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from repro_shared.evidence.records import read_record, recipe_hash
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from seg_kd import METHOD_VERSION
from seg_kd.study.recipes import FUNCTIONS, find_recipe
from seg_kd.study.recipes.base import Recipe
from seg_kd.use.data import open_split
from seg_kd.use.evaluation import evaluate
from seg_kd.use.teachers import COMMITTED, TeacherKey, belongs, load_teacher

RECIPES = [
    recipe
    for name, (_, scales) in FUNCTIONS.items()
    if not name.endswith("_tuning")  # tuning borrows the comparison's teacher
    for recipe in (find_recipe(name, scale) for scale in scales)
    if recipe.teacher.weights
]


def test_every_file_belongs_to_a_recipe() -> None:
    names = {Path(recipe.teacher.weights).stem for recipe in RECIPES}
    files = sorted(COMMITTED.iterdir())
    assert {path.stem for path in files} == names
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) <= 7e6
    assert sum(sizes) <= 15e6


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe.name))
def test_recipe_record_and_weights_belong_together(recipe: Recipe) -> None:
    path = COMMITTED / recipe.teacher.weights
    record = read_record(path.with_suffix(".json"))
    assert record.recipe_hash == recipe_hash(TeacherKey(recipe.data, recipe.teacher))
    assert record.notes == f"weights sha256 {sha256_file(path)}"
    assert record.status == "complete"
    assert record.method_version == METHOD_VERSION
    assert record.seed == recipe.teacher.seed
    assert record.metrics["iterations"] == recipe.teacher.iterations
    state = load_file(path)
    assert all(value.dtype.itemsize == 2 for value in state.values() if value.is_floating_point())
    assert sum(p.numel() for p in load_teacher(recipe, path).parameters()) > 3e6


def test_digit_teacher_scores_what_its_record_says() -> None:
    recipe = find_recipe("equal_time_digits", "cpu")
    path = COMMITTED / recipe.teacher.weights
    scores = evaluate(
        load_teacher(recipe, path), open_split(recipe.data, None, "test"), len(recipe.data.classes)
    )
    recorded = read_record(path.with_suffix(".json")).metrics["miou"]
    assert float(scores.miou) == pytest.approx(recorded, abs=0.01)


def test_weights_belong_to_one_recipe_and_one_record(tmp_path: Path) -> None:
    recipe = find_recipe("equal_time_digits", "cpu")
    weights = tmp_path / "teacher.safetensors"
    content = (COMMITTED / recipe.teacher.weights).read_bytes()
    weights.write_bytes(content)
    assert not belongs(recipe, weights)  # no record
    record = (COMMITTED / recipe.teacher.weights).with_suffix(".json")
    weights.with_suffix(".json").write_bytes(record.read_bytes())
    assert belongs(recipe, weights)
    assert not belongs(find_recipe("equal_time_camvid", "cpu"), weights)
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # other weights
    assert not belongs(recipe, weights)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    recipe = find_recipe("equal_time_digits", "cpu")
    damaged = tmp_path / "teacher.safetensors"
    damaged.write_bytes((COMMITTED / recipe.teacher.weights).read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"teacher\.safetensors is damaged"):
        load_teacher(recipe, damaged)
