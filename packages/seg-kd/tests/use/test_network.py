"""Networks of one's own, torchvision's and transformers': maps, losses, predictions, names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro_shared.runtime.errors import UserError
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, Objective
from seg_kd.rivals.presets import RIVALS
from seg_kd.train import Distiller
from seg_kd.use import adapter
from seg_kd.use.maps import as_map
from seg_kd.use.models import Model, model_config
from seg_kd.use.network import Network
from seg_kd.use.outputs import Models, watched

CROP = (64, 96)
CLASSES = 5


class Small(nn.Module):
    """A network of stride 4 with an encoder, dropout and a 1x1 classifier; resizes its answer."""

    def __init__(self, width: int = 8, classes: int = CLASSES, stride: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride // 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(),
                                  nn.Dropout(0.5), nn.Conv2d(width, classes, 1))  # fmt: skip

    def forward(self, image: Tensor) -> Any:
        return F.interpolate(self.head(self.encoder(image)), image.shape[-2:], mode="bilinear")


class Wide(Small):
    def __init__(self) -> None:
        super().__init__(12, stride=8)


def small() -> nn.Module:
    return Small()


def wide() -> nn.Module:
    return Wide()


def made(network: Network) -> Any:
    torch.manual_seed(0)
    return adapter.build_model(network.config(CLASSES, CROP))


def batch(images: int = 2) -> Any:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, *CROP, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (images, *CROP), dtype=torch.uint8, generator=generator)
    labels[:, :4] = 255
    pairs = zip(pixels.numpy(), labels.numpy(), strict=True)
    return adapter.training_batch(edges=False)([*pairs])


def step(student: Any, teacher: Any, objective: Objective = FEATURE_LOGIT) -> dict[str, Tensor]:
    """The losses of a step; every gradient of the student is finite, and some are not zero."""
    model = Distiller(student, teacher, objective).train()
    losses = model(**model.data_preprocessor(batch(), True), mode="loss")
    total, parts = model.parse_losses(losses)
    total.backward()
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.any() for g in gradients)
    assert all(p.grad is None for p in teacher.parameters())
    return dict(parts)


def test_the_classifier_is_found_with_what_it_reads_before_dropout() -> None:
    model = made(Network(small, c4="encoder")).train()
    assert model.places == {"c4": "encoder", "scores": "head.3", "pre_classifier": "head.2:in"}
    assert (model.channels, model.feature_channels("c4")) == ({"pre-classifier": 8, "c4": 16}, 16)
    image = torch.randn(2, 3, *CROP)
    with watched(model) as seen:
        answer = model(image, mode="tensor")
    assert answer.shape == (2, CLASSES, *CROP)
    assert seen.logits().shape == (2, CLASSES, 16, 24)
    network: Any = model.network
    inner = network.head[:2](seen.layer("c4"))
    torch.testing.assert_close(seen.layer("pre-classifier"), inner)
    dropped = network.head[3](seen.layer("pre-classifier"))
    assert not torch.allclose(dropped, seen.logits())  # which are made behind the dropout
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_losses_and_predictions_are_those_of_the_network() -> None:
    model = made(Network(small, divisor=32))
    data = model.data_preprocessor(batch(), True)
    labels = torch.stack([each.gt_sem_seg.data[0] for each in data["data_samples"]])
    model.eval()
    found = model(**data, mode="loss")
    scores = model.network(data["inputs"]).permute(0, 2, 3, 1)[labels != 255]
    expected = F.cross_entropy(scores, labels[labels != 255])
    torch.testing.assert_close(found["decode.loss_ce"], expected)
    pixels = torch.randint(256, (50, 70, 3), dtype=torch.uint8).numpy()  # no multiple of 32
    pack = adapter.training_batch(edges=False)([(pixels, pixels[..., 0] % 5)])
    (answer,) = model.test_step(pack)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (Network(small).mean, Network(small).std)
    )
    image = (torch.tensor(pixels).permute(2, 0, 1)[None].float() - mean) / std
    padded = F.pad(image, (0, 96 - 70, 0, 64 - 50))
    wanted = model.network(padded)[0, :, :50, :70].argmax(0)
    assert torch.equal(answer.pred_sem_seg.data[0], wanted)


def test_a_batch_of_nothing_costs_nothing() -> None:
    model = made(Network(small)).train()
    data = model.data_preprocessor(batch(), True)
    for sample in data["data_samples"]:
        sample.gt_sem_seg.data.fill_(255)
    (loss,) = model(**data, mode="loss").values()
    assert loss.item() == 0
    loss.backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_the_state_dict_is_the_networks_own() -> None:
    model, bare = made(Network(small)), Small()
    assert model.state_dict().keys() == bare.state_dict().keys()
    bare.load_state_dict(model.state_dict())
    other = Distiller(made(Network(small)), None, Objective("plain"))
    assert {k.partition(".")[0] for k in other.state_dict()} == {"student"}
    other.load_state_dict({f"student.{k}": v + 1 for k, v in bare.state_dict().items()})
    weights: Any = bare.head[3].weight
    assert torch.equal(other.student.network.head[3].weight, weights + 1)


@pytest.mark.parametrize("name", ["skd", "ifvd", "cwd-features", "cirkd-mini-batch", "at"])
def test_networks_of_other_strides_and_widths_teach(name: str) -> None:
    student, teacher = made(Network(small)), made(Network(wide)).eval()
    parts = step(student, teacher, RIVALS[name])
    assert any(key.startswith("distill.") for key in parts)


def test_what_a_network_lacks_is_said() -> None:
    student, teacher = made(Network(small)), made(Network(wide))
    deep = Objective("deep", feature_weight=1.0, layer="c4")
    with pytest.raises(UserError, match=r"test_network:small has no layer c4: name its module, Ne"):
        Distiller(student, teacher, deep)
    with pytest.raises(UserError, match="has not exactly one"):
        Distiller(student, teacher, RIVALS["dist-as-published"])
    with pytest.raises(
        UserError, match="has no module 'encode' for c4; among its modules are head"
    ):
        made(Network(small, c4="encode"))
    with pytest.raises(UserError, match="scores 4 classes, the data have 5"):
        made(Network(fewer))
    with pytest.raises(UserError, match=r"returns no torch\.nn\.Module"):
        made(Network(nothing))
    with pytest.raises(
        UserError, match="test_network:broken cannot be made: ValueError: no such f"
    ):
        made(Network(broken))
    with pytest.raises(UserError, match=r"fails on an image of 64 x 96: RuntimeError"):
        made(Network(odd))
    with pytest.raises(UserError, match=r"gives no map of class scores \(B, K, h, w\)"):
        made(Network(of_masks))
    with pytest.raises(UserError, match="build must be a function or class in a file"):
        Network(eval("lambda: None"))


def nothing() -> Any:
    return {}


def broken() -> nn.Module:
    raise ValueError("no such\nfile")


def fewer() -> nn.Module:
    return Small(classes=4)


def odd() -> nn.Module:
    return nn.Conv2d(4, 5, 1)


class Masks(nn.Module):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"masks_queries_logits": image.new_zeros(1, 10, 8, 8)}


def of_masks() -> nn.Module:
    return Masks()


def lraspp() -> nn.Module:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=CLASSES)


def fcn() -> nn.Module:
    from torchvision.models.segmentation import fcn_resnet50

    return fcn_resnet50(weights_backbone=None, num_classes=CLASSES, aux_loss=True)


def test_torchvisions_networks() -> None:
    teacher = made(Network(fcn, c4="backbone.layer4")).eval()
    assert teacher.places["scores"] == "classifier.4"
    assert teacher.places["pre_classifier"] == "classifier.3:in"
    assert teacher.channels == {"pre-classifier": 512, "c4": 2048}
    student = made(Network(lraspp))  # the sum of two classifiers
    assert "pre_classifier" not in student.places
    parts = step(student, teacher, Objective("logit", logit_weight=1.0))
    assert {*parts} == {"decode.loss_ce", "distill.loss_logit", "loss"}
    student = made(Network(lraspp, pre_classifier="classifier.cbr"))
    step(student, teacher, FEATURE)
    found = made(Network(fcn)).train()
    losses = found(**found.data_preprocessor(batch(), True), mode="loss")
    assert {*losses} == {"decode.loss_ce", "aux.loss_ce"}


def segformer() -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    settings: dict[str, Any] = {
        "num_labels": CLASSES,
        "hidden_sizes": [8, 16, 16, 32],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 2, 4],
        "decoder_hidden_size": 24,
    }
    return SegformerForSemanticSegmentation(SegformerConfig(**settings))


def upernet() -> nn.Module:
    from transformers import ResNetConfig, UperNetConfig, UperNetForSemanticSegmentation

    settings: dict[str, Any] = {
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    head: dict[str, Any] = {"num_labels": CLASSES, "hidden_size": 16, "use_auxiliary_head": False}
    backbone = ResNetConfig(**settings)
    return UperNetForSemanticSegmentation(UperNetConfig(backbone_config=backbone, **head))


def mask2former() -> nn.Module:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    swin: dict[str, Any] = {
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 4,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    settings: dict[str, Any] = {
        "backbone_config": SwinConfig(**swin),
        "num_labels": CLASSES,
        "hidden_dim": 32,
        "feature_size": 32,
        "mask_feature_size": 32,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "num_queries": 4,
        "encoder_feedforward_dim": 16,
        "dim_feedforward": 16,
        "num_attention_heads": 2,
    }
    return Mask2FormerForUniversalSegmentation(Mask2FormerConfig(**settings))


@pytest.mark.parametrize(
    ("build", "channels", "c4"),
    [(segformer, 24, "segformer"), (upernet, 16, "backbone")],
)
def test_transformers_teach_convolutional_students(build: Any, channels: int, c4: str) -> None:
    pytest.importorskip("transformers")
    teacher = made(Network(build, c4=c4)).eval()
    assert teacher.channels["pre-classifier"] == channels
    student = adapter.build_model(
        model_config(Model(base_channels=8, head_channels=16, auxiliary_channels=8), CLASSES, CROP)
    )
    for name in ("feature", "deep", "skd"):
        deep = Objective("deep", feature_weight=1.0, layer="c4")
        chosen = {"feature": FEATURE_LOGIT, "deep": deep, "skd": RIVALS["skd"]}[name]
        student.zero_grad(set_to_none=True)
        step(student, teacher, chosen)
    models = Models(student, teacher)
    assert models.channels("c4")[0] == 64


def test_masks_are_refused() -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"mask2former gives no map of class scores"):
        made(Network(mask2former))


def test_tokens_are_put_into_the_images_grid() -> None:
    maps = torch.arange(2 * 3 * 24.0).view(2, 3, 4, 6)
    tokens = maps.flatten(2).mT
    for before in (0, 1, 5):
        sequence = torch.cat([torch.full((2, before, 3), -1.0), tokens], dim=1)
        assert torch.equal(as_map(sequence, (64, 96), "x"), maps)
    assert torch.equal(as_map((None, [tokens]), (64, 96), "x"), maps)
    with pytest.raises(UserError, match=r"neck gives no map of features .*: \(2, 7\)"):
        as_map(torch.zeros(2, 7), (64, 96), "neck")
