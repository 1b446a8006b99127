"""Pipelines through every engine; unguided images are diffusers' own; misfits are refused."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from cg_augment.guidance import (
    Chain,
    Classifier,
    Objective,
    Sampling,
    Select,
    Stepwise,
    guide,
    of_open_clip,
)
from cg_augment.use.pipelines import sampler_of
from repro_shared.runtime.errors import UserError

PROMPTS = ["a cat", "a dog", "a dog"]
ENGINES = {
    "chain": Chain(rounds=2, learning_rate=0.05, enough=None),
    "stepwise": Stepwise(),
    "select": Select(2),
}


def guided(tiny: Any, source: Any, engine: Any, **more: Any) -> Any:
    prompts = None if isinstance(source, tuple) else PROMPTS
    given = {"engine": engine, "prompts": prompts, "sampling": Sampling(3), **more}
    return guide(source, [0, 1, 1], *tiny.judges(), **given)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_without_guidance_it_is_the_pipelines_own_image(tiny: Any, name: str) -> None:
    pipe = getattr(tiny, name)()
    if name == "sdxl":  # the ancestral scheduler draws noise of its own
        pipe.scheduler = diffusers.EulerDiscreteScheduler(**tiny.vp)
    sampling = Sampling(4, guidance_scale=5.0, negative_prompt="fog")
    found = guided(tiny, pipe, Select(1), sampling=sampling)
    sampler = sampler_of(pipe, [0, 1, 1], PROMPTS, sampling)
    from cg_augment.guidance import Noise

    start = Noise((0, 1, 2)).start(torch.arange(3), sampler.like)
    theirs = pipe(
        prompt=PROMPTS, negative_prompt=["fog"] * 3, num_inference_steps=4, guidance_scale=5.0,
        latents=start, output_type="np", height=16, width=16,
    ).images  # fmt: skip
    assert np.abs(theirs - found.images.permute(0, 2, 3, 1).numpy()).max() < 2e-4
    assert found.forward.tolist() == [4, 4, 4]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "class unet", "text unet"])
def test_every_engine_raises_the_objective(tiny: Any, name: str, engine: str) -> None:
    more: dict[str, Any] = {"objective": Objective("log")}
    if name == "class unet":
        source: Any = (tiny.unet(), diffusers.DDIMScheduler(**tiny.vp))
    elif name == "text unet":
        source = (tiny.text_unet(), diffusers.DPMSolverMultistepScheduler(**tiny.vp))
        more |= {"condition": torch.randn(3, 5, 16), "decode": lambda x: x[:, :3] / 2 + 0.5}
    else:
        source = getattr(tiny, name)()
        more |= {"sampling": Sampling(3, guidance_scale=0.0 if name == "sdxl" else 2.0)}
    found = guided(tiny, source, ENGINES[engine], **more)
    assert not found.failed.any()
    assert found.images.shape == (3, 3, *((16, 16) if name.startswith("sd") else (8, 8)))
    assert 0 <= float(found.images.min()) <= float(found.images.max()) <= 1
    # What is reported is of the image that is kept.
    teacher, _ = tiny.judges()
    own = teacher(found.images).softmax(1)[range(3), [0, 1, 1]]
    assert torch.allclose(own.double(), found.after.teacher, atol=1e-5)
    if engine == "stepwise":  # a small step of one network need not help each sample
        assert found.after.value.mean() > found.before.value.mean()
    else:
        assert (found.after.value >= found.before.value).all()
        assert (found.after.value > found.before.value).any()


def test_the_small_decoder_is_for_gradients_alone(tiny: Any) -> None:
    pipe, small = tiny.sd(), tiny.tiny_vae()
    plain = guided(tiny, pipe, Chain(rounds=1))
    quick = guided(tiny, pipe, Chain(rounds=1), preview=small)
    assert torch.equal(plain.before.value, quick.before.value)
    assert not torch.allclose(plain.latents, quick.latents)
    images = pipe.vae.decode(quick.latents / pipe.vae.config.scaling_factor)[0] / 2 + 0.5
    assert torch.allclose(images.clamp(0, 1), quick.images, atol=1e-5)
    assert small.training is False
    assert all(weight.requires_grad for weight in small.parameters())


def test_noised_images_to_begin_from(tiny: Any) -> None:
    pipe = tiny.sd()
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    few = guided(tiny, pipe, Select(1), images=images, sampling=Sampling(10, strength=0.1))
    assert few.forward.tolist() == [1, 1, 1]
    through = pipe.vae.decode(pipe.vae.encode(2 * images - 1).latent_dist.mode())[0] / 2 + 0.5
    far = guided(tiny, pipe, Select(1), images=images, sampling=Sampling(10, strength=1.0))
    near = [(each.images - through.clamp(0, 1)).abs().mean() for each in (few, far)]
    assert near[0] < near[1]
    with pytest.raises(UserError, match=r"10 steps x strength 0\.05 leave no step"):
        guided(tiny, pipe, Select(1), images=images, sampling=Sampling(10, strength=0.05))
    with pytest.raises(UserError, match="images of 8 x 8 pixels do not fit"):
        guided(tiny, pipe, Select(1), images=images[..., :8, :8])


def test_clip_as_a_teacher(tiny: Any) -> None:
    import open_clip

    torch.manual_seed(0)
    form = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 32,
            "head_width": 16, "patch_size": 8}, "text_cfg": {"context_length": 77,
            "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}}  # fmt: skip
    clip = of_open_clip(
        "tiny", open_clip.CLIP(**form).eval(), open_clip.tokenizer.SimpleTokenizer(),
        ["cat", "dog"], form=open_clip.transform.PreprocessCfg(32).__dict__,
    )  # fmt: skip
    own = guide(
        tiny.sd(), [0, 1], clip, prompts=PROMPTS[:2], sampling=Sampling(3),
        engine=Chain(rounds=3, learning_rate=0.1), objective=Objective(parts="teacher"),
    )  # fmt: skip
    assert (own.after.teacher >= own.before.teacher).all()
    assert own.after.teacher.sum() > own.before.teacher.sum() + 1e-4
    assert own.after.student.isnan().all()


@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "ddim"])
def test_an_image_is_its_seeds_at_any_batch(tiny: Any, scheduler: str) -> None:
    made = (
        diffusers.DDIMScheduler(**tiny.vp)
        if scheduler == "ddim"
        else getattr(diffusers, scheduler)(**tiny.vp)
    )
    source = (tiny.unet(torch.float64), made)
    sampling = Sampling(4, eta=1.0 if scheduler == "ddim" else 0.0, dtype=torch.float64)
    labels, seeds = [0, 1, 1, 0], [7, 3, 9, 1]
    teacher, student = tiny.judges(torch.float64)
    for engine in ENGINES.values():
        many, single = (
            guide(source, labels, teacher, student, engine=engine, sampling=sampling, seeds=seeds,
                  batch_size=size)
            for size in (4, 1)
        )  # fmt: skip
        assert torch.allclose(many.images, single.images, rtol=0, atol=1e-6)
        assert torch.allclose(many.after.value, single.after.value, atol=1e-8)
        assert many.forward.tolist() == single.forward.tolist()
        swapped = guide(source, labels[::-1], teacher, student, engine=engine, sampling=sampling,
                        seeds=seeds[::-1])  # fmt: skip
        assert torch.allclose(many.images, swapped.images.flip(0), rtol=0, atol=1e-6)


def test_gradients_of_a_batch_are_those_of_its_samples(tiny: Any) -> None:
    from cg_augment.guidance import Noise, Score, Task

    def gradients(dtype: torch.dtype, rows: list[int], engine: Any, at_start: bool) -> torch.Tensor:
        labels = [row % 2 for row in rows]
        source = (tiny.unet(dtype), diffusers.DDIMScheduler(**tiny.vp))
        sampler = sampler_of(source, labels, sampling=Sampling(4, dtype=dtype))
        score = Score(torch.tensor(labels), *tiny.judges(dtype), Objective("log"))
        task = Task(sampler, score, Noise(tuple(rows)))
        start = task.noise.start(task.rows, sampler.like)
        if at_start:
            return engine.gradient(task, sampler.begin(start, task.rows), 0, task.rows)[0]
        return engine.gradient(task, start, task.rows)[0]

    for dtype, engine, at_start, limit in (
        (torch.float32, Stepwise(), True, 1e-5),
        (torch.float64, Chain(), False, 1e-6),
    ):
        whole = gradients(dtype, list(range(16)), engine, at_start)
        for row in range(16):
            alone = gradients(dtype, [row], engine, at_start)[0]
            assert float((whole[row] - alone).norm() / alone.norm()) < limit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": ["a <sks> dog"] * 3}, r"does not know the token <sks>; load its embedding"),
        ({"prompts": ["d\u00e9j\u00e0"] * 3}, "has a character that the tokenizer lacks"),
        ({"prompts": ["dog" * 40] * 3}, "is too long: .* would be cut away"),
        ({"prompts": ["a dog"]}, "1 prompts for 3 labels"),
        ({"prompts": None}, "needs a prompt for each of the 3 images"),
        ({"seeds": [1]}, "1 seeds for 3 labels"),
        ({"sampling": Sampling(3, size=(15, 16))}, "multiples of 2"),
    ],
)
def test_inputs_that_do_not_fit(tiny: Any, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        guided(tiny, tiny.sd(), Select(1), **change)


def test_models_that_do_not_fit(tiny: Any) -> None:
    ddim = diffusers.DDIMScheduler(**tiny.vp)
    teacher, student = tiny.judges()
    for source, said in (
        ((tiny.unet(), diffusers.PNDMScheduler(**tiny.vp)), "PNDMScheduler is not known here"),
        ((tiny.unet(out_channels=6), ddim), "also predicts the variance"),
        (object(), "object is not known here; known: StableDiffusionPipeline"),
    ):
        with pytest.raises(UserError, match=said):
            guide(source, [0], teacher, student, sampling=Sampling(2))
    with pytest.raises(UserError, match="label 5: the diffusion model knows 2 classes, from 0 to"):
        guide((tiny.unet(), ddim), [5], *tiny.judges(classes=9), sampling=Sampling(2))
    with pytest.raises(UserError, match="labels reach from 3 to 3, but the classifier has 2"):
        guide((tiny.unet(classes=9), ddim), [3], teacher, student, sampling=Sampling(2))
    with pytest.raises(UserError, match="different classes: 2 and 3 of them"):
        guide((tiny.unet(), ddim), [0], teacher, tiny.judges(classes=3)[1], sampling=Sampling(2))
    with pytest.raises(UserError, match=r"of \(8, 8\), not of \(16, 16\)"):
        guide((tiny.unet(), ddim), [0], teacher, student, sampling=Sampling(2, size=(16, 16)))
    named = [
        Classifier(torch.nn.Identity(), torch.nn.Identity(), names, 8)
        for names in (("cat", "dog"), ("dog", "cat"))
    ]
    with pytest.raises(UserError, match=r"different classes: cat, dog \(2\) and dog, cat"):
        guide((tiny.unet(), ddim), [0], *named, sampling=Sampling(2))
    with pytest.raises(UserError, match="the objective needs a student"):
        guide((tiny.unet(), ddim), [0], teacher, objective=Objective())
    half = tiny.vae(force_upcast=True).to(torch.float16)
    pipe = tiny.sd()
    pipe.vae = half
    with pytest.raises(UserError, match="overflows in float16"):
        guide(pipe, [0], teacher, student, prompts=["a dog"])
