"""Misfits of a user's models are one line before anything is trained."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import save_weights
from seg_kd import cli
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, PLAIN
from seg_kd.study.trial import try_once
from seg_kd.train import Job, Optimiser, train
from seg_kd.use import adapter
from seg_kd.use.data import Samples, View, as_results
from seg_kd.use.evaluation import evaluate


def pictures(size: tuple[int, int] = (72, 80), classes: int = 5) -> Samples:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(2):
        label = np.kron(
            rng.integers(0, classes, (size[0] // 8, size[1] // 8), dtype=np.uint8),
            np.ones((8, 8), np.uint8),
        )
        pairs.append((np.stack([40 * label] * 3, axis=-1), label))
    return Samples(pairs, "made here", [label.shape for _, label in pairs])


def job(student: dict[str, Any], teacher: dict[str, Any] | None = None, **changes: Any) -> Job:
    made = Job(
        student_config=student,
        view=View((64, 64), (0.5, 1.5)),
        source=pictures(),
        optimiser=Optimiser(batch_size=2),
        iterations=2,
        seed=0,
        objective=FEATURE_LOGIT if teacher else PLAIN,
        teacher=adapter.build_model(teacher).eval() if teacher else None,
        directory=Path(),
    )
    return replace(made, **changes)


def refusal(what: Job, test: Samples | None = None) -> str:
    with pytest.raises(UserError) as raised:
        try_once(what, test or pictures(), "cpu")
    assert len(str(raised.value)) < 500
    return str(raised.value)


@pytest.mark.filterwarnings("ignore:When align_corners=True")
def test_every_kind_of_head_learns_and_teaches(
    config: dict[str, Any], plain: dict[str, Any], tmp_path: Path
) -> None:
    teaching = job(plain, config)
    state = torch.get_rng_state()
    try_once(teaching, pictures(), "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    student = job(config, plain, directory=tmp_path)
    try_once(student, pictures(), "cpu")
    done = train(student)
    assert {"distill.loss_logit", "distill.loss_feature"} <= done.curve[0].keys()


def test_one_score_for_two_classes_learns_teaches_and_is_scored(
    binary: dict[str, Any], tmp_path: Path
) -> None:
    two = pictures(classes=2)
    distilled = job(binary, binary, source=two, directory=tmp_path)
    try_once(distilled, two, "cpu")
    done = train(distilled)
    assert "distill.loss_logit" in done.curve[0]
    labels, answers = np.stack([label for _, label in two]), list[np.ndarray]()
    for image, label in two:
        batch = adapter.collate([adapter.test_transform()(as_results(image, label))])
        answers.append(done.student.test_step(batch)[0].pred_sem_seg.data[0].numpy())
    found = evaluate(done.student, two, 2).confusion
    predicted = np.stack(answers)
    assert found.tolist() == [
        [int(((labels == row) & (predicted == column)).sum()) for column in (0, 1)]
        for row in (0, 1)
    ]


def test_head_without_a_classifier(segmenter: dict[str, Any], plain: dict[str, Any]) -> None:
    for pair in ((segmenter, plain), (plain, segmenter)):
        try_once(job(*pair, objective=LOGIT), pictures(), "cpu")
        assert "use --objective logit" in refusal(job(*pair, objective=FEATURE))


def test_configs_that_fail_late_by_themselves(plain: dict[str, Any]) -> None:
    def changed(**settings: Any) -> dict[str, Any]:
        return {**copy.deepcopy(plain), **settings}

    weighted = copy.deepcopy(plain)
    weighted["decode_head"]["loss_decode"]["class_weight"] = [1.0] * 4
    line = refusal(job(weighted))
    assert "a training step of the student on crops of 64 x 64 fails" in line
    assert "class" in line
    line = refusal(job(changed(test_cfg={"mode": "slide", "crop_size": (32, 32)})))
    assert "a prediction of the student for an image of 72 x 80 fails" in line
    assert "stride" in line
    gaps = {"mode": "slide", "crop_size": (16, 16), "stride": (32, 32)}
    assert "a prediction of the student" in refusal(job(changed(test_cfg=gaps)))
    depth = {"type": "UNet", "base_channels": 4, "norm_cfg": {"type": "BN"}}
    head = {**plain["decode_head"], "in_channels": 4, "in_index": 4, "channels": 8}
    unet = changed(backbone=depth, decode_head=head, auxiliary_head=None)
    assert "whole downsample rate 16" in refusal(job(unet, view=View((40, 40))))
    assert "an image of 72 x 80" in refusal(job(unet))
    try_once(job(unet), pictures((64, 80)), "cpu")


def test_teacher_of_nan_is_named(plain: dict[str, Any]) -> None:
    with_teacher = job(plain, plain)
    assert with_teacher.teacher is not None
    with_teacher.teacher.decode_head.conv_seg.bias.data[0] = float("nan")
    assert "the teacher's answer is NaN" in refusal(with_teacher)


def test_teacher_that_predicts_otherwise_is_refused(plain: dict[str, Any]) -> None:
    with_teacher = job(plain, plain)
    teacher: Any = with_teacher.teacher
    scored = teacher.decode_head.predict_by_feat
    teacher.decode_head.predict_by_feat = lambda logits, metas: scored(-logits, metas)
    assert "same class for 0% of the pixels only" in refusal(with_teacher)
    teacher.decode_head.predict_by_feat = scored
    other = copy.deepcopy(plain)
    other["data_preprocessor"] |= {"mean": [0, 0, 0], "std": [1, 1, 1]}
    try_once(job(plain, other), pictures(), "cpu")  # with its own pixels it agrees
    # Fed with the student's it would not: that is what this check is for.
    fooled = job(plain, other)
    network: Any = fooled.teacher
    probe = network.data_preprocessor
    network.data_preprocessor = adapter.build_model(plain).data_preprocessor
    network.test_step = lambda data: network(**probe(data, False), mode="predict")
    network.decode_head.conv_seg.bias.data[0] = 0.02
    assert "of the pixels only" in refusal(fooled)


def test_commands_end_before_they_train(
    folder: Path, tmp_path: Path, plain: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for head in (plain["decode_head"], plain["auxiliary_head"]):
        head["num_classes"] = 11
    (tmp_path / "teacher.py").write_text(f"model = {plain!r}\n")
    teacher = adapter.build_model(plain)
    save_weights(teacher, tmp_path / "teacher.safetensors")
    teacher.decode_head.conv_seg.bias.data[0] = float("nan")
    save_weights(teacher, tmp_path / "nan.safetensors")
    plain["test_cfg"] = {"mode": "slide", "crop_size": (16, 16)}
    (tmp_path / "student.py").write_text(f"model = {plain!r}\n")
    out = tmp_path / "out"
    command = [
        "seg-kd", "distill", "--data", str(folder), "--num-classes", "11", "--ignore", "11",
        "--crop", "32", "32", "--iterations", "1", "--out", str(out),
        "--teacher", str(tmp_path / "teacher.py"), "--student", str(tmp_path / "student.py"),
    ]  # fmt: skip
    for weights, problem in (
        ("nan", "decode_head.conv_seg.bias holds NaN or infinity"),
        ("teacher", "a prediction of the student for an image of 40 x 48 fails"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            weight = str(tmp_path / f"{weights}.safetensors")
            patch.setattr(sys, "argv", [*command, "--teacher-weights", weight])
            with pytest.raises(SystemExit) as stop:
                cli.main()
        said = capsys.readouterr().err
        assert stop.value.code == 2
        assert problem in said.splitlines()[-1]
        assert "Traceback" not in said
        assert not list(out.glob("model.*"))
