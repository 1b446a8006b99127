"""What pins the method down (arXiv 2412.20875): identities, invariants, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import amod
from amod.method.blocks import routed_blocks
from amod.method.routing import (
    attention_scores,
    attention_with_scores,
    select,
    swapped_scores,
    tokens_kept,
)

SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4,
                         "num_heads": 3, "num_classes": 7}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer scale": {"init_values": 0.5},
    "q/k norm": {"qk_norm": True},
    "registers": {"reg_tokens": 4},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "clip's norm": {"pre_norm": True},
    "norm before the head": {"global_pool": "avg", "fc_norm": True},
}


def vit(seed: int = 0, name: str = "vit_tiny_patch16_224", **changes: Any) -> Any:
    torch.manual_seed(seed)
    model = timm.create_model(name, **{**SMALL, **changes})
    for parameter in model.parameters():  # zero-initialised heads and biases would hide mistakes
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def states(model: Any, x: Tensor) -> list[Tensor]:
    """Tokens that enter the first block, and those after each block."""
    found: list[Tensor] = []
    hooks = [model.blocks[0].register_forward_pre_hook(lambda _, given: found.append(given[0]))]
    for block in model.blocks:
        hooks.append(block.register_forward_hook(lambda _, given, output: found.append(output)))
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def reference(
    model: Any, x: Tensor, capacity: float, routed: range = range(1, 4, 2), gates: Any = None
) -> Tensor:
    """Slow and independent: explicit attention maps of each dense block, token by token.

    With `gates`, a function of block index and tokens (B, N, d) to (B, N), they rank and multiply.
    """
    blocks = model.blocks
    x = model.norm_pre(model._pos_embed(model.patch_embed(x)))
    scores = None
    for index, block in enumerate(blocks):
        if index not in routed:
            attention = block.attn
            qkv = attention.qkv(block.norm1(x)).reshape(
                len(x), x.shape[1], 3, attention.num_heads, attention.head_dim
            )
            q, k, _ = qkv.permute(2, 0, 3, 1, 4)
            q, k = attention.q_norm(q), attention.k_norm(k)
            maps = (q @ k.transpose(-2, -1) * attention.scale).softmax(-1)
            scores = maps.mean(1).mean(1)
            x = block(x)
        else:
            assert scores is not None
            kept = int(capacity * x.shape[1] + 1e-9)
            rows = []
            gate = gates(index, x) if gates else None
            for image, (one, ranking) in enumerate(zip(x, scores, strict=True)):
                ranking = ranking if gate is None else gate[image]
                chosen = sorted(ranking.argsort(descending=True)[:kept].tolist())
                out = one.clone()
                update = block(one[chosen][None])[0] - one[chosen]
                for place, token in enumerate(chosen):
                    factor = 1.0 if gate is None else float(gate[image, token])
                    out[token] = one[token] + factor * update[place]
                rows.append(out)
            x = torch.stack(rows)
    return model.forward_head(model.norm(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("capacity", [0.25, 0.5])
def test_packed_model_equals_the_slow_reference(kind: str, capacity: float) -> None:
    model = vit(**KINDS[kind]).double()
    expected = reference(model, images().double(), capacity)
    routed = amod.convert(model, capacity=capacity)
    torch.testing.assert_close(routed(images().double()), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("first", "every"), [(2, 3), (3, 2), (1, 3)])
def test_other_placements_equal_the_slow_reference(first: int, every: int) -> None:
    model = vit(depth=6).double()
    expected = reference(model, images().double(), 0.5, range(first, 6, every))
    routed = amod.convert(model, first=first, every=every)
    torch.testing.assert_close(routed(images().double()), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("router", ["linear", "linear-sigmoid"])
def test_gates_of_each_token_equal_the_slow_reference(router: str) -> None:
    model = vit().double()
    torch.manual_seed(5)
    routed = amod.convert(copy.deepcopy(model), router=router, capacity=0.4).double()

    def gates(index: int, x: Tensor) -> Tensor:
        r = (x * routed.blocks[index].router.weight).sum(-1)
        return r.sigmoid() if router == "linear-sigmoid" else r

    with torch.no_grad():
        expected = reference(model, images().double(), 0.4, gates=gates)
        torch.testing.assert_close(routed(images().double()), expected, rtol=1e-9, atol=1e-9)


def test_scores_are_float32_under_mixed_precision() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 60, 16)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention_scores(q, k, 0.25), attention_with_scores(q, k, v, 0.25)[1]
        mixed = *mixed, swapped_scores(q, k, 0.25)
    for scores in mixed:
        torch.testing.assert_close(scores, attention_scores(q, k, 0.25), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_capacity_one_is_the_dense_model_bit_for_bit(kind: str) -> None:
    dense = vit(**KINDS[kind])
    routed = amod.convert(copy.deepcopy(dense), capacity=1.0)
    assert torch.equal(routed(images()), dense(images()))


def test_distilled_head() -> None:
    dense = vit(name="deit_tiny_distilled_patch16_224")
    routed = amod.convert(copy.deepcopy(dense), capacity=1.0)
    assert torch.equal(routed(images()), dense(images()))
    amod.set_capacity(routed, 0.5)
    assert not torch.equal(routed(images()), dense(images()))


def test_state_dicts_are_interchangeable_and_nothing_is_added() -> None:
    dense, other = vit(0), vit(1)
    routed = amod.convert(copy.deepcopy(other))
    assert list(routed.state_dict()) == list(dense.state_dict())
    routed.load_state_dict(dense.state_dict(), strict=True)
    dense.load_state_dict(routed.state_dict(), strict=True)
    assert sum(p.numel() for p in routed.parameters()) == sum(p.numel() for p in dense.parameters())


def test_skipped_tokens_pass_bit_for_bit_and_k_of_them_change() -> None:
    model = amod.convert(vit(), capacity=0.4)
    after = states(model, images())
    for index in (1, 3):
        same = (after[index] == after[index + 1]).all(dim=-1)
        assert same.sum(dim=1).tolist() == [17 - tokens_kept(0.4, 17)] * 3


def test_no_dependence_on_batch_mates_or_token_order() -> None:
    model = amod.convert(vit().double(), capacity=0.5)
    x = images().double()
    alone = torch.cat([model(one[None]) for one in x])
    torch.testing.assert_close(model(x), alone, rtol=1e-10, atol=1e-10)
    tokens = states(model, x)[0]
    order = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(3))
    straight, permuted = model.blocks(tokens), model.blocks(tokens[:, order])
    torch.testing.assert_close(permuted, straight[:, order], rtol=1e-9, atol=1e-9)


def test_gradients_equal_those_of_masked_execution() -> None:
    model = amod.convert(vit().double())
    block, dense = model.blocks[1], vit().double().blocks[1]
    dense.load_state_dict(block.state_dict())
    x = torch.randn(2, 17, 48, dtype=torch.float64, requires_grad=True)
    index = select(torch.rand(2, 17, generator=torch.Generator().manual_seed(0)), 6)

    def masked(x: Tensor) -> Tensor:
        keep = torch.zeros(2, 17, dtype=torch.bool).scatter(1, index, True)
        mask = keep[:, None, None, :].expand(-1, -1, 17, -1)
        return torch.where(keep[..., None], dense(x, attn_mask=mask), x)

    weight = torch.randn(2, 17, 48, dtype=torch.float64)
    results = []
    for run, of in ((lambda x: block.process(x, index), block), (masked, dense)):
        output = run(x)
        found = torch.autograd.grad((output * weight).sum(), [x, *of.parameters()])
        results.append([output, *found])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_checkpointed_gradients_are_the_same() -> None:
    grads = []
    for checkpointing in (False, True):
        model = amod.convert(vit().double()).train()
        model.set_grad_checkpointing(checkpointing)
        model(images().double()).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_score_back_ends_agree_and_sum_to_one() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 5, 3, 60, 16)
    explicit, swapped = attention_scores(q, k, 0.25), swapped_scores(q, k, 0.25)
    slow = (q.double() @ k.double().transpose(-2, -1) * 0.25).softmax(-1).mean((1, 2))
    for scores in (explicit, swapped):
        torch.testing.assert_close(scores.double(), slow, rtol=0, atol=1e-7)
        torch.testing.assert_close(scores.sum(1), torch.ones(5))
        assert torch.equal(select(scores, 20), select(slow, 20))
    outputs = [amod.convert(vit(), backend=b)(images()) for b in ("explicit", "swapped")]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", ["column-mean", "patch-rows", "cls-row"])
def test_attention_and_scores_from_the_same_maps(rows: Any) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 40, 3, 60, 16)  # more images than a chunk holds
    output, scores = attention_with_scores(q, k, v, 0.25, rows, 2)
    expected = nn.functional.scaled_dot_product_attention(q, k, v, scale=0.25)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, attention_scores(q, k, 0.25, rows, 2))


def test_inference_changes_nothing_that_others_hold() -> None:
    model = amod.convert(vit(), capacity=0.4, backend="swapped")
    with_gradient = states(model, images())
    with torch.inference_mode():
        features = model.forward_intermediates(images(), intermediates_only=True, output_fmt="NLC")
        for ours, theirs, block in zip(
            features, states(model, images())[1:], with_gradient[1:], strict=True
        ):
            assert torch.equal(ours, theirs[:, 1:])
            assert torch.equal(theirs, block)


def test_alignment_and_presets() -> None:
    assert [tokens_kept(c, 197, 8) for c in (0.5, 0.125, 0.01, 1.0)] == [96, 24, 8, 197]
    deep = amod.convert(vit(depth=8), capacity=0.7, **amod.PRESETS["practical"])
    assert list(routed_blocks(deep)) == [5, 7]
    assert deep.routing.kept(17) == 8
    assert deep.routing.protect_prefix
    assert amod.convert(vit(), **amod.PRESETS["paper"]).routing == amod.Routing()
    with pytest.raises(ValueError, match="fewer than are protected"):
        amod.set_capacity(amod.convert(vit(reg_tokens=4), protect_prefix=True), 0.1)


def test_row_choices_and_protection() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 3, 10, 8)
    maps = (q @ k.transpose(-2, -1) * 0.5).softmax(-1).mean(1)
    torch.testing.assert_close(attention_scores(q, k, 0.5, "cls-row"), maps[:, 0])
    torch.testing.assert_close(attention_scores(q, k, 0.5, "patch-rows", 2), maps[:, 2:].mean(1))
    scores = torch.arange(10.0).flip(0)[None] * -1  # the last token is the best
    assert select(scores, 3).tolist() == [[7, 8, 9]]
    assert select(scores, 3, protected=1).tolist() == [[0, 8, 9]]
    assert select(torch.zeros(1, 10), 4).shape == (1, 4)  # ties


def test_linear_router_multiplies_the_update_and_not_the_residual() -> None:
    model = amod.convert(vit(), router="linear")
    router = model.blocks[1].router
    with torch.no_grad():
        router.weight.zero_()
    after = states(model, images())
    assert torch.equal(after[2], after[1])  # r = 0: every token keeps its residual
    unit = amod.convert(vit(), router="linear-unit", capacity=1.0)
    torch.testing.assert_close(unit(images()), vit()(images()))  # starts as the dense model
    added = {n for n, _ in unit.named_parameters()} - {n for n, _ in vit().named_parameters()}
    assert added == {"blocks.1.router.weight", "blocks.3.router.weight"}
    unit(images()).sum().backward()
    assert unit.blocks[1].router.weight.grad.abs().sum() > 0


def test_intermediates_are_complete_maps() -> None:
    dense, routed = vit(), amod.convert(vit(), capacity=1.0)
    some: dict[str, Any] = {"indices": [0, 2], "stop_early": True, "intermediates_only": True}
    for options in ({}, {"norm": True, "return_prefix_tokens": True}, {"output_dict": True}, some):
        ours = routed.forward_intermediates(images(), **options)
        theirs = dense.forward_intermediates(images(), **options)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    amod.set_capacity(routed, 0.2)
    maps = routed.forward_intermediates(images(), intermediates_only=True)
    assert [tuple(m.shape) for m in maps] == [(3, 48, 4, 4)] * 4


def test_compiles_without_graph_breaks_and_exports() -> None:
    model = amod.convert(vit(), capacity=0.5)
    expected = model(images())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images()), expected)
    amod.set_capacity(model, 0.25)
    other = model(images())
    torch.testing.assert_close(compiled(images()), other)
    amod.set_capacity(model, 0.5)
    exported = torch.export.export(model, (images(),))
    torch.testing.assert_close(exported.module()(images()), expected)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"capacity": 0.0}, "capacity must be above 0"),
        ({"capacity": 1.5}, "at most 1"),
        ({"capacity": 0.01}, "keeps none of 17 tokens"),
        ({"first": 0}, "block 0 cannot be routed"),
        ({"every": 1}, "every must be at least 2"),
        ({"first": 9}, "routes nothing"),
        ({"router": "best"}, "unknown router 'best'"),
        ({"score": "column_mean"}, "unknown score 'column_mean': choose one of column-mean"),
        ({"backend": "best"}, "unknown backend 'best'"),
    ],
)
def test_settings_that_cannot_work_say_why(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        amod.convert(vit(), **settings)


def test_models_that_cannot_be_routed_say_why() -> None:
    with pytest.raises(ValueError, match="SwinTransformer cannot be routed"):
        amod.convert(timm.create_model("swin_tiny_patch4_window7_224"))
    with pytest.raises(ValueError, match="ResNet cannot be routed"):
        amod.convert(timm.create_model("resnet18"))
    diff = timm.create_model("vit_dlittle_patch16_reg1_gap_256", **SMALL)
    with pytest.raises(ValueError, match="two maps"):
        amod.convert(diff)
    with pytest.raises(ValueError, match="column means only"):
        amod.convert(vit(), backend="triton", score="cls-row")
    with pytest.raises(ValueError, match="routed already"):
        amod.convert(amod.convert(vit()))
    with pytest.raises(ValueError, match="not routed"):
        amod.set_capacity(vit(), 0.5)
