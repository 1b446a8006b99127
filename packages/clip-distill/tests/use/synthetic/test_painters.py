"""Pipelines: seeds of their own, prompts that fit, sound images whatever a checker thinks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from clip_distill.use.synthetic.adapters import LORA
from clip_distill.use.synthetic.attempts import damage, pixels_of
from clip_distill.use.synthetic.painters import Sampling, load_painter, of_pipeline
from clip_distill.use.synthetic.prompt_list import Prompt, check_tokens
from repro_shared.runtime.errors import UserError

SAMPLING = Sampling(steps=2)


@pytest.mark.parametrize("large", [False, True])
def test_an_image_depends_on_prompt_and_seed_alone(
    pipe_of: Callable[..., Any], large: bool
) -> None:
    painter = of_pipeline("tiny", pipe_of(large), SAMPLING)
    prompts, seeds = ["a cat", "a dog", "a cat", "a fox"], [1, 2, 3, 1]
    all_four = painter.paint(prompts, seeds)
    assert all_four.shape == (4, 3, 32, 32)
    assert all(damage(image) is None for image in all_four)
    backwards = painter.paint(prompts[::-1], seeds[::-1])
    assert torch.equal(all_four, backwards.flip(0))  # the same bytes at one shape
    alone = torch.cat([painter.paint([p], [s]) for p, s in zip(prompts, seeds, strict=True)])
    rounded = [torch.from_numpy(pixels_of(each).astype(int)) for each in (all_four, alone)]
    assert (rounded[0] - rounded[1]).abs().max() <= 1  # at another: to rounding
    assert not torch.allclose(all_four[0], all_four[2], atol=0.02)  # another seed
    assert not torch.equal(all_four[0], all_four[3])  # another prompt


@pytest.mark.parametrize("large", [False, True])
def test_images_are_what_the_pipeline_itself_makes(
    pipe_of: Callable[..., Any], large: bool
) -> None:
    painter = of_pipeline("tiny", pipe_of(large), Sampling(steps=3, guidance=2.0))
    found = painter.paint(["a cat"], [7])
    whole = painter.pipe(
        prompt=["a cat"], generator=[torch.Generator().manual_seed(7)], num_inference_steps=3,
        guidance_scale=2.0, height=32, width=32, output_type="pt",
    ).images  # fmt: skip
    assert torch.allclose(found, whole.float(), atol=1e-6)


def test_latents_with_mean_and_deviation(pipe_of: Callable[..., Any]) -> None:
    pipe = pipe_of(large=True)
    pipe.vae.register_to_config(
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.5, 1.0, 2.0, 1.5]
    )
    painter = of_pipeline("tiny", pipe, SAMPLING)
    whole = pipe(
        prompt=["a cat"], generator=[torch.Generator().manual_seed(7)], num_inference_steps=2,
        guidance_scale=0.5, height=32, width=32, output_type="pt",
    ).images  # fmt: skip
    assert torch.allclose(painter.paint(["a cat"], [7]), whole.float(), atol=1e-6)


def test_a_safety_checker_blackens_nothing(pipe_of: Callable[..., Any]) -> None:
    from diffusers import StableDiffusionPipeline
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 32, "patch_size": 16}  # fmt: skip
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
    checker.concept_embeds_weights.data.fill_(-9.0)  # dislikes everything
    seen = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )  # fmt: skip
    parts = {**pipe_of().components, "safety_checker": checker.eval(), "feature_extractor": seen}
    pipe = StableDiffusionPipeline(**parts)
    black = pipe(prompt="a cat", num_inference_steps=2, output_type="pt").images
    assert float(black.abs().max()) == 0  # what a user of the pipeline gets
    assert damage(black[0]) == "constant"
    painter = of_pipeline("tiny", pipe, SAMPLING)
    assert damage(painter.paint(["a cat"], [0])[0]) is None


def test_half_precision_is_decoded_in_float32(pipe_of: Callable[..., Any]) -> None:
    pipe = pipe_of().to(torch.bfloat16)
    painter = of_pipeline("tiny", pipe, SAMPLING)
    assert painter.form()["compute"] == "bfloat16"
    assert pipe.vae.dtype == torch.float32
    assert damage(painter.paint(["a cat"], [0])[0]) is None


def test_c11_a_long_prompt_is_refused_with_the_words_that_it_would_lose(
    pipe_of: Callable[..., Any],
) -> None:
    for large in (False, True):
        painter = of_pipeline("tiny", pipe_of(large), SAMPLING)
        exact = " ".join(["very"] * 74)
        assert painter.context == 77
        assert painter.lost(f"{exact} cat") == ""  # 75 tokens and two special ones
        assert painter.lost(f"{exact} very red cat") == "red cat"
        long = Prompt("cat", "cat", 0, f"{exact} very red cat")
        with pytest.raises(UserError, match=r"1 of 1 prompts .* 77 tokens of tiny: 'red cat'"):
            check_tokens([long], painter.lost, painter.name, painter.context)


def test_a_folder_is_loaded_whole_or_not_at_all(
    pipeline_folder: Path, pipe_of: Callable[..., Any], tmp_path: Path
) -> None:
    import shutil

    painter = load_painter(str(pipeline_folder), SAMPLING, None, "float32", "cpu")
    same = of_pipeline("tiny-sd", pipe_of(), SAMPLING)
    assert painter.form() == same.form()
    assert painter.form()["scheduler"] == "LCMScheduler"
    assert torch.equal(painter.paint(["a cat"], [3]), same.paint(["a cat"], [3]))
    for part, file, said in (
        ("unet", "diffusion_pytorch_model.safetensors", "missing keys: conv_in.weight"),
        ("text_encoder", "model.safetensors", "missing keys: .*final_layer_norm.weight"),
    ):
        broken = tmp_path / part
        shutil.copytree(pipeline_folder, broken)
        weights = load_file(broken / part / file)
        gone = next(n for n in weights if n.endswith(said.rpartition(" ")[2].removeprefix(".*")))
        del weights[gone]
        save_file(weights, broken / part / file, {"format": "pt"})
        with pytest.raises(UserError, match=said):
            load_painter(str(broken), SAMPLING, None, "float32", "cpu")
    with pytest.raises(UserError, match=r"model_index\.json"):
        load_painter(str(tmp_path), SAMPLING, None, "float32", "cpu")


def test_half_precision_files_alone_are_found(pipe_of: Callable[..., Any], tmp_path: Path) -> None:
    pipe_of().save_pretrained(tmp_path / "half", variant="fp16")
    painter = load_painter(str(tmp_path / "half"), SAMPLING, None, "float32", "cpu")
    assert painter.form()["sha256"] == of_pipeline("x", pipe_of(), SAMPLING).form()["sha256"]


def _lora(pipe: Any, rank: int = 2) -> dict[str, torch.Tensor]:
    """In the form of latent-consistency's files: kohya's names, with alpha."""
    g = torch.Generator().manual_seed(0)
    weights = {}
    for name, module in pipe.unet.named_modules():
        if name.endswith(("to_q", "to_v")):
            key = f"lora_unet_{name.replace('.', '_')}"
            shape = module.weight.shape
            weights[f"{key}.lora_down.weight"] = torch.randn(rank, shape[1], generator=g)
            weights[f"{key}.lora_up.weight"] = torch.randn(shape[0], rank, generator=g)
            weights[f"{key}.alpha"] = torch.tensor(1.0)
    return weights


def test_an_adapter_is_in_the_weights_or_refused(
    pipe_of: Callable[..., Any], tmp_path: Path
) -> None:
    weights = _lora(pipe_of())
    folder = tmp_path / "lcm-lora"
    folder.mkdir()
    save_file(weights, folder / LORA)
    plain = of_pipeline("tiny", pipe_of(), SAMPLING)
    painter = of_pipeline("tiny", pipe_of(), SAMPLING, folder)
    before, after = plain.pipe.unet.state_dict(), painter.pipe.unet.state_dict()
    assert before.keys() == after.keys()  # nothing of the adapter is left beside
    name = next(n for n in before if n.endswith("to_q.weight"))
    key = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
    down, up = (weights[f"{key}.lora_{way}.weight"] for way in ("down", "up"))
    assert torch.allclose(after[name], before[name] + (1.0 / 2) * up @ down, atol=1e-5)
    assert painter.form()["adapter"] == "lcm-lora"
    assert painter.form()["sha256"] != plain.form()["sha256"]
    foreign = {k.replace("lora_unet_", "lora_unet_other_"): v for k, v in weights.items()}
    save_file(foreign, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"foreign.safetensors: .*(no LoRA|have a place)"):
        of_pipeline("tiny", pipe_of(), SAMPLING, tmp_path / "foreign.safetensors")
    half = dict(weights)
    half["lora_unet_nowhere_to_q.lora_down.weight"] = torch.zeros(2, 32)
    half["lora_unet_nowhere_to_q.lora_up.weight"] = torch.zeros(32, 2)
    half["lora_unet_nowhere_to_q.alpha"] = torch.tensor(1.0)
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(UserError, match=r"half.safetensors: .*(no LoRA|have a place)"):
        of_pipeline("tiny", pipe_of(), SAMPLING, tmp_path / "half.safetensors")
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"a \.safetensors file"):
        of_pipeline("tiny", pipe_of(), SAMPLING, tmp_path / "a.bin")


def test_settings_that_a_pipeline_does_not_take(pipe_of: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="multiples of 2 pixels"):
        of_pipeline("tiny", pipe_of(), Sampling(size=33))
    with pytest.raises(UserError, match="50 at most"):
        of_pipeline("tiny", pipe_of(), Sampling(steps=51))
    with pytest.raises(UserError, match="known are StableDiffusionPipeline"):
        of_pipeline("tiny", object(), SAMPLING)
    own = of_pipeline("tiny", pipe_of(), Sampling(steps=4, guidance=7.5, scheduler="own"))
    assert own.form()["scheduler"] == "PNDMScheduler"
    assert own.sampling.passes == 8
    assert own.paint(["a cat"], [0]).shape == (1, 3, 32, 32)
    assert of_pipeline("t", pipe_of(), Sampling(steps=1, size=48)).paint(["a"], [0]).shape[2] == 48
