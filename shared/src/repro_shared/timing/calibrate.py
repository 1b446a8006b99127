"""What one training step of each method costs, relative to the others, in one process.

A shared machine changes speed by the minute, so that seconds taken one method after the other
compare the minutes. Here the methods take turns, one whole timed step each, in an order that
rotates every round; only ratios of medians go into a plan.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from repro_shared.runtime.errors import UserError
from repro_shared.timing.machine import describe_machine, synchronize


@dataclass(frozen=True)
class Calibration:
    """Raw step times; round r of every arm was taken within the same few steps.

    Attributes:
        seconds: Wall-clock seconds per step, by arm, one per round.
        cpu_seconds: CPU seconds of the whole process per step, likewise; far above or below
            `seconds` x threads in one arm only, it shows waiting or a disturbed round.
        rounds: Steps timed per arm.
        warmup: Steps per arm before all others, not timed.
        lead_in: Steps of the same arm right before each timed one, not timed.
        threads: torch's intra-operator threads.
        machine: CPU model, GPU if one was used, torch version; no names of hosts or users.
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
        return statistics.median(self._steps(name))

    def ratio(self, name: str, reference: str) -> float:
        """median(name) / median(reference): what a plan uses."""
        return self.median(name) / self.median(reference)

    def ratios(self, reference: str) -> dict[str, float]:
        """`ratio` of every arm; exactly 1 for the reference."""
        return {name: self.ratio(name, reference) for name in self.seconds}

    def spread(self, name: str, reference: str) -> tuple[float, float]:
        """10 % and 90 % points of the ratios taken round by round: how sure `ratio` is."""
        pairs = zip(self._steps(name), self._steps(reference), strict=True)
        ratios = torch.tensor([mine / other for mine, other in pairs], dtype=torch.float64)
        low, high = torch.quantile(ratios, torch.tensor([0.1, 0.9], dtype=torch.float64)).tolist()
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """The inverse of `to_dict`.

        Raises:
            UserError: Fields are missing, unknown or of the wrong form.
        """
        try:
            calibration = cls(**values)
            arms = [*calibration.seconds.values(), *calibration.cpu_seconds.values()]
            sound = (
                len(calibration.seconds) > 0
                and calibration.seconds.keys() == calibration.cpu_seconds.keys()
                and all(len(steps) == calibration.rounds for steps in arms)
                and all(second > 0 for steps in calibration.seconds.values() for second in steps)
            )
        except (TypeError, AttributeError):
            sound = False
        if not sound:
            raise UserError("the calibration is damaged or of another version; calibrate again")
        return calibration

    def _steps(self, name: str) -> list[float]:
        if name not in self.seconds:
            raise UserError(
                f"no arm {name!r} in this calibration (it has {', '.join(self.seconds)}); "
                "calibrate again"
            )
        return self.seconds[name]


def calibrate(
    steps: dict[str, Callable[[], None]],
    warmup: int = 5,
    rounds: int = 30,
    lead_in: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> Calibration:
    """Time whole training steps of several arms, taking turns.

    In every round each arm makes one timed step, and the arm that goes first in one round goes last
    in the next. Before it is timed an arm makes `lead_in` steps: in training a step follows a step
    of the same method, whose data are still in the caches, not one of another method.

    Args:
        steps: One whole step by arm name: data, teacher, student, loss, backward, optimiser.
        warmup: Steps per arm before the first round (allocator, autotuning, worker start).
        rounds: Timed rounds, best a multiple of the number of arms.
        lead_in: Untimed steps of an arm before each timed one; 0 halves the time and compares arms
            in each other's caches.
        clock: Wall clock in seconds.
        cpu_clock: CPU seconds of this process.

    Raises:
        UserError: No arm or no round.
    """
    if not steps or rounds < 1 or warmup < 0 or lead_in < 0:
        raise UserError("calibration needs at least one arm and one round; raise the rounds")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(warmup):
            step()
    for round_index in range(rounds):
        for name in round_order(list(steps), round_index):
            for _ in range(lead_in):
                steps[name]()
            synchronize()
            cpu_start, start = cpu_clock(), clock()
            steps[name]()
            synchronize()
            seconds[name].append(clock() - start)
            cpu_seconds[name].append(cpu_clock() - cpu_start)
    threads, machine = torch.get_num_threads(), describe_machine()
    return Calibration(seconds, cpu_seconds, rounds, warmup, lead_in, threads, machine)


def round_order(names: list[str], round_index: int) -> list[str]:
    """The order of the arms in one round: rotated by one place from round to round."""
    shift = round_index % len(names)
    return names[shift:] + names[:shift]


def drift(first: Calibration, second: Calibration, reference: str) -> dict[str, float]:
    """Relative change of each arm's ratio to the reference: 0.1 if it grew by 10 %.

    Raises:
        UserError: The calibrations have different arms.
    """
    if first.seconds.keys() != second.seconds.keys():
        raise UserError("the two calibrations have different arms; calibrate again")
    return {
        name: second.ratio(name, reference) / first.ratio(name, reference) - 1.0
        for name in first.seconds
    }
