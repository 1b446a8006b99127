"""Routed blocks in the hands of others: subclasses, hooks, tracers, pickles, threads."""

from __future__ import annotations

import copy
import gc
import io
from concurrent.futures import ThreadPoolExecutor
from types import MethodType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_layer_decay
from timm.utils import AttentionExtract
from torch import Tensor, nn

import amod
from amod.method.blocks import routed_blocks

SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4,
                         "num_heads": 3, "num_classes": 7}  # fmt: skip
NAMES = ("vit_tiny_patch16_224", "vit_small_patch16_rope_mixed_224", "eva02_tiny_patch14_224")


def vit(name: str = NAMES[0], **changes: Any) -> Any:
    torch.manual_seed(0)
    settings = {**SMALL, **({} if name == NAMES[0] else {"num_heads": 2}), **changes}
    model = timm.create_model(name, **settings)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class Prompted(VisionTransformer):
    """Five prompt tokens behind the class token, as in visual prompt tuning."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.prompts = nn.Parameter(torch.ones(1, 5, 48))

    def forward_features(self, x: Tensor, **masks: Any) -> Tensor:  # type: ignore[override]
        x = self._pos_embed(self.patch_embed(x))
        x = torch.cat([x[:, :1], self.prompts.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        return self.norm(self.blocks(x))


def test_a_subclass_keeps_passes_of_its_own() -> None:
    torch.manual_seed(0)
    dense = Prompted(**SMALL).eval()
    routed = amod.convert(copy.deepcopy(dense), capacity=0.5)
    assert routed.forward_features(images()).shape == (3, 22, 48)
    amod.set_capacity(routed, 1.0)
    assert torch.equal(routed(images()), dense(images()))


def test_loops_over_blocks_and_replaced_methods_are_routed() -> None:
    routed = amod.convert(vit())
    expected = routed(images())
    x = routed._pos_embed(routed.patch_embed(images()))
    for block in routed.blocks:
        x = block(x, None, False)  # timm's arguments, by position
    torch.testing.assert_close(routed.forward_head(routed.norm(x)), expected)

    def features(self: Any, x: Tensor, **masks: Any) -> Tensor:
        found: Tensor = self.norm(self.blocks(self._pos_embed(self.patch_embed(x))))
        return found

    routed.forward_features = MethodType(features, routed)
    torch.testing.assert_close(routed(images()), expected)


@pytest.mark.parametrize("name", NAMES)
def test_hooks_see_all_tokens(name: str) -> None:
    routed, seen = amod.convert(vit(name)), []
    for block in routed.blocks:
        block.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
    routed(images())
    assert [(x.shape[1], y.shape[1]) for x, y in seen] == [(17, 17)] * 4


@pytest.mark.parametrize("method", ["fx", "hook"])
def test_timm_extracts_attention_maps(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.layers.attention.use_fused_attn", lambda: False)
    routed = amod.convert(vit())
    maps = AttentionExtract(routed, method=method)(images())
    assert [m.shape[-1] for m in maps.values()] == [17, 8, 17, 8]
    fused = vit()
    fused.load_state_dict(routed.state_dict())
    torch.testing.assert_close(
        routed(images()), amod.convert(fused)(images()), rtol=1e-4, atol=1e-4
    )


def test_revert_gives_the_dense_model_back() -> None:
    for name in NAMES:
        dense = vit(name)
        other = amod.revert(amod.convert(copy.deepcopy(dense), router="linear"))
        assert torch.equal(other(images()), dense(images()))
        assert str(other) == str(dense)
        assert list(other.state_dict()) == list(dense.state_dict())
        assert not hasattr(other, "routing")
        amod.convert(other, capacity=0.25)  # and once more
    with pytest.raises(ValueError, match="not routed"):
        amod.revert(vit())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("router", ["attention", "linear"])
def test_models_are_saved_copied_and_traced(name: str, router: str) -> None:
    routed = amod.convert(vit(name), router=router)
    expected = routed(images())
    file = io.BytesIO()
    torch.save(routed, file)
    file.seek(0)
    # A whole model is a pickle, here the test's own; weights are never read so.
    for other in (torch.load(file, weights_only=False), copy.deepcopy(routed)):
        assert torch.equal(other(images()), expected)
        amod.set_capacity(other, 0.25)
        assert not torch.equal(other(images()), expected)
    assert torch.equal(routed(images()), expected)
    if name == NAMES[0]:  # timm's rotary models are traced by nobody
        graph = torch.fx.symbolic_trace(routed)
        assert torch.equal(graph(images()), expected)
        assert graph(images(5)).shape == (5, 7)


@pytest.mark.filterwarnings("ignore")
def test_torchvision_and_jit_trace_routed_models() -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    routed = amod.convert(vit())
    extractor = create_feature_extractor(routed, ["blocks.1", "norm"])
    found = extractor(images())
    torch.testing.assert_close(found["norm"], routed.forward_features(images()))
    assert found["blocks.1"].shape == (3, 17, 48)
    traced = torch.jit.trace(routed, images())
    torch.testing.assert_close(traced(images(5)), routed(images(5)))


def test_an_empty_batch_gives_no_logits() -> None:
    routed = amod.convert(vit())
    assert routed(images(0)).shape == (0, 7)
    with torch.inference_mode():
        assert routed(images(0)).shape == (0, 7)


def band(width: int = 4) -> Tensor:
    """Each query sees the keys near it: another row of the mask for every query."""
    place = torch.arange(17)
    return (place[:, None] - place[None]).abs() < width


@pytest.mark.parametrize("kind", ["keys", "causal", "band", "band of each image"])
def test_attention_masks_hold_for_scores_and_for_the_chosen_tokens(kind: str) -> None:
    dense, causal = vit(depth=2).double(), kind == "causal"
    mask = torch.arange(17).lt(12).expand(17, 17) if kind == "keys" else band()
    if kind == "band of each image":
        mask = torch.stack([band(width) for width in (3, 5, 9)])[:, None]
    masks: dict[str, Any] = {"is_causal": True} if causal else {"attn_mask": mask}
    x = dense._pos_embed(dense.patch_embed(images().double()))
    # Slow: maps of the first block, then the second on chosen tokens, all others masked out.
    qkv = dense.blocks[0].attn.qkv(dense.blocks[0].norm1(x)).reshape(3, 17, 3, 3, 16)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4)
    seen = torch.ones(17, 17, dtype=torch.bool).tril() if causal else mask
    maps = (q @ k.transpose(-2, -1) / 4).masked_fill(~seen, -torch.inf).softmax(-1)
    chosen = torch.zeros(3, 17, dtype=torch.bool)
    chosen.scatter_(1, maps.mean((1, 2)).topk(8, dim=1).indices, True)
    assert kind != "keys" or not chosen[:, 12:].any()
    x = dense.blocks[0](x, **masks)
    both = seen & chosen[:, None, None, :]
    # A query that sees no chosen token has no attention: no such token is compared.
    expected = torch.where(chosen[..., None], dense.blocks[1](x, attn_mask=both), x)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found = amod.convert(copy.deepcopy(dense)).forward_features(images().double(), **masks)
        torch.testing.assert_close(found, dense.norm(expected), rtol=1e-9, atol=1e-9)


def counted(model: Any) -> int:
    """Elements that autograd keeps of a forward pass."""
    total = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images())
    return total


@pytest.mark.parametrize("training", [False, True])
def test_checkpointing_saves_what_timm_saves(training: bool) -> None:
    dense = vit().train(training)
    dense.set_grad_checkpointing(True)
    routed = amod.convert(copy.deepcopy(dense))
    assert counted(routed) == counted(dense)
    routed.set_grad_checkpointing(False)
    assert counted(routed) > 3 * counted(dense)


@pytest.mark.parametrize("name", NAMES)
def test_checkpointed_passes_keep_their_own_scores(name: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = amod.convert(vit(name).double())
        model.set_grad_checkpointing(checkpointing)
        one, other = model(images().double()), model(-images().double())  # both before backward
        (one.square().sum() + other.square().sum()).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_reentrant_checkpoints_are_refused() -> None:
    model = amod.convert(vit()).train()
    x = model._pos_embed(model.patch_embed(images()))
    for block in model.blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=True)
    with pytest.raises(ValueError, match="use_reentrant=False"):
        x.sum().backward()


def test_threads_do_not_share_scores() -> None:
    model = amod.convert(vit())
    batches = [images() * factor for factor in torch.linspace(-2, 2, 40)]
    with torch.inference_mode():
        expected = [model(batch) for batch in batches]

    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = model(batch)
        return found

    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(run, batches), expected, strict=True):
            assert torch.equal(found, right)


def test_tokens_between_the_two_blocks_are_noticed() -> None:
    model = amod.convert(vit())
    x = model._pos_embed(model.patch_embed(images()))
    with pytest.raises(ValueError, match="block 1 has no scores to be routed by: run block 0"):
        model.blocks[1](x)
    x = model.blocks[0](x)
    with pytest.raises(ValueError, match="block 1 gets 18 tokens, scored were 17"):
        model.blocks[1](torch.cat([x, x[:, :1]], dim=1))


def test_scores_are_those_of_the_batch_and_of_the_model() -> None:
    one, other = amod.convert(vit()), amod.convert(vit(qk_norm=True))
    batches = [images(), -images(), 2 * images()]
    entered = [one._pos_embed(one.patch_embed(batch)) for batch in batches]
    expected = [one.blocks[1](one.blocks[0](x)) for x in entered]
    after = [one.blocks[0](x) for x in entered]  # all before the routed block sees any
    for x, right in zip(after, expected, strict=True):
        assert torch.equal(one.blocks[1](x), right)
    other.blocks[0](entered[0])
    theirs = other.blocks[1](after[0])  # routed by its own scores, whoever read the tokens before
    other.blocks[0](entered[0])
    assert torch.equal(theirs, other.blocks[1](after[0].clone()))


def test_features_are_plain_tensors_and_nothing_is_kept() -> None:
    model, kept = amod.convert(vit()), list[Tensor]()
    handle = model.blocks[0].register_forward_hook(lambda _, given, output: kept.append(output))
    model(images())
    handle.remove()
    file = io.BytesIO()
    torch.save(kept, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True)[0], kept[0])
    route = model.blocks[1].route
    assert len(route._carried) == 1
    kept.clear()
    gc.collect()
    assert not len(route._carried)
    assert not route._scores


@pytest.mark.parametrize("compiled", [[0], [1], [0, 1], [0, 1, 2, 3]])
def test_single_blocks_are_compiled(compiled: list[int]) -> None:
    model = amod.convert(vit())
    expected = model(images())
    for index in compiled:
        model.blocks[index].compile(backend="aot_eager")
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(model(images()), expected, rtol=1e-4, atol=1e-4)


def test_masks_may_be_given_by_position() -> None:
    model = amod.convert(vit())
    x = model._pos_embed(model.patch_embed(images()))
    mask = torch.ones(17, 17, dtype=torch.bool).tril()
    attention = model.blocks[0].attn
    by_place, by_name = attention(x, mask), attention(x, attn_mask=mask)
    assert torch.equal(by_place, by_name)
    assert torch.equal(model.blocks[0](x, mask), model.blocks[0](x, attn_mask=mask))
    with pytest.raises(TypeError, match="Block takes attn_mask, is_causal behind x, got 3 more"):
        model.blocks[1](model.blocks[0](x), None, False, "more")


class Ranker(nn.Module):
    """A learned router of a user's."""

    needs_scores, gated = False, False

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(48, 1)

    def forward(self, x: Tensor, scores: Tensor | None) -> Tensor:
        assert scores is None
        return self.head(x)[..., 0]


def test_a_module_as_router_is_copied_and_its_attributes_count() -> None:
    ours = Ranker()
    model = amod.convert(vit(), router=ours)
    one, other = (block.router.function for block in routed_blocks(model).values())
    assert len({id(ours.head.weight), id(one.head.weight), id(other.head.weight)}) == 3
    assert all(type(block.attn).__name__ == "Attention" for block in model.blocks)  # none votes
    amod.set_capacity(model, 1.0)
    assert torch.equal(model(images()), vit()(images()))  # not gated: the dense model


def test_layer_decay_gives_a_router_its_blocks_scale() -> None:
    model = amod.convert(vit(), router="linear")
    names = {id(p): name for name, p in model.named_parameters()}
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scale = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    for index in (1, 3):
        assert scale[f"blocks.{index}.router.weight"] == scale[f"blocks.{index}.norm1.weight"] < 1


def test_capacities_of_blocks() -> None:
    model = amod.convert(vit(depth=6), capacity=[0.5, 0.25, 1.0])
    kept = []
    for block in routed_blocks(model).values():
        block.attn.register_forward_hook(lambda _, given, output: kept.append(output.shape[1]))
    model(images())
    assert kept == [8, 4, 17]
    assert model.routing.kept(17) == (8, 4, 17)
    amod.set_capacity(model, np.float32(0.5))
    assert model.routing.capacity == 0.5
    amod.set_capacity(model, 0.5)
    model(images())
    assert kept[3:] == [8, 8, 8]
    with pytest.raises(ValueError, match="2 capacities for 3 routed blocks"):
        amod.set_capacity(model, (0.5, 0.5))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"first": 1.0}, "first must be a whole number, got 1.0"),
        ({"every": 2.5}, "every must be a whole number, got 2.5"),
        ({"capacity": "0.5"}, "capacity must be a number"),
        ({"capacity": [0.5, 0.5, 0.5]}, "3 capacities for 2 routed blocks"),
        ({"capacity": [0.5, 1.5]}, "at most 1"),
        ({"router": nn.Linear}, "router Linear is a class"),
        ({"first": True}, "first must be a whole number"),
    ],
)
def test_settings_of_another_type_say_so(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        amod.convert(vit(), **settings)


def test_what_cannot_be_routed_says_whose_it_is() -> None:
    import torchvision

    with pytest.raises(ValueError, match="torchvision's VisionTransformer cannot be routed"):
        amod.convert(torchvision.models.VisionTransformer(32, 8, 2, 2, 48, 96))
    own = vit()

    class Own(type(own.blocks[0].attn)):  # type: ignore[misc]
        def forward(self, x: Tensor, **masks: Any) -> Tensor:
            return x

    own.blocks[2].attn.__class__ = Own
    with pytest.raises(ValueError, match="attention of block 2, Own, has a forward of its own"):
        amod.convert(own)
    patched = vit()
    patched.blocks[1].forward = lambda x, **masks: x
    with pytest.raises(ValueError, match="forward of block 1 was replaced"):
        amod.convert(patched)
