"""Small pipelines and language models with random or hand-set weights, and their folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

PHRASES = (
    "in a garden", "At the **beach**", "on a sofa: cats love it", "by a window", "in the snow",
    "under a tree", "on a boat", "in the kitchen",
)  # fmt: skip


@pytest.fixture(scope="session")
def clip_tokenizer() -> Any:
    """CLIP's own vocabulary, as the text encoders of Stable Diffusion have it."""
    from transformers import CLIPTokenizer

    plain = open_clip.tokenizer.SimpleTokenizer()
    vocabulary = {token.replace("<start_of_text>", "<|startoftext|>")
                  .replace("<end_of_text>", "<|endoftext|>"): number
                  for token, number in plain.encoder.items()}  # fmt: skip
    merges = [tuple(pair) for pair in plain.bpe_ranks]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _text(width: int, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, projection_dim=width, bos_token_id=49406, eos_token_id=49407,
        pad_token_id=1,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


@pytest.fixture(scope="session")
def pipe_of(clip_tokenizer: Any) -> Callable[..., Any]:
    """Makes a pipeline that is like Stable Diffusion 1.5 or XL, with random weights."""
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        PNDMScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

    def make(large: bool = False, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        more: dict[str, Any] = {}
        if large:
            more = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8,
                    "projection_class_embeddings_input_dim": 32 + 6 * 8,
                    "transformer_layers_per_block": (1, 2),
                    "use_linear_projection": True}  # fmt: skip
        unet = UNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=4, layers_per_block=1,
            block_out_channels=(32, 64), norm_num_groups=8, attention_head_dim=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=64 if large else 32, **more,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 16), in_channels=3, out_channels=3, latent_channels=4,
            norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
        betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        if large:
            return StableDiffusionXLPipeline(
                vae, _text(32, False), _text(32, True), clip_tokenizer, clip_tokenizer, unet,
                EulerDiscreteScheduler(**betas), add_watermarker=False,
            )  # fmt: skip
        scheduler = PNDMScheduler(skip_prk_steps=True, steps_offset=1, **betas)
        return StableDiffusionPipeline(
            vae, _text(32, False), clip_tokenizer, unet, scheduler, None, None,
            requires_safety_checker=False,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def pipeline_folder(pipe_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline as diffusers saves it."""
    folder = tmp_path_factory.mktemp("pipeline") / "tiny-sd"
    pipe_of().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher_folder(
    tmp_path_factory: pytest.TempPathFactory, clip_config: dict[str, Any],
    model_of: Callable[..., Any],
) -> str:  # fmt: skip
    """A random teacher, by its name on the command line."""
    folder = tmp_path_factory.mktemp("teacher")
    form = {"model_cfg": clip_config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(form))
    save_file(dict(model_of().state_dict()), folder / "open_clip_model.safetensors")
    return f"open_clip:{folder}"


@pytest.fixture(scope="session")
def speaker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model of transformers that says lists: a Llama whose weights are a Markov chain.

    After "1. " it says one of eight phrases, after a phrase the next number, after "6. " and a
    phrase it stops. Its one layer adds nothing, so the next token depends on the last one only.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    numbers = [f"{number}. " for number in range(1, 7)]
    # A phrase for each number, since the chain has no other memory of where it is.
    spoken = [[f"{phrase}{' ' * place}\n" for phrase in PHRASES] for place in range(6)]
    words = ["<unk>", "</s>", "\n", "Sure! Here you are:\n", *numbers]
    words += [phrase for phrases in spoken for phrase in phrases]
    place = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(place, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[^\n]+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    size = 64
    assert len(words) <= size
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, eos_token_id=1, bos_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    follows = torch.full((size, size), -40.0)
    follows[:, 1] = 0.0  # whatever is not said below: the end
    steps = [("\n", ["Sure! Here you are:\n"]), ("Sure! Here you are:\n", ["1. "])]
    for number, phrases in enumerate(spoken):
        steps.append((numbers[number], phrases))
        after = numbers[number + 1] if number < 5 else "</s>"
        steps += [(phrase, [after]) for phrase in phrases]
    for before, nexts in steps:
        for after in nexts:
            follows[place[before], place[after]] = 40.0
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                value.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size) * size**0.5)
        model.model.norm.weight.fill_(1 / size**0.5)  # the one that is not 0 becomes 1
        model.lm_head.weight.copy_(follows.T)
    folder = tmp_path_factory.mktemp("speaker") / "lists-1"
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>"
    ).save_pretrained(folder)
    return folder
