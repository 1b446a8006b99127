"""The paper's FLOP columns from a closed form, and that form against counted multiplications."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from importlib.resources import files

import pytest
import timm
import torch
from torch import nn

from amod.method.flops import (
    NORM_OPERATIONS,
    SHAPES,
    Shape,
    block_macs,
    dense_macs,
    embedding_macs,
    head_macs,
    routed_macs,
)
from repro_shared.evidence.cells import ReportedCell, read_cells

CELLS = {cell.id: cell for cell in read_cells(str(files("amod") / "tables" / "reported.csv"))}
LAYERS = {  # of the isoFLOP models, which the paper does not state: those that the columns imply
    "table4": {"DeiT-Tiny": 7, "DeiT-Small": 6, "ViT-Base": 6, "ViT-Large": 13},
    "table5": {"DeiT-Tiny": 9, "DeiT-Small": 9, "ViT-Base": 9, "ViT-Large": 18},
}
CAPACITY = {"table4": 0.125, "table5": 0.5}


def printed(cell: ReportedCell, macs: float, rounding: str = ROUND_HALF_UP) -> bool:
    """Whether `macs` printed with the cell's digits is the cell."""
    digits = Decimal(cell.printed)
    return (Decimal(macs) / Decimal(10**9)).quantize(digits, rounding=rounding) == digits


@pytest.mark.parametrize("table", ["table4", "table5"])
@pytest.mark.parametrize("model", SHAPES)
def test_the_24_values_of_tables_4_and_5(table: str, model: str) -> None:
    shape, capacity = SHAPES[model], CAPACITY[table]
    slug = model.lower()
    deep = Shape(shape.width, LAYERS[table][model])
    expected = {
        "isoflop": dense_macs(deep, head=False),
        "mod": routed_macs(shape, capacity, linear_router=True, head=False),
        "a-mod": routed_macs(shape, capacity, head=False),
    }
    for arm, macs in expected.items():
        assert printed(CELLS[f"{table}/{slug}-{arm}/gflops"], macs), (arm, macs)


def test_only_floor_fits_the_token_count() -> None:
    shape = SHAPES["DeiT-Small"]
    cell = CELLS["table5/deit-small-a-mod/gflops"]
    for kept, fits in ((97, False), (98, True), (99, False)):
        macs = embedding_macs(shape) + 6 * (block_macs(shape, 197) + block_macs(shape, kept))
        assert printed(cell, macs) == fits


def test_table_2_with_the_classifier_and_vit_large_at_384() -> None:
    for model, shape in SHAPES.items():
        size = 384 if model == "ViT-Large" else 224
        macs = dense_macs(Shape(shape.width, shape.depth, image_size=size))
        cell = CELLS[f"table2/{model.lower()}/gflops"]
        assert abs(macs / 1e9 - cell.value) <= 0.01, model


def test_table_1_and_7_within_one_unit_of_the_last_digit() -> None:
    for model, shape in SHAPES.items():
        for label, capacity in (("12-5", 0.125), ("50", 0.5)):
            cell = CELLS[f"table1/{model.lower()}-a-mod/gflops-at-{label}/imagenet-1k"]
            unit = 10.0 ** Decimal(cell.printed).as_tuple().exponent
            for head in (False, True):
                assert abs(routed_macs(shape, capacity, head=head) / 1e9 - cell.value) < unit
    cell = CELLS["table7/deit-small-a-mod-70/gflops/imagenet-1k"]
    macs = routed_macs(SHAPES["DeiT-Small"], 0.7)
    assert macs == pytest.approx(3.878e9, rel=1e-3)
    assert printed(cell, macs, ROUND_DOWN)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_small_patch16_224", "vit_base_patch16_384"]
)
def test_closed_form_equals_multiplications_counted_in_timm(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
        image = torch.zeros(1, 3, *model.patch_embed.img_size)
        counted = count(model, image)
    shape = Shape(model.embed_dim, len(model.blocks), image_size=image.shape[-1])
    assert dense_macs(shape) == counted


def count(model: nn.Module, image: torch.Tensor) -> int:
    """Independent count: hooks on layers, attention maps from the tensors they multiply."""
    total = 0

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.Conv2d):
            total += output.numel() * module.in_channels * module.kernel_size[0] ** 2
        elif isinstance(module, nn.LayerNorm):
            total += NORM_OPERATIONS * output.numel()
        elif type(module).__name__ == "Attention":
            batch, tokens, width = inputs[0].shape
            query = torch.zeros(batch, module.num_heads, tokens, width // module.num_heads)
            logits = query @ query.transpose(-2, -1)
            total += 2 * logits.numel() * query.shape[-1]

    for module in model.modules():
        module.register_forward_hook(hook)
    model(image)
    return total


def test_parts_and_ceilings() -> None:
    shape = SHAPES["DeiT-Small"]
    assert dense_macs(shape) - dense_macs(shape, head=False) == head_macs(shape) == 384_000
    assert routed_macs(shape, 1.0) == dense_macs(shape)
    assert dense_macs(shape) / routed_macs(shape, 0.5) == pytest.approx(1.35, abs=0.005)
    assert dense_macs(shape) / routed_macs(shape, 0.125) == pytest.approx(1.78, abs=0.005)
    with pytest.raises(ValueError, match="capacity must be above 0"):
        routed_macs(shape, 0)
