"""The Triton kernel against explicit attention in float64: interpreted here, compiled on CUDA."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amod.method import kernels
from amod.method.kernels import attention_with_scores
from amod.method.routing import select

CASES = {  # (B, H, N, D), type, allowed error of the output
    "a ViT's tokens": ((1, 2, 197, 64), torch.float32, 1e-5),
    "just above a tile": ((2, 3, 65, 16), torch.float32, 1e-5),
    "the longest": ((1, 1, 256, 32), torch.float32, 1e-5),
    "odd heads": ((2, 2, 50, 24), torch.float32, 1e-5),
    "smaller than any tile": ((3, 2, 5, 8), torch.float32, 1e-5),
    "half": ((1, 2, 70, 48), torch.float16, 2e-3),
    "bfloat16": ((1, 2, 70, 80), torch.bfloat16, 2e-2),
}
INTERPRET = """
import sys, torch
from amod.method.kernels import attention_with_scores
inputs = torch.load(sys.argv[1])
torch.save({name: attention_with_scores(*tensors) for name, tensors in inputs.items()}, sys.argv[2])
"""


def inputs(name: str, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor, float]:
    """Strided as in timm: query, key and value are views of one projection."""
    (batch, heads, tokens, width), dtype, _ = CASES[name]
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(batch, tokens, 3, heads, width, generator=generator)
    query, key, value = projected.to(device, dtype).permute(2, 0, 3, 1, 4).unbind()
    assert not query.is_contiguous()
    return query, key, value, width**-0.5


def check(name: str, output: Tensor, scores: Tensor) -> None:
    """Against float64, from the inputs as they were rounded."""
    query, key, value, scale = inputs(name)
    maps = (query.double() @ key.double().transpose(-2, -1) * scale).softmax(dim=-1)
    expected = maps.mean(dim=(1, 2))
    _, dtype, tolerance = CASES[name]
    assert output.dtype == dtype
    assert scores.dtype == torch.float32
    torch.testing.assert_close(
        output.double().cpu(), maps @ value.double(), rtol=tolerance, atol=tolerance
    )
    torch.testing.assert_close(scores.double().cpu(), expected, rtol=0, atol=1e-6)
    kept = scores.shape[1] // 2
    assert torch.equal(select(scores.cpu(), kept), select(expected, kept))


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tensor, Tensor]]:
    """All cases in one process of their own: Triton reads TRITON_INTERPRET when it is imported."""
    pytest.importorskip("triton")
    folder: Path = tmp_path_factory.mktemp("kernel")
    cases = {name: inputs(name) for name in CASES}
    query, key, value, scale = cases["odd heads"]
    cases["last dimension strided"] = (query.mT.contiguous().mT, key, value, scale)
    torch.save(cases, folder / "inputs")
    command = [sys.executable, "-c", INTERPRET, str(folder / "inputs"), str(folder / "outputs")]
    subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, check=True, timeout=120)
    found: dict[str, tuple[Tensor, Tensor]] = torch.load(folder / "outputs")
    return found


@pytest.mark.parametrize("name", CASES)
def test_interpreted(name: str, interpreted: dict[str, tuple[Tensor, Tensor]]) -> None:
    check(name, *interpreted[name])


def test_layouts(interpreted: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Any strides give the same bits; the projection behind attention reads without a copy."""
    plain, strided = interpreted["odd heads"], interpreted["last dimension strided"]
    assert torch.equal(plain[0], strided[0])
    assert torch.equal(plain[1], strided[1])
    assert plain[0].transpose(1, 2).is_contiguous()


@pytest.mark.parametrize(("dtype", "width"), [("fp32", 64), ("bf16", 128)])
def test_compiles_without_a_gpu(
    dtype: str, width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For Ampere, within the shared memory of its smaller cards: 99 KiB a block."""
    pytest.importorskip("triton")
    import triton
    from triton.backends.compiler import GPUTarget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, _ = kernels._kernel()
    torch_type = torch.float32 if dtype == "fp32" else torch.bfloat16
    tiles, warps = kernels._tiles(197, width, torch_type)
    constants = {**tiles, "widen": False}
    signature = dict.fromkeys(kernel.arg_names, "i32")
    signature |= dict.fromkeys(("query", "key", "value", "output"), f"*{dtype}")
    signature |= {"received": "*fp32", "scale": "fp32"} | dict.fromkeys(constants, "constexpr")
    compiled = triton.compile(
        triton.compiler.ASTSource(kernel, signature, constants),
        target=GPUTarget("cuda", 80, 32),
        options={"num_warps": warps},
    )
    assert "mma.sync" in compiled.asm["ptx"]
    assert compiled.metadata.shared <= 99 * 1024


@pytest.mark.cuda
@pytest.mark.parametrize("name", CASES)
def test_cuda(name: str) -> None:
    first, second = (attention_with_scores(*inputs(name, "cuda")) for _ in range(2))
    check(name, *first)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_what_the_kernel_does_not_take() -> None:
    pytest.importorskip("triton")

    def attend(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> None:
        x = torch.zeros(shape, dtype=dtype, requires_grad=grad)
        attention_with_scores(x, x, x, 1.0)

    for shape in ((1, 1, 257, 64), (1, 1, 16, 129)):
        with pytest.raises(ValueError, match="up to 256 tokens and 128 channels"):
            attend(*shape)
    with pytest.raises(ValueError, match=r"\(B, H, N, D\) of one shape, got \(1, 16, 64\)"):
        attend(1, 16, 64)
    with pytest.raises(ValueError, match="float64"):
        attend(1, 1, 16, 64, dtype=torch.float64)
    with pytest.raises(ValueError, match="no backward pass"):
        attend(1, 1, 16, 64, grad=True)
    with torch.no_grad(), pytest.raises(ValueError, match="runs on CUDA"):
        attend(1, 1, 16, 64, grad=True)


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    kernels._kernel.cache_clear()
    with pytest.raises(ImportError, match="needs Triton"):
        attention_with_scores(*inputs("odd heads"))
