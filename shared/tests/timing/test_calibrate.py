"""Ratios survive a machine that slows down, and neighbours that disturb each other."""

import dataclasses
import json
import platform
import time
from collections.abc import Callable

import pytest

from repro_shared.runtime.errors import UserError
from repro_shared.timing.calibrate import Calibration, calibrate, drift

COSTS = {"ce": 0.5, "logit": 1.0, "feature": 1.25}


class Machine:
    """A fake clock that steps advance, in a machine with the given vices."""

    def __init__(
        self,
        slowdown: Callable[[float], float] = lambda _: 1.0,
        carry_over: dict[str, float] | None = None,
    ) -> None:
        self.now = 0.0
        self.last: str | None = None
        self.calls: list[str] = []
        self._slowdown = slowdown
        self._carry_over = carry_over or {}

    def clock(self) -> float:
        return self.now

    def cpu_clock(self) -> float:
        return 2 * self.now

    def steps(self, costs: dict[str, float]) -> dict[str, Callable[[], None]]:
        def step(name: str) -> None:
            other = self.last is not None and self.last != name
            extra = self._carry_over.get(self.last or "", 0.0) if other else 0.0
            self.now += (costs[name] + extra) * self._slowdown(self.now)
            self.last = name
            self.calls.append(name)

        return {name: lambda name=name: step(name) for name in costs}  # type: ignore[misc]


def measured(machine: Machine, costs: dict[str, float] = COSTS, **options: int) -> Calibration:
    return calibrate(
        machine.steps(costs), clock=machine.clock, cpu_clock=machine.cpu_clock, **options
    )


def test_steady_machine_is_exact() -> None:
    calibration = measured(Machine(), rounds=6)
    assert calibration.seconds == {name: pytest.approx([cost] * 6) for name, cost in COSTS.items()}
    assert calibration.cpu_seconds["feature"] == pytest.approx([2.5] * 6)
    assert calibration.median("feature") == pytest.approx(1.25)
    assert calibration.ratios("logit") == pytest.approx(COSTS)
    assert calibration.ratio("logit", "logit") == 1.0
    assert calibration.spread("ce", "logit") == pytest.approx((0.5, 0.5))


def test_progress_is_told_between_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    measured(Machine(), rounds=4)
    assert "timing, warm-up and rounds of each arm: 15/15" in capsys.readouterr().err


def test_slowing_machine() -> None:
    """Three times slower in the end: one arm after the other would be wrong by far more."""
    rounds = 30
    total = 2 * rounds * sum(COSTS.values())
    machine = Machine(slowdown=lambda now: 1 + 2 * now / total)
    calibration = measured(machine, rounds=rounds, warmup=0)
    assert calibration.ratios("logit") == pytest.approx(COSTS, rel=0.03)
    assert calibration.seconds["logit"][-1] > 2 * calibration.seconds["logit"][0]


def test_pauses_of_the_machine() -> None:
    """Every third second it is twice as slow."""
    machine = Machine(slowdown=lambda now: 2.0 if int(now) % 3 == 0 else 1.0)
    assert measured(machine, rounds=60).ratios("logit") == pytest.approx(COSTS, rel=0.05)


def test_neighbours_do_not_count() -> None:
    """An arm that empties the caches slows whatever follows it, except a step of its own."""
    machine = Machine(carry_over={"feature": 0.4})
    assert measured(machine, rounds=6).ratios("logit") == pytest.approx(COSTS)
    without = measured(Machine(carry_over={"feature": 0.4}), rounds=6, lead_in=0)
    assert max(without.seconds["ce"]) == pytest.approx(0.9)


def test_spread_is_of_paired_rounds() -> None:
    """Both arms slow down together: the medians vary, the paired ratios do not."""
    machine = Machine(slowdown=lambda now: 1 + now / 100)
    low, high = measured(machine, rounds=30).spread("feature", "logit")
    assert low == pytest.approx(1.25, rel=0.05)
    assert high == pytest.approx(1.25, rel=0.05)


def test_order_of_calls() -> None:
    machine = Machine()
    measured(machine, rounds=3, warmup=2, lead_in=0)
    assert machine.calls[:6] == ["ce", "ce", "logit", "logit", "feature", "feature"]
    assert machine.calls[6:] == [
        "ce", "logit", "feature",
        "logit", "feature", "ce",
        "feature", "ce", "logit",
    ]  # fmt: skip


def test_real_clocks() -> None:
    calibration = calibrate(
        {"short": lambda: time.sleep(0.002), "long": lambda: time.sleep(0.012)},
        warmup=0,
        rounds=5,
        lead_in=0,
    )
    assert calibration.ratio("long", "short") > 1.5
    assert sum(calibration.cpu_seconds["long"]) < sum(calibration.seconds["long"])


def test_machine_names_no_host() -> None:
    calibration = measured(Machine(), rounds=1)
    assert set(calibration.machine) <= {"cpu", "torch", "gpu"}
    assert calibration.machine["cpu"]
    assert calibration.threads >= 1
    assert not platform.node() or platform.node() not in str(calibration.to_dict())


def test_dictionary_round_trip_through_json() -> None:
    calibration = measured(Machine(), rounds=3)
    values = json.loads(json.dumps(calibration.to_dict()))
    assert Calibration.from_dict(values) == calibration


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": 4},
        {"seconds": {}},
        {"seconds": {"ce": [1.0, 1.0, 1.0]}},
        {"seconds": None},
        {"seconds": {"ce": [1.0, "x", 1.0], "logit": [1.0] * 3, "feature": [1.0] * 3}},
        {"seconds": {"ce": [1.0, 0.0, 1.0], "logit": [1.0] * 3, "feature": [1.0] * 3}},
        {"surprise": 1},
    ],
)
def test_damaged_dictionary(change: dict[str, object]) -> None:
    values = {**measured(Machine(), rounds=3).to_dict(), **change}
    with pytest.raises(UserError, match="calibrate again"):
        Calibration.from_dict(values)
    with pytest.raises(UserError, match="calibrate again"):
        Calibration.from_dict({})


def test_drift() -> None:
    first = measured(Machine(), rounds=4)
    second = measured(Machine(), {"ce": 1.2, "logit": 2.0, "feature": 2.5}, rounds=4)
    # Everything became twice as slow: only ce's share grew, by a fifth.
    assert drift(first, second, "logit") == pytest.approx({"ce": 0.2, "logit": 0, "feature": 0})
    fewer = dataclasses.replace(second, seconds={"logit": second.seconds["logit"]})
    with pytest.raises(UserError, match="different arms"):
        drift(first, fewer, "logit")


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warmup": -1}, {"lead_in": -1}])
def test_nothing_to_time(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="at least one arm and one round"):
        measured(Machine(), **options)
    with pytest.raises(UserError, match="at least one arm"):
        calibrate({})
