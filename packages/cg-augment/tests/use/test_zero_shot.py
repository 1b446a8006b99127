"""Teachers that know classes by name: the libraries' own numbers, and nothing lost in a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from cg_augment.use.teachers import load_teacher
from cg_augment.use.zero_shot import of_open_clip, of_transformers
from repro_shared.runtime.errors import UserError

CLASSES = ("St. Bernard", "landbird")
OPEN_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
          "num_attention_heads": 2, "image_size": 32, "patch_size": 8}  # fmt: skip
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 99, "max_position_embeddings": 24}  # fmt: skip


def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def clip() -> Any:
    torch.manual_seed(0)
    return open_clip.CLIP(**OPEN_CLIP).eval()


def test_open_clip_gives_what_open_clip_gives() -> None:
    model, tokenizer = clip(), open_clip.tokenizer.SimpleTokenizer()
    form = {"size": 32, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "interpolation": "bicubic"}
    templates = ("a photo of a {}", "{} outside")
    teacher = of_open_clip("tiny", model, tokenizer, CLASSES, templates, form)
    mean, std = (torch.tensor(form[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        texts = torch.stack([
            F.normalize(model.encode_text(tokenizer(each)), dim=1).mean(0)
            for each in [[t.format(c) for t in templates] for c in CLASSES]
        ])  # fmt: skip
        seen = F.normalize(model.encode_image((images() - mean) / std), dim=1)
        want = model.logit_scale.exp() * seen @ F.normalize(texts, dim=1).T
    assert torch.allclose(teacher(images()), want, atol=1e-5)
    assert teacher.classes == CLASSES


def test_gradients_pass_the_teacher_and_its_weights_are_frozen() -> None:
    teacher = of_open_clip("tiny", clip(), open_clip.tokenizer.SimpleTokenizer(), CLASSES)
    given = images().requires_grad_(True)
    teacher(given)[:, 0].sum().backward()
    assert given.grad is not None
    assert float(given.grad.abs().max()) > 0
    assert not [name for name, w in teacher.named_parameters() if w.requires_grad]


def test_a_class_that_the_tokenizer_would_cut_is_refused() -> None:
    long = "a very " * 40 + "{}"
    with pytest.raises(UserError, match=r"is too long: .*landbird.* would be cut away"):
        of_open_clip(
            "tiny", clip(), open_clip.tokenizer.SimpleTokenizer(), ("landbird", "x"), (long,)
        )
    with pytest.raises(UserError, match=r"has no \{\} where the class's name goes"):
        of_open_clip("tiny", clip(), open_clip.tokenizer.SimpleTokenizer(), CLASSES, ("a bird",))


class Letters:
    """A tokenizer: a letter a token."""

    def __call__(self, texts: Any, **given: Any) -> Any:
        if isinstance(texts, str):
            return {"input_ids": [1, *(ord(c) % 90 + 2 for c in texts), 98]}
        room = given["max_length"] - 2
        rows = [[1, *(ord(c) % 90 + 2 for c in text[:room]), 98] for text in texts]
        ids = torch.tensor([row + [0] * (given["max_length"] - len(row)) for row in rows])
        return transformers.BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long()})

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(chr((t - 2) % 90 + 90) for t in tokens if t < 98)


def processor() -> Any:
    return transformers.SiglipImageProcessor(
        size={"height": 32, "width": 32}, image_mean=(0.4, 0.5, 0.6), image_std=(0.2, 0.3, 0.4)
    )


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_transformers_gives_what_the_model_gives(kind: str) -> None:
    torch.manual_seed(0)
    c = transformers
    model: Any = (
        c.CLIPModel(c.CLIPConfig(
            text_config={**TEXT, "eos_token_id": 98}, vision_config=VISION, projection_dim=16))
        if kind == "clip" else
        c.SiglipModel(c.SiglipConfig(
            text_config={**TEXT, "projection_size": 32}, vision_config=VISION))
    ).eval()  # fmt: skip
    teacher = of_transformers("tiny", model, Letters(), processor(), CLASSES, ("a {}",))
    tokens = Letters()([f"a {name}" for name in CLASSES], max_length=24)
    if kind == "siglip":
        tokens.pop("attention_mask")
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    with torch.no_grad():
        want = model(pixel_values=(images() - mean) / std, **tokens).logits_per_image
    assert torch.allclose(teacher(images()), want, atol=1e-4)
    with pytest.raises(UserError, match="would be cut away"):
        of_transformers("tiny", model, Letters(), processor(), CLASSES, ("a photo of a big {}",))


def test_a_folder_of_an_image_classifier_with_its_own_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = {0: "bee", 1: "ape", 2: "cat"}
    config = transformers.ViTConfig(
        **VISION, id2label=names, label2id={v: k for k, v in names.items()}
    )
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=(0.5,) * 3, image_std=(0.5,) * 3
    ).save_pretrained(tmp_path)
    teacher = load_teacher(f"transformers:{tmp_path}", ("ape", "bee"))
    with torch.no_grad():
        want = model(pixel_values=(images() - 0.5) / 0.5).logits[:, [1, 0]]
    assert torch.allclose(teacher(images()), want, atol=1e-5)
    with pytest.raises(UserError, match="does not know dog of the pictures; it knows 3: bee, ape"):
        load_teacher(f"transformers:{tmp_path}", ("ape", "dog"))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"transformers:{tmp_path}"):
        load_teacher(f"transformers:{tmp_path}", ("ape", "bee"))


def test_teachers_that_are_not_here(tmp_path: Path) -> None:
    for given, said in (
        ("open_clip:no-such-model:x", "open_clip has no model 'no-such-model'"),
        (
            "open_clip:ViT-B-32:laion2b_s34b_b79k",
            "needs a file of weights: laion2b",
        ),
        (f"open_clip:{tmp_path}", "cannot be made without downloads"),
        ("transformers:nowhere/at-all", "transformers:nowhere/at-all: "),
        ("timm:resnet18:/no/such.safetensors", "no weights at /no/such.safetensors"),
        ("resnet18", "unknown teacher 'resnet18': give a folder that"),
        (str(tmp_path), "no model.json here"),
    ):
        with pytest.raises(UserError, match=said):
            load_teacher(given, CLASSES)
