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

from amod.method.blocks import routed_blocks, unroute
from amod.method.flops import Shape, dense_macs, routed_macs, shape_of
from amod.method.model import check_model, convert
from amod.rivals.baselines import cut_depth, isoflop_layers
from amod.rivals.merging import equal_r, merge_tokens, merged_macs
from amod.use.weights import create_model
from repro_shared.evidence.cells import slug
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import Column, Table, write_tables
from repro_shared.runtime.checks import check_device
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.timing.bench import Bench, add_bench, bench_of, place_of, speed_table
from repro_shared.timing.calibrate import Calibration, calibrate
from repro_shared.timing.counts import count_operations

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
    check_device(device)
    machine = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    settings = {"model": model, "batch": batch, "device": device, "compiled": compiled,
                "routed_only": routed_only}  # fmt: skip
    folder = place_of(out, name_of(settings, threads, machine)) if out else None
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
    if settings.get("counted"):
        notes.append("MACs as torch counts them: matrix products, convolutions and attention.")
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
        check_model(dense)
        image = torch.randn(batch, 3, *dense.patch_embed.img_size, device=device)
        arms, counted = _arms(dense, image[:1], routed_only)
    except ValueError as error:
        raise UserError(str(error)) from error
    networks = {name: network.to(device) for name, (network, _) in arms.items()}
    if compiled:
        networks = {name: torch.compile(n) for name, n in networks.items()}  # type: ignore[misc]
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    origin = provenance(("amod", "timm"), __file__)
    say(f"{len(networks)} models of {model}, {rounds} rounds")
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
    settings |= {"counted": True} if counted else {}
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


Arms = dict[str, tuple[nn.Module, int]]


def _arms(dense: Any, image: Tensor, routed_only: bool) -> tuple[Arms, bool]:
    """Every model with its multiply-accumulates, and whether torch has counted them.

    The closed form counts plain ViTs of square pictures. Others are counted as they run, a routed
    one with fixed tokens, whose ranking costs nothing; what the closed form is needed for, and what
    a rival refuses, is left out and said.
    """

    def twin() -> Any:
        return copy.deepcopy(dense)

    scored = WithScores(twin())
    try:
        shape = None if getattr(dense, "attn_pool", None) is not None else shape_of(dense)
    except ValueError:
        shape = None
    whole = dense_macs(shape) if shape else _counted(dense, image)
    arms: Arms = {"dense": (dense, whole), "dense with scores": (scored, whole)}
    merges = not routed_only and _merges(twin(), shape)
    for capacity in CAPACITIES:
        routed, linear, fixed = (
            convert(twin(), capacity=capacity, router=router)
            for router in ("attention", "linear", FixedRouter())
        )
        if shape:
            cost, more = (routed_macs(shape, capacity, linear_router=x) for x in (False, True))
        else:
            cost, more = _counted(fixed, image), _counted(linear, image)
        arms[f"A-MoD {capacity:g}"] = routed, cost
        arms[f"linear {capacity:g}"] = linear, more
        arms[f"fixed tokens {capacity:g}"] = fixed, cost
        if routed_only:
            continue
        layers, cut, less = _cut(dense, image, shape, capacity, whole, cost)
        arms[f"{layers} layers, for {capacity:g}"] = cut, less
        if shape and merges:
            r = equal_r(shape, capacity)
            arms[f"token merging r={r}, for {capacity:g}"] = (
                merge_tokens(twin(), r),
                merged_macs(shape, r),
            )
    return arms, shape is None


def _cut(
    dense: Any, image: Tensor, shape: Shape | None, capacity: float, whole: int, cost: int
) -> tuple[int, nn.Module, int]:
    """How many layers cost most nearly what a routed model does, that model, and its count."""
    if shape:
        layers = isoflop_layers(shape, capacity)[0]
        return (
            layers,
            cut_depth(copy.deepcopy(dense), layers),
            dense_macs(replace(shape, depth=layers)),
        )
    depth = len(dense.blocks)
    block = whole - _counted(cut_depth(copy.deepcopy(dense), depth - 1), image)
    layers = max(1, depth - round((whole - cost) / block))
    cut = cut_depth(copy.deepcopy(dense), layers)
    return layers, cut, _counted(cut, image)


def _merges(model: Any, shape: Shape | None) -> bool:
    """Whether token merging can be compared; if not, why is said."""
    problem = "it is counted for plain ViTs of square pictures only"
    if shape:
        try:
            merge_tokens(model, 1)
            return True
        except ValueError as error:
            problem = str(error)
    say(f"token merging is left out: {problem}")
    return False


def _counted(network: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of one picture, as torch counts them."""
    return count_operations(network, image).macs


def _step(network: nn.Module, image: Tensor) -> Callable[[], None]:
    def step() -> None:
        network(image)

    return step
