"""The committed teachers: recipe, record and weights belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import read_weights, save_weights
from repro_shared.study.paper import Context, Start, Study
from repro_shared.study.session import Session
from seg_kd import METHOD_VERSION
from seg_kd.cli import PAPER
from seg_kd.study import configs, stages
from seg_kd.study.arms import teacher
from seg_kd.study.recipes import equal_time_digits, trained_here
from seg_kd.study.regime import rivals_digits
from seg_kd.study.stages import COMMITTED

STUDIES = [
    study
    for _, study in PAPER.every_study()
    if study.prepare is not None and teacher(study).config.weights
    and not study.name.endswith("_tuning")  # tuning borrows the comparison's teacher
]  # fmt: skip


def test_every_file_belongs_to_a_recipe() -> None:
    names = {Path(teacher(study).config.weights).stem for study in STUDIES}
    files = sorted(COMMITTED.iterdir())
    assert {path.stem for path in files} == names
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) <= 7e6
    assert sum(sizes) <= 21e6


def within(kept: Any, now: Any) -> bool:
    """Whether all that was kept is so now; what was added since is at its default, by the hash."""
    if isinstance(kept, dict):
        return all(within(value, now[name]) for name, value in kept.items())
    return bool(kept == now)


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: str(study.name))
def test_recipe_record_and_weights_belong_together(study: Study) -> None:
    config = teacher(study).config
    path = COMMITTED / config.weights
    beside = json.loads(path.with_suffix(".json").read_text())
    record = RunRecord.model_validate(beside["record"])
    made = replace(teacher(trained_here(study)).config, scored=0.0)  # it changes no weights
    assert record.config == recipe_hash(made)[:12]
    assert within(beside["config"], json.loads(json.dumps(resolved_config(made))))
    assert config.sha256 == sha256_file(path)
    assert record.notes == f"weights sha256 {config.sha256}"
    assert record.status == "complete"
    assert record.origin.method_version == METHOD_VERSION
    assert record.seed == teacher(study).seed
    assert record.metrics["iterations"] == config.iterations
    state = load_file(path)
    assert all(value.dtype.itemsize == 2 for value in state.values() if value.is_floating_point())
    assert sum(p.numel() for p in stages.untrained(config, 0).parameters()) > 3e6


def run_teacher(study: Study, folder: Path) -> stages.Outcome:
    arm = teacher(study)
    data = study.data.open(None)
    folder.mkdir()
    return stages.teacher(arm.config, Context(data, 0, "cpu", folder, "key", "teacher"))


def test_digit_teacher_scores_what_its_record_says(tmp_path: Path) -> None:
    study = equal_time_digits("cpu")
    outcome = run_teacher(study, tmp_path / "teacher")
    beside = (COMMITTED / teacher(study).config.weights).with_suffix(".json")
    recorded = json.loads(beside.read_text())["record"]["metrics"]["miou"]
    assert outcome.metrics["miou"] == pytest.approx(recorded, abs=0.01)
    kept = tmp_path / "teacher" / stages.WEIGHTS
    assert sha256_file(kept) == teacher(study).config.sha256


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = equal_time_digits("cpu")
    name = teacher(study).config.weights
    content = (COMMITTED / name).read_bytes()
    monkeypatch.setattr(stages, "COMMITTED", tmp_path)
    (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="missing or damaged: restore it, or use --retrain"):
        run_teacher(study, tmp_path / "one")
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        run_teacher(study, tmp_path / "two")


@pytest.mark.parametrize("has", [True, False])
def test_a_given_teacher_teaches_with_the_auxiliary_head_of_its_file(
    tiny: Study, tmp_path: Path, has: bool
) -> None:
    arm = teacher(tiny)
    state = stages.untrained(arm.config, 7).state_dict()
    state = {k: v for k, v in state.items() if has or not k.startswith("auxiliary_head.")}
    path = str(tmp_path / "given.safetensors")
    given = configs.File(save_weights(state, path), path)
    arm = replace(arm, config=replace(arm.config, weights="", given=given))
    data = tiny.data.open(None)
    stages.teacher(arm.config, Context(data, 0, "cpu", tmp_path, key="", label=""))
    found = stages.load_teacher(Start(arm, tmp_path), 0).state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    damaged = tmp_path / "teacher.safetensors"
    damaged.write_bytes((COMMITTED / "equal_time_digits.safetensors").read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"teacher\.safetensors is damaged"):
        read_weights(damaged)


def test_every_student_learns_from_the_retrained_teacher() -> None:
    study = rivals_digits("cpu")
    here = trained_here(study)
    old, new = study.arms[0], here.arms[0]
    assert [arm.id for arm in here.arms] == [arm.id for arm in study.arms]
    for arm, before in zip(here.arms, study.arms, strict=True):
        assert len(arm.starts_from) == len(before.starts_from)
        assert old not in arm.starts_from
        assert (new in arm.starts_from) == (old in before.starts_from)


def test_a_retrained_teacher_is_another_one(tmp_path: Path) -> None:
    study = equal_time_digits("cpu")
    here = trained_here(study)
    assert teacher(here).config.weights == ""
    assert teacher(here).steps == 9000
    assert teacher(study).steps == 0
    one, other = (Session(PAPER, each, tmp_path) for each in (study, here))
    logit = study.arm("logit-equal-time-60"), here.arm("logit-equal-time-60")
    plain = study.arm("plain-equal-time-60"), here.arm("plain-equal-time-60")
    tiny = replace(study.data, train_length=4, test_length=2)
    for session in (one, other):
        session.opened[study.data] = tiny.open(None)
    assert one.key(plain[0], 0) == other.key(plain[1], 0)
    assert one.key(logit[0], 0) != other.key(logit[1], 0)
