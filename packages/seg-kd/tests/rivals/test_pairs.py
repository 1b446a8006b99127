"""Every objective on whole mmseg pairs: other widths, strides and heads, and what does not fit."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from repro_shared.runtime.errors import UserError
from seg_kd.method import distilled
from seg_kd.method.objectives import Objective
from seg_kd.rivals.attention import Attention
from seg_kd.rivals.boundary import Boundary
from seg_kd.rivals.cwd import ChannelWise, ChannelWiseFeatures
from seg_kd.rivals.dist import Correlation
from seg_kd.rivals.ifvd import ClassVariation
from seg_kd.rivals.presets import RIVALS
from seg_kd.rivals.skd import PairWise
from seg_kd.study.trial import try_once
from seg_kd.train import Distiller, Job, Optimiser, make_model
from seg_kd.use import adapter
from seg_kd.use.data import Samples, View
from seg_kd.use.models import Model, model_config
from seg_kd.use.outputs import watched

CROP = (64, 64)
WIDE = model_config(
    Model(base_channels=16, head_channels=24, auxiliary_channels=8, output_stride=4), 5, CROP
)
"""Twice as wide as the fixture `plain`, and twice as fine."""


def pictures() -> Samples:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(2):
        label = np.kron(rng.integers(0, 5, (9, 10), dtype=np.uint8), np.ones((8, 8), np.uint8))
        pairs.append((np.stack([40 * label] * 3, axis=-1), label))
    return Samples(pairs, "made here", [label.shape for _, label in pairs])


def job(student: dict[str, Any], teacher: dict[str, Any], objective: Objective) -> Job:
    return Job(
        student_config=copy.deepcopy(student),
        view=View(CROP, (0.5, 1.5)),
        source=pictures(),
        optimiser=Optimiser(batch_size=2),
        iterations=2,
        seed=0,
        objective=objective,
        teacher=adapter.build_model(copy.deepcopy(teacher)).eval(),
        directory=Path(),
    )


def batch(label: np.ndarray | None = None) -> Any:
    """Two images as the loader gives them, with their label maps or another one."""
    raw = [adapter.fitted(*pair, CROP) for pair in pictures()]
    if label is not None:
        raw = [(image, label.copy()) for image, _ in raw]
    return adapter.training_batch(False)(raw)


def losses_of(model: Distiller, data: Any) -> dict[str, torch.Tensor]:
    made: dict[str, torch.Tensor] = model(**model.data_preprocessor(data, True), mode="loss")
    return {name: loss for name, loss in made.items() if name.startswith("distill.")}


@pytest.mark.parametrize("name", RIVALS)
def test_widths_and_strides_may_differ(plain: dict[str, Any], name: str) -> None:
    objective = RIVALS[name]
    if objective.terms and name.startswith("cirkd"):  # queues of its size are for real classes
        objective = replace(objective, terms=tuple(map(smaller, objective.terms)))
    model = make_model(job(plain, WIDE, objective)).train()
    losses = losses_of(model, batch())
    assert {each.removeprefix("distill.loss_") for each in losses} == {*objective.weights}
    total = torch.stack([*losses.values()]).sum()
    assert torch.isfinite(total)
    total.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.student.parameters())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


class HostReads(TorchDispatchMode):
    """Notes what a CUDA device would have to be waited for: numbers, and places of True."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        reads = ("_local_scalar_dense", "nonzero", "masked_select", "unique")
        masks = name.startswith(("aten.index.", "aten.index_put")) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if masks or any(each in name for each in reads):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", RIVALS)
def test_a_step_takes_no_number_off_the_device(plain: dict[str, Any], name: str) -> None:
    objective = replace(RIVALS[name], terms=tuple(map(smaller, RIVALS[name].terms)))
    model = make_model(job(plain, WIDE, objective)).train()
    data = model.data_preprocessor(batch(), True)
    with watched(model.student) as seen:
        model.student(data["inputs"], data["data_samples"], mode="loss")
    taught = model.teach(data["inputs"])
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data["data_samples"]])
    with HostReads() as reads:
        losses = distilled.losses_of(objective, model, seen, taught, labels)
        torch.stack([*losses.values()]).sum().backward()
    assert reads.found == []
    with HostReads() as reads:  # it does see them
        labels[labels == 1].sum().item()
    assert len(reads.found) == 2


def smaller(term: Any) -> Any:
    return replace(term, pixel_queue=64, region_queue=16) if hasattr(term, "pixel_queue") else term


EVERYTHING = Objective(
    "everything",
    terms=(PairWise(), ClassVariation(), ChannelWise(), ChannelWiseFeatures(), Attention(),
           Correlation(), Boundary()),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:When align_corners=True")
def test_every_kind_of_head_learns_and_teaches(config: dict[str, Any]) -> None:
    try_once(job(config, copy.deepcopy(config), EVERYTHING), pictures(), "cpu")


@pytest.mark.parametrize("value", [255, 3])
@pytest.mark.parametrize("name", RIVALS)
def test_batches_without_labels_or_of_one_class(
    plain: dict[str, Any], name: str, value: int
) -> None:
    objective = RIVALS[name]
    if name.startswith("cirkd"):
        objective = replace(objective, terms=tuple(map(smaller, objective.terms)))
    model = make_model(job(plain, WIDE, objective)).train()
    losses = losses_of(model, batch(np.full(CROP, value, np.uint8)))
    assert all(torch.isfinite(loss) for loss in losses.values())
    labelled = ("class-variation", "memory-pixel", "memory-region", "edge", "body")
    for part, loss in ((name.removeprefix("distill.loss_"), loss) for name, loss in losses.items()):
        if value == 255 and part in labelled:
            assert loss.item() == 0
            model.zero_grad()
            loss.backward(retain_graph=True)
            assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def refusal(student: dict[str, Any], teacher: dict[str, Any], name: str) -> str:
    with pytest.raises(UserError) as raised:
        try_once(job(student, teacher, RIVALS[name]), pictures(), "cpu")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300
    return str(raised.value)


def test_a_layer_that_the_model_lacks_is_named(
    plain: dict[str, Any], segmenter: dict[str, Any]
) -> None:
    for name in ("skd", "ifvd", "cwd-features", "at", "cirkd", "fitnet"):
        for pair in ((segmenter, plain), (plain, segmenter)):
            found = refusal(*pair, name)
            assert (
                "SegmenterMaskTransformerHead has no feature map before a 1x1 classifier" in found
            )
    several = {
        **plain,
        "decode_head": {**plain["decode_head"], "type": "FCNHead", "in_channels": [32, 64],
                        "in_index": (2, 3), "input_transform": "resize_concat"},
    }  # fmt: skip
    for key in ("pool_scales",):
        several["decode_head"].pop(key)
    found = refusal(several, plain, "mgd")
    assert "layer c4: FCNHead reads several stages as one map" in found


def test_an_auxiliary_head_that_is_missing_is_named(plain: dict[str, Any]) -> None:
    without = {**plain, "auxiliary_head": None}
    assert "the teacher has not exactly one" in refusal(plain, without, "dist-as-published")
    assert "the student has not exactly one" in refusal(without, plain, "dist-as-published")
    try_once(job(without, without, RIVALS["dist"]), pictures(), "cpu")


@pytest.mark.parametrize("name", ["skd", "cwd-logits", "ifvd", "bpkd_like", "mgd"])
def test_other_numbers_of_classes_are_named(plain: dict[str, Any], name: str) -> None:
    other = model_config(Model(base_channels=8, head_channels=16, auxiliary_channels=8), 7, CROP)
    assert refusal(plain, other, name) == (
        "the student scores 5 classes and the teacher 7: they must be the same"
    )


def test_channels_that_do_not_divide_are_named(plain: dict[str, Any]) -> None:
    odd = model_config(Model(base_channels=9, head_channels=16, auxiliary_channels=8), 5, CROP)
    assert "the 72 channels of the teacher's layer c4 do not divide" in refusal(
        plain, odd, "af-dcd"
    )


def test_a_map_that_is_too_small_is_named() -> None:
    small = model_config(Model(base_channels=8, head_channels=16), 5, (24, 24))
    model = make_model(job(small, small, RIVALS["af-dcd"])).train()
    raw = [(image[:24, :24], label[:24, :24]) for image, label in pictures()]
    with pytest.raises(UserError, match=re.escape("layer c4 has 3 x 3: give a larger --crop")):
        losses_of(model, adapter.training_batch(False)(raw))
