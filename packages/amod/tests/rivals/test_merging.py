"""Token merging (arXiv 2210.09461) against a slow one, token by token, and its arithmetic."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import amod
from amod.method.flops import NORM_OPERATIONS, SHAPES, Shape, dense_macs
from amod.rivals.merging import equal_r, merge, merge_tokens, merged_macs
from repro_shared.timing.counts import count_operations

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
    "averaged prefix": {"global_pool": "avg", "pool_include_prefix": True},
    "two prefix tokens": {"name": "deit_tiny_distilled_patch16_224"},
}


def vit(seed: int = 0, name: str = "vit_tiny_patch16_224", **changes: Any) -> Any:
    torch.manual_seed(seed)
    model = timm.create_model(name, **{**SMALL, **changes})
    for parameter in model.parameters():  # zero-initialised heads and biases would hide mistakes
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def slow_block(
    block: Any, tokens: list[Tensor], sizes: list[float], r: int, prefix: int
) -> tuple[list[Tensor], list[float]]:
    """One image, one token after the other, attention maps written out."""
    attention, x = block.attn, torch.stack(tokens)
    heads, width = attention.num_heads, attention.head_dim
    q, k, v = attention.qkv(block.norm1(x)).reshape(len(x), 3, heads, width).unbind(1)
    q, k = attention.q_norm(q), attention.k_norm(k)
    logits = torch.einsum("ihc,jhc->hij", q, k) * width**-0.5 + torch.tensor(sizes).double().log()
    mixed = torch.einsum("hij,jhc->ihc", logits.softmax(-1), v).flatten(1)
    x = x + block.ls1(attention.proj(mixed))
    key = k.detach().mean(1)
    body = list(range(prefix, len(x)))
    takers, givers = body[::2], body[1::2]
    edges = []
    for i in givers:
        similar = [float(key[i] @ key[j] / (key[i].norm() * key[j].norm())) for j in takers]
        edges.append((max(similar), i, takers[similar.index(max(similar))]))
    groups = {j: [j] for j in takers}
    for _, i, j in sorted(edges, reverse=True)[:r]:
        groups[j].append(i)
    gone = {i for group in groups.values() for i in group[1:]}
    members = [[i] for i in range(prefix)] + [[i] for i in givers if i not in gone]
    members += [groups[j] for j in takers]
    new_sizes = [sum(sizes[i] for i in group) for group in members]
    x = torch.stack([
        sum((sizes[i] / total * x[i] for i in group), torch.zeros(()))
        for group, total in zip(members, new_sizes, strict=True)
    ])  # fmt: skip
    x = x + block.ls2(block.mlp(block.norm2(x)))
    return list(x), new_sizes


def reference(model: Any, image: Tensor, r: int) -> Tensor:
    """Logits, image by image."""
    prefix, rows = model.num_prefix_tokens, []
    for x in model.norm_pre(model._pos_embed(model.patch_embed(image))):
        tokens, sizes = list(x), [1.0] * len(x)
        for block in model.blocks:
            tokens, sizes = slow_block(block, tokens, sizes, r, prefix)
        normed = model.norm(torch.stack(tokens)[None])
        if model.global_pool == "avg":
            first = 0 if model.pool_include_prefix else prefix
            share = torch.tensor(sizes[first:]).double() / sum(sizes[first:])
            rows.append(model.head(model.fc_norm(share @ normed[0, first:]))[None])
        else:
            rows.append(model.forward_head(normed))
    return torch.cat(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("r", [3, 100])
def test_equals_the_slow_reference(kind: str, r: int) -> None:
    model = vit(**KINDS[kind]).double()
    expected = reference(model, images().double(), r)
    merging = merge_tokens(model, r)
    torch.testing.assert_close(merging(images().double()), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_r_zero_is_the_dense_model_bit_for_bit(kind: str) -> None:
    dense = vit(**KINDS[kind])
    merging = merge_tokens(copy.deepcopy(dense), 0)
    with torch.inference_mode():
        assert torch.equal(merging(images()), dense(images()))


@pytest.mark.parametrize(("r", "counts"), [(3, [14, 11, 8, 5]), (100, [9, 5, 3, 2])])
def test_token_counts_and_sizes(r: int, counts: list[int]) -> None:
    model = merge_tokens(vit(), r)
    states = list(model.walk(images()))
    assert [x.shape[1] for x, _ in states] == counts
    for x, sizes in states:
        assert sizes.shape == x.shape[:2]
        assert sizes.sum(dim=1).tolist() == [17.0] * 3


@pytest.mark.parametrize("kind", ["registers", "two prefix tokens"])
def test_prefix_tokens_are_never_merged(kind: str) -> None:
    model = merge_tokens(vit(**KINDS[kind]), 100)
    prefix = model.num_prefix_tokens
    assert prefix in (2, 5)
    states = list(model.walk(images()))
    for _, sizes in states:
        assert (sizes[:, :prefix] == 1).all()
    _, sizes = states[-1]
    assert sizes[:, prefix:].tolist() == [[16.0]] * 3  # 16 patches, halved four times


def test_one_merge_by_hand() -> None:
    """Set B is tokens 1, 3 and 5, set A is 2 and 4; 4 is the most similar, to 1."""
    x = torch.tensor([[[9.0], [1.0], [2.0], [4.0], [8.0], [16.0]]])
    sizes = torch.tensor([[1.0, 1.0, 2.0, 1.0, 3.0, 5.0]])
    keys = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 0.9], [5.0, 0.0], [0.1, 1.0], [-1.0, 0.0]]])
    merged, new_sizes = merge(x, sizes, keys, 1, prefix=1)
    assert merged[0, :, 0].tolist() == [9.0, 2.0, (1 + 3 * 8) / 4, 4.0, 16.0]
    assert new_sizes.tolist() == [[1.0, 2.0, 4.0, 1.0, 5.0]]
    both, _ = merge(x, sizes, keys, 2, prefix=1)
    assert both[0, :, 0].tolist() == pytest.approx([9.0, 25 / 4, (4 + 2 * 2) / 3, 16.0])


def test_merging_equal_tokens_changes_nothing() -> None:
    """The point of proportional attention: 16 equal patches weigh as 16, however merged."""
    dense = vit().double()
    nn.init.zeros_(dense.pos_embed)
    flat = images().double()[:, :, :1, :1].expand(-1, -1, 32, 32)
    merging = merge_tokens(copy.deepcopy(dense), 5)
    torch.testing.assert_close(merging(flat), dense(flat), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(merging(images().double()), dense(images().double()), rtol=1e-3)


def test_attention_stays_fused() -> None:
    """Also with the bias: a rival in speed must not pay for maps. The math kernel is forbidden."""
    model = merge_tokens(vit(), 3)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = model(images())
    torch.testing.assert_close(fused, model(images()), rtol=1e-4, atol=1e-4)


def test_half_precision_weighs_without_overflow() -> None:
    x = torch.full((1, 3, 2), 6e4, dtype=torch.float16)
    merged, _ = merge(x, torch.tensor([[1.0, 9.0, 90.0]]), torch.ones(1, 3, 2), 1, prefix=1)
    torch.testing.assert_close(merged, torch.full((1, 2, 2), 6e4, dtype=torch.float16))


def test_no_dependence_on_batch_mates() -> None:
    model = merge_tokens(vit().double(), 3)
    x = images(4).double()
    order = [2, 0, 3, 1]
    torch.testing.assert_close(model(x[order]), model(x)[order], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model(x[:1]), model(x)[:1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_those_of_the_reference(checkpointing: bool) -> None:
    model = vit(init_values=0.5, qk_norm=True).double()
    parameters = list(model.parameters())
    expected = torch.autograd.grad(
        reference(model, images(2).double(), 3).square().sum(), parameters
    )
    merging = merge_tokens(model, 3).train()
    merging.set_grad_checkpointing(checkpointing)
    found = torch.autograd.grad(merging(images(2).double()).square().sum(), parameters)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.abs().sum() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_state_dicts_are_interchangeable_and_nothing_is_added() -> None:
    dense, other = vit(0), vit(1)
    merging = merge_tokens(copy.deepcopy(other), 3)
    assert list(merging.state_dict()) == list(dense.state_dict())
    merging.load_state_dict(dense.state_dict(), strict=True)
    torch.testing.assert_close(merging(images()), merge_tokens(copy.deepcopy(dense), 3)(images()))
    dense.load_state_dict(merging.state_dict(), strict=True)


def test_compiles_without_graph_breaks_and_runs_under_autocast() -> None:
    model = merge_tokens(vit(), 3)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images()), model(images()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(images()).isfinite().all()
    assert model.bfloat16()(images().bfloat16()).dtype == torch.bfloat16


def test_closed_form_against_counted_multiplications() -> None:
    """What torch really multiplies, less the similarities, which the convention leaves out."""
    model, r = merge_tokens(vit(), 3), 3
    shape = Shape(48, 4, image_size=32, patch_size=8, classes=7)
    before = [17, 14, 11, 8]
    after = [14, 11, 8, 5]
    pairs = [((n - 1) // 2) * (n - (n - 1) // 2 - 1) for n in before]
    norms = NORM_OPERATIONS * 48 * (sum(before) + sum(after) + after[-1])
    with torch.inference_mode():
        counted = count_operations(model, images(1)).macs
    assert merged_macs(shape, r) == counted - 16 * sum(pairs) + norms
    assert merged_macs(shape, r, head=False) == merged_macs(shape, r) - 48 * 7


def test_r_8_costs_as_much_as_capacity_one_half() -> None:
    """Matrix products with the classifier, in billions, and five operations a norm's element."""
    for name, macs, width in (
        ("DeiT-Tiny", 0.9244, 192), ("DeiT-Small", 3.4165, 384), ("ViT-Base", 13.1039, 768)
    ):  # fmt: skip
        shape = SHAPES[name]
        elements = width * (sum(197 - 8 * block for block in range(12)) * 2 - 96 + 101)
        assert merged_macs(shape, 8) == pytest.approx(macs * 1e9 + 5 * elements, abs=6e4)
        assert merged_macs(shape, 0) == dense_macs(shape)
        assert equal_r(shape, 0.5) == 8
        assert equal_r(shape, 1.0) == 0


def test_what_cannot_merge_says_why() -> None:
    with pytest.raises(ValueError, match="whole number, 0 or more, got -1"):
        merge_tokens(vit(), -1)
    with pytest.raises(ValueError, match="routed or merges tokens already"):
        merge_tokens(merge_tokens(vit()))
    with pytest.raises(ValueError, match="routed or merges tokens already"):
        merge_tokens(amod.convert(vit()))
    with pytest.raises(ValueError, match="ResNet cannot merge tokens: it is no plain ViT"):
        merge_tokens(timm.create_model("resnet18"))
    for changes in ({"block_fn": timm.models.vision_transformer.ResPostBlock},
                    {"attn_layer": "diff"}):  # fmt: skip
        with pytest.raises(ValueError, match="block 0 is not timm's plain Block"):
            merge_tokens(vit(**changes))
    with pytest.raises(ValueError, match="'map' pooling"):
        merge_tokens(vit(global_pool="map"))
    merging = merge_tokens(vit())
    with pytest.raises(ValueError, match="'avgmax' pooling counts a merged token once"):
        merging.reset_classifier(3, "avgmax")
    merging.reset_classifier(3, "avg")
    assert merging(images()).shape[1] == 3
    with pytest.raises(ValueError, match="no feature maps"):
        merge_tokens(vit()).forward_intermediates(images())
