"""Real models of the field's libraries, tiny and with drawn weights, saved to folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ofds.use.proposers import keep
from ofds.use.proposers.hub import Machine

WORDS = """
- st bernard traffic light melon zu ##cchini japanese fruit container ##number shirt t under ##shirt
potted ##plant a b c d e f
"""


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """From the name of a model to a folder with it, made once."""
    made = dict[str, Path]()

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model, processor = MAKERS[name]()
            model.save_pretrained(made[name])
            processor.save_pretrained(made[name])
        return made[name]

    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def machine() -> Machine:
    """The CPU."""
    return Machine()


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    """A picture of a size, by seed."""

    def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
        g = np.random.default_rng(seed)
        coarse = g.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))

    return picture


@pytest.fixture(scope="session")
def bert() -> Any:
    """A BERT tokenizer that has its marks and full stop where Grounding DINO expects them."""
    return _bert()


def _bert() -> Any:
    from transformers import BertTokenizerFast

    words = [f"[unused{place}]" for place in range(1030)]
    words[0], words[100], words[101], words[102], words[103] = (
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    )  # fmt: skip
    words[1012], words[1029] = ".", "?"
    words += WORDS.split()
    return BertTokenizerFast(vocab={word: place for place, word in enumerate(words)})


def _clip(length: int) -> Any:
    from transformers import CLIPTokenizerFast

    letters = [*map(chr, range(97, 123)), "-", "."]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: place for place, word in enumerate(words)}
    return CLIPTokenizerFast(vocab=vocab, merges=[], model_max_length=length)


def _grounding(mm: bool = False) -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _bert()
    kind = "MMGroundingDino" if mm else "GroundingDino"
    config = getattr(t, f"{kind}Config")(
        backbone_config=t.SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
            window_size=4, out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=t.BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=64,
        ),
        d_model=32, num_queries=12, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, max_text_len=24,
    )  # fmt: skip
    images = t.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    model = getattr(t, f"{kind}ForObjectDetection")(config)
    return model, t.GroundingDinoProcessor(images, tokenizer)


def _owl() -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _clip(24)
    own = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
           "num_attention_heads": 2}  # fmt: skip
    config = t.Owlv2Config(
        text_config={**own, "vocab_size": len(tokenizer), "max_position_embeddings": 24,
                     "bos_token_id": len(tokenizer) - 2, "eos_token_id": len(tokenizer) - 1},
        vision_config={**own, "image_size": 64, "patch_size": 16}, projection_dim=16,
    )  # fmt: skip
    images = t.Owlv2ImageProcessor(size={"height": 64, "width": 64})
    return t.Owlv2ForObjectDetection(config), t.Owlv2Processor(images, tokenizer)


def _sam2() -> tuple[Any, Any]:
    import transformers as t

    side = 128
    vision = t.Sam2VisionConfig(
        backbone_config=t.Sam2HieraDetConfig(
            hidden_size=16, image_size=[side, side], num_attention_heads=1,
            blocks_per_stage=[1, 2, 1, 1], embed_dim_per_stage=[16, 32, 64, 128],
            num_attention_heads_per_stage=[1, 1, 1, 1], window_size_per_stage=[8, 4, 4, 4],
            global_attention_blocks=[2],
        ),
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], fpn_hidden_size=32,
    )  # fmt: skip
    config = t.Sam2Config(
        vision_config=vision,
        prompt_encoder_config=t.Sam2PromptEncoderConfig(
            hidden_size=32, image_size=side, patch_size=16, mask_input_channels=4
        ),
        mask_decoder_config=t.Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, num_hidden_layers=1, num_attention_heads=2,
            iou_head_hidden_dim=16,
        ),
    )  # fmt: skip
    images = t.Sam2ImageProcessor(size={"height": side, "width": side})
    return t.Sam2Model(config), t.Sam2Processor(images)


def _sam3() -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _clip(32)
    layer = {"hidden_size": 32, "num_attention_heads": 2}
    small = {**layer, "num_layers": 1, "intermediate_size": 16}
    config = t.Sam3Config(
        vision_config={
            "backbone_config": {
                **layer, "model_type": "sam3_vit_model", "intermediate_size": 32, "image_size": 56,
                "num_hidden_layers": 2, "patch_size": 14, "window_size": 2,
                "global_attn_indexes": [1], "pretrain_image_size": 28,
            },
            "fpn_hidden_size": 32, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "model_type": "clip_text_model", "vocab_size": len(tokenizer), "hidden_size": 16,
            "intermediate_size": 16, "projection_dim": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32,
            "bos_token_id": len(tokenizer) - 2, "eos_token_id": len(tokenizer) - 1,
        },
        geometry_encoder_config=small, detr_encoder_config=small,
        detr_decoder_config={**small, "num_layers": 2, "num_queries": 10},
        mask_decoder_config=layer,
    )  # fmt: skip
    images = t.Sam3ImageProcessor(size={"height": 56, "width": 56})
    return t.Sam3Model(config), t.Sam3Processor(images, tokenizer)


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "grounding": _grounding,
    "mm_grounding": lambda: _grounding(mm=True),
    "owl": _owl,
    "sam2": _sam2,
    "sam3": _sam3,
}


@pytest.fixture
def all_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained, each pass of a detector finds the same boxes: leave them all."""
    monkeypatch.setattr(keep, "SAME", 2.0)
