"""All rows in a small world, their costs, resuming anywhere, and that no group label is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cg_augment.method.chain import Chain
from cg_augment.method.objectives import Objective
from cg_augment.method.sampler import Sampler
from cg_augment.method.schedule import Schedule, Step
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.rivals.generating import DiffAug, FromImages, Guiding, Order
from cg_augment.study import rounds
from cg_augment.study.rounds import Place, Plan, distil
from cg_augment.study.rows import AS_CHAIN, AS_STEPWISE, IMAGES, Budget, Row, rows, run_row
from cg_augment.train import fit
from cg_augment.use.distillation import Distillation
from cg_augment.use.grouped import Grouped
from cg_augment.use.lessons import View
from repro_shared.evidence.hashing import recipe_hash
from repro_shared.runtime.errors import UserError

Make = Callable[..., Any]
BASE = Distillation(steps=1, batch_size=8, learning_rate=5e-3, view=View("shift", pixels=1))
BUDGET = Budget(first=6, further=4, per_class=3, sampler_steps=5, side=16, batch=4)
LEVELS = (0.02, 0.3, 0.6, 0.85, 0.97, 1.0)  # alpha


def schedule() -> Schedule:
    sigma = [(1 - a * a) ** 0.5 for a in LEVELS]
    return Schedule("DDIM", "sample", tuple(
        Step(float(i), LEVELS[i], sigma[i], LEVELS[i + 1], sigma[i + 1]) for i in range(5)
    ))  # fmt: skip


def sampler_of(order: Order) -> Sampler:
    """The exact denoiser of Gaussians about one gray for each class, on the scale -1 to 1."""
    spread, steps = 0.3, schedule()

    def network(x: Tensor, timestep: float, places: Tensor) -> Tensor:
        step = steps.steps[int(timestep)]
        mean = (order.labels[places].to(x) - 0.5)[:, None, None, None]
        gain = step.alpha * spread**2 / (step.alpha**2 * spread**2 + step.sigma**2)
        return mean + gain * (x - step.alpha * mean)

    origin = None if order.start is None else 2 * order.start - 1
    return Sampler(steps, network, (3, 16, 16), lambda x: (x + 1) / 2, origin=origin)


def all_rows() -> tuple[Row, ...]:
    return rows(BASE, BUDGET, Stepwise(unguided=False), Chain(rounds=2))


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_every_row_trains_at_its_cost(row: Row, classifier_of: Make, grouped_of: Make) -> None:
    whole = grouped_of((9, 7, 7, 9))
    biased = whole.without(["bar/blue", "cross/red"])
    done = run_row(
        row, lambda: classifier_of(2), classifier_of(1, 12), biased.pictures, 0, sampler_of, whole
    )
    steps = 6 if row.name == "KD" else 10
    assert done.images == 8 * steps == 8 * row.plan.steps
    assert (done.helper_steps == 6) == (row.name == "TAB") == (done.helper_seconds > 0)
    assert done.seconds == done.helper_seconds + sum(phase.seconds for phase in done.phases)
    assert bool(torch.isfinite(done.student.head.weight).all())
    if row.way is None:
        assert done.generated is None
        return
    (ledger,) = done.ledgers
    assert (ledger.asked, ledger.kept) == (6, 6)
    assert done.generated is not None
    assert done.generated.targets.tolist() == [0, 1, 0, 1, 0, 1]
    passes = {
        "DiffAug": 6, "SDEdit": 6 * 2, "unguided": 6 * 5,
        "best of 2": 6 * 5 * 2, "best of 7": 6 * 5 * 7, "best of 8": 6 * 5 * 8,
        "ConfiG, stepwise": 6 * (5 + 3), "teacher alone": 6 * 8, "student alone": 6 * 8,
    }  # fmt: skip
    if row.name in passes:
        assert ledger.forward + ledger.backward == passes[row.name]


def test_the_map_of_features_goes_from_phase_to_phase(
    classifier_of: Make, grouped_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[Any]()

    def watched(*args: Any, **more: Any) -> Any:
        begun.append(more.get("begun"))
        return fit(*args, **more)

    monkeypatch.setattr(rounds, "fit", watched)
    row = next(row for row in all_rows() if row.name == "feature KD")
    done = run_row(row, lambda: classifier_of(2), classifier_of(1, 12), grouped_of().pictures, 0)
    assert begun[0] is None
    assert begun[1] is done.phases[0].map is done.phases[1].map  # trained on, not made anew


def test_a_name_is_in_no_key() -> None:
    row = all_rows()[0]
    assert recipe_hash(replace(row, name="x", equal="y")) == recipe_hash(row)


def test_names_and_budgets_are_told() -> None:
    found = {row.name: row for row in all_rows()}
    assert len(found) == 19
    assert all(row.equal for row in found.values())
    # 5 forward and 3 backward of 1.2 are 1.7 images; 25 and 10 backward are 7.4.
    assert {name: row.equal for name, row in found.items() if name.startswith("best")} == {
        "best of 2": AS_STEPWISE, "best of 7": AS_CHAIN, "best of 8": IMAGES,
    }  # fmt: skip
    assert found["oracle"].sampling == "true groups"
    assert [name for name, row in found.items() if row.plan.steps != 10] == ["KD"]


class Poisoned:
    """Group labels that nobody may look at."""

    def _refuse(self, *_: Any) -> Any:
        raise AssertionError("a group label was read")

    __len__ = __getitem__ = __array__ = __iter__ = __eq__ = __lt__ = _refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_no_group_label_reaches_training_or_generation(
    row: Row, classifier_of: Make, grouped_of: Make
) -> None:
    """Every row but the oracle runs with labels that raise when they are touched, and ends with
    the bits that it ends with where they are sound: it could not have known them."""
    sound = grouped_of()
    poisoned = Grouped(sound.pictures, Poisoned(), sound.names)  # type: ignore[arg-type]

    def run(grouped: Grouped) -> Tensor:
        order = list[Order]()

        def watched(asked: Order) -> Sampler:
            order.append(asked)
            return sampler_of(asked)

        done = run_row(
            row, lambda: classifier_of(2), classifier_of(1, 12), grouped.pictures, 0, watched,
            grouped,
        )  # fmt: skip
        for asked in order:  # classes alone
            assert set(vars(asked)) == {"labels", "seeds", "teacher", "student", "start"}
            assert int(asked.labels.max()) < len(grouped.pictures.classes) < len(grouped.names)
        return done.student.head.weight.detach().clone()

    if row.sampling == "true groups":
        with pytest.raises(AssertionError, match="a group label was read"):
            run(poisoned)
        return
    assert torch.equal(run(poisoned), run(sound))


def test_pictures_of_training_have_no_place_for_groups(grouped_of: Make) -> None:
    left = grouped_of().without(["bar/blue"]).pictures
    assert not [name for name in dir(left) if "group" in name]
    assert not [name for name in dir(left.pictures) if "group" in name]


PLAN = Plan(replace(BASE, steps=5), replace(BASE, steps=4, generated=0.25), 2, 3, batch=4)
STEPWISE = Guiding(sampler_of, Stepwise(unguided=False), Objective("log"))


def run_plan(
    classifier_of: Make, grouped_of: Make, generator: Any = STEPWISE, plan: Plan = PLAN,
    directory: Path | None = None, identity: str = "x",
) -> Any:  # fmt: skip
    place = Place(directory=directory, identity=identity)
    pictures = grouped_of().pictures
    return distil(classifier_of(2), classifier_of(1, 12), pictures, plan, 0, generator, place)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_a_killed_row_makes_no_image_twice_and_ends_with_the_same_bits(
    call: int, tmp_path: Path, classifier_of: Make, grouped_of: Make
) -> None:
    """Killed at the generator's call of this number: each round makes two."""
    whole = run_plan(classifier_of, grouped_of)
    calls = list[int]()

    def dying(order: Order) -> Any:
        calls.append(len(calls))
        if len(calls) == call + 1:
            raise KilledError
        return STEPWISE(order)

    with pytest.raises(KilledError):
        run_plan(classifier_of, grouped_of, dying, directory=tmp_path)
    again = list[int]()

    def counted(order: Order) -> Any:
        again.append(1)
        return STEPWISE(order)

    resumed = run_plan(classifier_of, grouped_of, counted, directory=tmp_path)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, resumed.student.state_dict()[name]), name
    assert len(again) == (4 if call < 2 else 2)  # a finished round's images lie on disk
    assert resumed.ledgers[0].forward == whole.ledgers[0].forward
    third = run_plan(classifier_of, grouped_of, dying, directory=tmp_path)
    assert torch.equal(third.student.head.weight, whole.student.head.weight)


def test_images_do_not_depend_on_the_batch_of_the_generator(
    classifier_of: Make, grouped_of: Make
) -> None:
    one, other = (
        run_plan(classifier_of, grouped_of, plan=replace(PLAN, batch=batch)).generated
        for batch in (1, 6)
    )
    for index in range(len(one)):
        gap = np.abs(one.read(index).astype(int) - other.read(index).astype(int))
        assert gap.max() <= 1


def test_the_second_round_is_guided_by_the_student_of_the_first(
    classifier_of: Make, grouped_of: Make
) -> None:
    seen = list[Tensor]()

    def watched(order: Order) -> Any:
        seen.append(order.student.head.weight.detach().clone())  # type: ignore[attr-defined]
        assert not order.student.training  # type: ignore[attr-defined]
        return STEPWISE(order)

    run_plan(classifier_of, grouped_of, watched)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_images_that_failed_or_are_unsure_are_not_trained_on(
    classifier_of: Make, grouped_of: Make
) -> None:
    def broken(order: Order) -> Any:
        made = Guiding(sampler_of, Select(1), Objective("log"))(order)
        made.failed[0] = True
        made.after.teacher[1] = 0.1
        return made

    plan = replace(PLAN, rounds=1, keep=0.2, per_class=4, batch=8)
    done = run_plan(classifier_of, grouped_of, broken, plan)
    assert (done.ledgers[0].failed, done.ledgers[0].unsure, done.ledgers[0].kept) == (1, 1, 6)
    assert len(done.generated) == 6

    def lost(order: Order) -> Any:
        made = broken(order)
        made.failed |= order.labels == 1
        return made

    with pytest.raises(UserError, match="round 1 left no images of cross: 5 of 8 were not finite"):
        run_plan(classifier_of, grouped_of, lost, plan)

    def nothing(order: Order) -> Any:
        made = broken(order)
        made.failed[:], made.images = True, torch.empty(0)  # as where no image had even a shape
        return made

    with pytest.raises(UserError, match="no images of bar, cross: 8 of 8 were not finite"):
        run_plan(classifier_of, grouped_of, nothing, plan)

    first = [True]

    def first_lost(order: Order) -> Any:
        return nothing(order) if first and first.pop() else STEPWISE(order)

    done = run_plan(classifier_of, grouped_of, first_lost, replace(plan, batch=4))
    assert (done.ledgers[0].failed, len(done.generated)) == (4, 4)


def order_of(classifier_of: Make, start: bool) -> Order:
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 0, 1])
    return Order(labels, (5, 6, 7, 8), classifier_of(1).frozen(), classifier_of(2).frozen(),
                 images if start else None)  # fmt: skip


def test_rows_that_start_from_images_need_them(classifier_of: Make) -> None:
    for generator in (FromImages(sampler_of), DiffAug(sampler_of)):
        with pytest.raises(UserError, match="begins with training images"):
            generator(order_of(classifier_of, start=False))
    with pytest.raises(UserError, match=r"5 steps x strength 0\.1 leave no step"):
        FromImages(sampler_of, 0.1)(order_of(classifier_of, start=True))


def test_little_noise_keeps_the_image_and_much_loses_it(classifier_of: Make) -> None:
    order = order_of(classifier_of, start=True)
    assert order.start is not None
    gaps = [
        float((FromImages(sampler_of, s)(order).images - order.start).abs().mean())
        for s in (0.2, 0.6, 1.0)
    ]
    assert gaps[0] < gaps[1] < gaps[2]


def test_diffaug_is_one_prediction_at_a_level_of_the_seeds(classifier_of: Make) -> None:
    order = order_of(classifier_of, start=True)
    made = DiffAug(sampler_of)(order)
    assert made.forward.tolist() == [1] * 4
    alone = DiffAug(sampler_of)(replace(
        order, labels=order.labels[2:3], seeds=order.seeds[2:3],
        start=None if order.start is None else order.start[2:3],
    ))  # fmt: skip
    assert torch.allclose(made.images[2], alone.images[0], atol=1e-6)
