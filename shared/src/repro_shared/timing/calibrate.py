"""What one training step of each method costs, and what that gives it at equal wall-clock time.

A shared machine changes speed by the minute, so the methods take turns in one process, one whole
timed step each; only ratios of medians go into a plan.
"""

import math
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress

# 3 x 0.1 / 0.1 is a hair below 3 in floating point; one part in 10**9 of a step is not a step.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Calibration:
    """Wall-clock and CPU seconds of steps by arm; round r of all was taken within a few steps.

    CPU seconds far from seconds x threads in one arm only show waiting or a disturbed round.
    """

    seconds: dict[str, list[float]]
    cpu_seconds: dict[str, list[float]]
    rounds: int
    warmup: int
    lead_in: int
    threads: int
    machine: dict[str, str]

    def median(self, name: str) -> float:
        """Median wall-clock seconds of a step."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, reference: str) -> float:
        """median(name) / median(reference): what a plan uses."""
        return self.median(name) / self.median(reference)

    def ratios(self, reference: str) -> dict[str, float]:
        """`ratio` of every arm; exactly 1 for the reference."""
        return {name: self.ratio(name, reference) for name in self.seconds}

    def spread(self, name: str, reference: str) -> tuple[float, float]:
        """10 % and 90 % points of the ratios taken round by round: how sure `ratio` is."""
        ratios = np.divide(self.seconds[name], self.seconds[reference])
        low, high = np.quantile(ratios, (0.1, 0.9)).tolist()
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """The inverse of `to_dict`; UserError for missing, unknown or malformed fields."""
        try:
            calibration = cls(**values)
            arms = [*calibration.seconds.values(), *calibration.cpu_seconds.values()]
            if (
                calibration.seconds
                and calibration.seconds.keys() == calibration.cpu_seconds.keys()
                and all(len(steps) == calibration.rounds for steps in arms)
                and all(min(steps) > 0 for steps in calibration.seconds.values())
            ):
                return calibration
        except (TypeError, AttributeError, ValueError):
            pass
        raise UserError("the calibration is damaged or of another version; calibrate again")


def calibrate(
    steps: dict[str, Callable[[], None]],
    warmup: int = 5,
    rounds: int = 30,
    lead_in: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> Calibration:
    """Time whole training steps (data to optimiser) of several arms, by name, taking turns.

    `warmup` untimed steps per arm come before all others (allocator, autotuning, worker start), and
    `lead_in` of the same arm before each of the timed `rounds`, so that its data are in the caches.
    Each round begins with another arm.
    """
    if not steps or rounds < 1 or warmup < 0 or lead_in < 0:
        raise UserError("calibration needs at least one arm and one round; raise the rounds")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in steps}
    with Progress((1 + rounds) * len(steps), "timing, warm-up and rounds of each arm") as progress:
        for done, step in enumerate(steps.values(), start=1):
            for _ in range(warmup):
                step()
            progress.update(done)
        for done in range(rounds):
            first = done % len(steps)
            for name in (*list(steps)[first:], *list(steps)[:first]):
                for _ in range(lead_in):
                    steps[name]()
                _wait_for_gpu()
                cpu_start, start = cpu_clock(), clock()
                steps[name]()
                _wait_for_gpu()
                seconds[name].append(clock() - start)
                cpu_seconds[name].append(cpu_clock() - cpu_start)
            progress.update((2 + done) * len(steps))
    machine = {"cpu": cpu_model(), "torch": torch.__version__}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        machine["gpu"] = torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return Calibration(seconds, cpu_seconds, rounds, warmup, lead_in, threads, machine)


def drift(first: Calibration, second: Calibration, reference: str) -> dict[str, float]:
    """Relative change of each arm's ratio to the reference; UserError if the arms differ."""
    if first.seconds.keys() != second.seconds.keys():
        raise UserError("the two calibrations have different arms; calibrate again")
    before, after = first.ratios(reference), second.ratios(reference)
    return {name: after[name] / before[name] - 1.0 for name in before}


def plan_iterations(
    ratios: dict[str, float], reference: str, reference_iterations: int
) -> dict[str, int]:
    """Iterations by method, >= 1, at equal wall-clock time, each for a complete schedule (ours).

    B = I_ref x c_ref and I_m = floor(B / c_m), with costs relative to the reference's step. A
    longer schedule stopped at time B would punish a slow method twice: its rate never decays.
    UserError for impossible costs and a budget below one iteration.
    """
    if reference not in ratios:
        raise UserError(f"no cost for the reference {reference!r}; calibrate it with the others")
    budget = reference_iterations * ratios[reference]
    return {name: _whole_steps(budget, ratio, name) for name, ratio in ratios.items()}


def iterations_for_budget(budget_seconds: float, seconds_per_step: float) -> int:
    """floor(budget / median step), whole steps that fit a budget; UserError if that is below 1."""
    return _whole_steps(budget_seconds, seconds_per_step, "a step")


def _whole_steps(budget: float, cost: float, name: str) -> int:
    if not (0 < budget < math.inf and 0 < cost < math.inf):
        problem = f"{name} costs {cost} of a budget of {budget}"
        raise UserError(f"{problem}; these must be positive numbers: raise them or calibrate again")
    steps = math.floor(budget / cost * (1 + _ROUNDING))
    if steps < 1:
        times = f"{cost / budget:.2f} times the budget"
        raise UserError(
            f"too short for one iteration of {name}: it costs {times}; raise the budget"
        )
    return steps


def cpu_model() -> str:
    """The processor's name, or at least its architecture."""
    name, cpuinfo = "", Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
        name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    elif platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return name.strip() or platform.processor() or platform.machine()


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()  # so that a clock read next includes the work handed to it
