"""`amod bench`: routed models and rivals against timm's dense one, interleaved in one process.

Everything is in inference mode, with random weights and the same head; either all models are
compiled or none. The ceiling is the ratio of multiply-accumulates: what a model would gain if all
operations cost the same and the routing nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from amod.method.flops import dense_macs, routed_macs, shape_of
from amod.method.blocks import routed_blocks, unroute
from amod.method.model import convert
from amod.rivals.baselines import cut_depth, isoflop_layers
from amod.rivals.merging import equal_r, merge_tokens, merged_macs
from amod.use.weights import create_model
from repro_shared.evidence.cells import slug
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import Column, Table, write_tables
from repro_shared.runtime.checks import check_device
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir
from repro_shared.timing.bench import Bench, add_bench, bench_of, speed_table
from repro_shared.timing.calibrate import Calibration, calibrate

CAPACITIES = (0.5, 0.125)
COMPARED = ("A-MoD", "linear", "fixed tokens")
THREADS = 2  # of a bench on the CPU, unless it is said


def command(
    *,
    model: str = "deit_small_patch16_224",
    batch: int = 8,
    rounds: int = 15,
    compiled: bool = False,
    routed_only: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int = THREADS,
    out: str | None = None,
) -> None:
    """Speed of routed against dense models as ratios, interleaved, beside the ceiling by FLOPs.

    Args:
        model: a timm model name; weights are random.
        batch: images a step.
        rounds: timed rounds.
        compiled: run all models through torch.compile.
        routed_only: leave out depth-cut models and token merging.
        device: cpu or cuda.
        threads: of torch on the CPU.
        out: keep the times of all rounds below this folder, and the table.
    """
    folder = ensure_output_dir(out) if out else None
    made = bench(model, batch, rounds, device, compiled, routed_only, threads)
    print(table(made).to_terminal())
    if folder is not None:
        add_bench(folder, made)
        write_tables(folder / "tables", [table(made)])


def name_of(settings: dict[str, Any], threads: int, machine: dict[str, str]) -> str:
    """`deit-small-patch16-224-batch-8`, with what was special, and the GPU if there was one."""
    parts = [settings["model"], f"batch {settings['batch']}"]
    parts += ["routed only"] if settings["routed_only"] else []
    parts += ["compiled"] if settings["compiled"] else []
    on_cpu = settings["device"] == "cpu"
    parts += [f"threads {threads}"] if on_cpu and threads != THREADS else []
    parts += [] if on_cpu else [machine.get("gpu", settings["device"])]
    return slug(" ".join(parts))


def table(made: Bench) -> Table:
    """Speed over the dense model, beside the ceiling; UserError where models are missing."""
    settings, capacities = made.settings, made.settings.get("capacities", [])
    wanted = {"dense"} | {f"{rival} {c:g}" for c in capacities for rival in COMPARED}
    if not wanted <= made.macs.keys():
        raise UserError(f"the bench {made.name} is damaged: models are missing")
    how = "all compiled" if settings["compiled"] else "none compiled"
    notes = [
        f"Random weights, float32, inference mode, {how}.",
        "Fixed tokens: the same ones in every picture, no scores; what packing alone reaches.",
    ]
    show = Column("", "", 3).show
    for c in capacities:
        ratios = {rival: made.ratio(f"{rival} {c:g}", f"A-MoD {c:g}") for rival in COMPARED[1:]}
        parts = [f"over {rival} {show(ratio, '')}" for rival, ratio in ratios.items()]
        notes.append(f"Speed of A-MoD at {c:g}: {', '.join(parts)}.")
    title = f"{settings['model']}, batch {settings['batch']}, {how}"
    return speed_table(made, "dense", f"{title}: images per second over the dense model's", notes)


class WithScores(nn.Module):
    """The dense model, with the scores that a routed one would compute, and nothing done with them.

    Shows what scoring costs: all blocks see all tokens.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = convert(model)
        for block in routed_blocks(self.model).values():
            unroute(block)  # the attention before it still votes

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes)."""
        logits: Tensor = self.model(image)
        return logits


class FixedRouter(nn.Module):
    """Ranks tokens by their position: what packing alone reaches, where no scores are computed."""

    needs_scores = False
    gated = False

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, None]:
        """The same ranking for every picture."""
        return torch.arange(x.shape[1], device=x.device).expand(len(x), -1), None


def bench(
    model: str,
    batch: int,
    rounds: int,
    device: str = "cpu",
    compiled: bool = False,
    routed_only: bool = False,
    threads: int = THREADS,
    **changes: Any,
) -> Bench:
    """Time the forward pass of the dense model, of routed ones and of their rivals.

    Arguments as of `command`; `changes` are settings for `timm.create_model`, e.g. a smaller width.

    Raises:
        UserError: unknown model, one that cannot be routed, or no such device.
    """
    check_device(device)
    if min(batch, rounds, threads) < 1:
        raise UserError(f"batch {batch}, rounds {rounds}, threads {threads} must be at least 1")
    dense = create_model(model, **changes).to(device)
    try:
        arms = _arms(dense, routed_only)
    except ValueError as error:
        raise UserError(str(error)) from error
    image = torch.randn(batch, 3, *dense.patch_embed.img_size, device=device)
    networks = {name: network.to(device) for name, (network, _) in arms.items()}
    if compiled:
        networks = {name: torch.compile(n) for name, n in networks.items()}  # type: ignore[misc]
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    origin = provenance(("amod", "timm"), __file__)
    try:
        with torch.inference_mode():
            seconds = calibrate(
                {name: _step(network, image) for name, network in networks.items()},
                warmup=3,
                rounds=rounds,
            )
    finally:
        torch.set_num_threads(usual)
    settings = {
        "model": model, "batch": batch, "device": device, "compiled": compiled,
        "routed_only": routed_only, "capacities": list(CAPACITIES),
    }  # fmt: skip
    return as_bench(settings, seconds, {name: macs for name, (_, macs) in arms.items()}, origin)


def as_bench(
    settings: dict[str, Any],
    seconds: Calibration,
    macs: dict[str, int],
    origin: dict[str, Any],
    **further: Any,
) -> Bench:
    """What was timed, under its name."""
    name = name_of(settings, seconds.threads, seconds.machine)
    return bench_of(name, seconds, origin, macs, **further, **settings)


def _arms(dense: Any, routed_only: bool) -> dict[str, tuple[nn.Module, int]]:
    """Every model with its multiply-accumulates."""

    def twin() -> Any:
        return copy.deepcopy(dense)

    scored = WithScores(twin())  # refuses what cannot be routed
    shape = shape_of(dense)
    arms: dict[str, tuple[nn.Module, int]] = {
        "dense": (dense, dense_macs(shape)),
        "dense with scores": (scored, dense_macs(shape)),
    }
    for capacity in CAPACITIES:
        cost, linear = (routed_macs(shape, capacity, linear_router=x) for x in (False, True))
        arms[f"A-MoD {capacity:g}"] = convert(twin(), capacity=capacity), cost
        arms[f"linear {capacity:g}"] = convert(twin(), capacity=capacity, router="linear"), linear
        fixed = convert(twin(), capacity=capacity, router=FixedRouter())
        arms[f"fixed tokens {capacity:g}"] = fixed, cost
        if routed_only:
            continue
        layers = isoflop_layers(shape, capacity)[0]
        cut = cut_depth(twin(), layers)
        arms[f"{layers} layers, for {capacity:g}"] = cut, dense_macs(replace(shape, depth=layers))
        r = equal_r(shape, capacity)
        arms[f"token merging r={r}, for {capacity:g}"] = (
            merge_tokens(twin(), r),
            merged_macs(shape, r),
        )
    return arms


def _step(network: nn.Module, image: Tensor) -> Callable[[], None]:
    def step() -> None:
        network(image)

    return step
