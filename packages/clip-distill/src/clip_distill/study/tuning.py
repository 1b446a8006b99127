"""The tuning of losses: as many tries for each, on seeds that no final run has.

A study `..._tuning` makes every try on seed 100; `clip-distill freeze` writes down the two best
ones of each loss; `..._tuning_again` makes these on further seeds; `freeze` writes down the best
mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clip_distill.study import photographs_recipes as photographs
from clip_distill.study import recipes, stages
from clip_distill.study.arms import FEATURE, FEW, LENGTHS, RATE, Lengths, tuning_ground
from clip_distill.study.objects import World
from clip_distill.study.photographs import Photographs
from clip_distill.study.recipes import DIGITS, OBJECTS
from clip_distill.study.rendered import Digits, Objects
from clip_distill.study.scoring import SEEN
from clip_distill.study.stages import VIEWS, Cached
from clip_distill.study.tables import tag
from clip_distill.study.tuned import Tries, Try, shortlist, waiting
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Scale, Study
from repro_shared.study.protocols import DataSource
from repro_shared.study.results import Results

TEMPERATURES = (0.01, 0.03, 0.1, 0.3, 1.0)
RATES = (5e-4, RATE)  # the authors' own, and four times as much
OF_L2 = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 4e-3, 8e-3, 1.6e-2)
"""Rates of L2, which has no temperature: as many tries."""
FEWER_OF_L2 = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)  # the same where the others have one rate
FIRST = (100,)  # seeds of all tries
PHOTOGRAPHS = photographs.NAME


def tries(loss: str, rates: tuple[float, ...]) -> tuple[Try, ...]:
    """All of a loss: ten where there are two rates, five where there is one."""
    if loss == FEATURE:
        return tuple(Try(None, rate) for rate in (OF_L2 if len(rates) > 1 else FEWER_OF_L2))
    return tuple(Try(tau, rate) for rate in rates for tau in TEMPERATURES)


@dataclass(frozen=True)
class Tuning:
    """How the losses of a final study are tuned.

    Attributes:
        name: of the final study.
        losses: by group, "confounding 1" and so on.
        opened: data by confounding, for smoke runs or not.
        lengths: of both stages.
        rates: that each temperature is tried at.
        further: seeds of the best tries, besides the first.
    """

    name: str
    losses: Mapping[str, tuple[str, ...]]
    opened: Callable[[bool, float], DataSource]
    lengths: Lengths = LENGTHS
    rates: tuple[float, ...] = RATES
    further: tuple[int, ...] = (101, 102)

    def first(self, scale: Scale) -> Study:
        """All tries, on one seed."""
        smoke = scale == "smoke"
        several = {
            group: {loss: tries(loss, self.rates)[: 1 if smoke else None] for loss in losses}
            for group, losses in self.losses.items()
        }
        return self._study(f"{self.name}{'_smoke' * smoke}_tuning", scale, several, FIRST)

    def again(self, best: Mapping[str, Tries]) -> Study:
        """The best tries, on further seeds."""
        lacking = [loss for group, losses in self.losses.items() for loss in losses
                   if loss not in best.get(group, {})]  # fmt: skip
        several = {
            group: {
                loss: best.get(group, {}).get(loss, tries(loss, self.rates)[:2]) for loss in losses
            }
            for group, losses in self.losses.items()
        }
        steps = f"tune first: --table {self.name}_tuning, freeze"
        needs = f"the two best tries of {lacking[0]} ({steps})" if lacking else ""
        return self._study(f"{self.name}_tuning_again", "cpu", several, self.further, needs)

    def _study(
        self, name: str, scale: Scale, several: Mapping[str, Tries], seeds: tuple[int, ...],
        needs: str = "",
    ) -> Study:  # fmt: skip
        smoke, arms, starts = scale == "smoke", list[Arm](), tuple[Arm, ...]()
        on, views, shared = tuning_ground(smoke, self.lengths), VIEWS, None
        if self.name == PHOTOGRAPHS:  # no generic ones, and the same pictures for every seed
            views, shared = photographs.VIEWS, 0
        else:
            generic, first = on.first_stage()
            arms, starts = [generic, first], (first,)
        for group, losses in several.items():
            data = waiting(self.opened(smoke, float(group.split()[-1])), needs)
            config = Cached("synthetic", views)
            cache = Arm(f"cache, {group}", config, stages.cached, (), data, seed=shared)
            arms.append(cache)
            arms += [on.tried(named(loss, one, group), loss, one, (cache, *starts), data)
                     for loss, each in losses.items() for one in each]  # fmt: skip
        data = waiting(self.opened(smoke, 1.0), needs)
        return Study(name, scale, data, tuple(arms), seeds, tables=(by_try,))


def named(loss: str, one: Try, group: str) -> str:
    """The name of a try's arm."""
    return f"{loss} at {one}, {group}"


def by_try(results: Results) -> Table:
    """Accuracy on real images of each try."""
    rows, shown = list[tuple[Cell, ...]](), list[str]()
    for arm in results.study.arms:
        loss, at, setting = arm.name.partition(" at ")
        if at:
            values = results.values(arm, SEEN)
            rows.append((loss, setting, sum(values) / len(values) if values else None, len(values)))
            shown.append(arm.id)
    columns = (Column("loss"), Column("setting"), Column("accuracy on real images", "%", 1),
               Column("seeds", "", 0))  # fmt: skip
    notes = (
        "Images of classes with synthetic ones, named among these classes; means over seeds. No "
        "final run has these seeds.",
        *results.notes,
    )
    return Table(f"tuning-{tag(results)}", f"{results.study.name}: tries", columns, tuple(rows),
                 notes, tuple(shown))  # fmt: skip


def _objects(smoke: bool, confounding: float) -> DataSource:
    world = FEW if smoke else World()
    return Objects(replace(world, confounding=confounding), "rendered-objects")


def _digits(smoke: bool, confounding: float) -> DataSource:
    few: dict[str, Any] = recipes.FEW_DIGITS if smoke else {}
    return Digits(confounding, "digits", **few)


def _photographs(smoke: bool, confounding: float) -> DataSource:
    few: dict[str, Any] = photographs.FEW if smoke else {}
    return Photographs(confounding, tuning=True, **few)


TUNINGS = {
    OBJECTS: Tuning(OBJECTS, recipes.TUNED[OBJECTS], _objects),
    DIGITS: Tuning(DIGITS, recipes.TUNED[DIGITS], _digits, rates=(RATE,)),
    PHOTOGRAPHS: Tuning(PHOTOGRAPHS, photographs.TUNED, _photographs, photographs.HALF, (RATE,),
                        (101,)),
}  # fmt: skip


def _again(name: str) -> Study:
    tuning = TUNINGS[name]
    return tuning.again({group: shortlist(name, group) for group in tuning.losses})


def confounded_objects_tuning(scale: Scale) -> Study:
    """Ten tries of every loss at confounding 1, and of four at 0, from stage 1.

    Cells: none. Cost: about fifty minutes. Deviations: real images of a tuning seed choose, which
    no user without images could do.
    """
    return TUNINGS[OBJECTS].first(scale)


def confounded_objects_tuning_again(scale: Scale) -> Study:
    """The two best tries of each loss on two further seeds; the best mean of all three is chosen.

    Cells: none. Cost: about twenty-five minutes. Deviations: as above.
    """
    return _again(OBJECTS)


def coarse_digits_tuning(scale: Scale) -> Study:
    """Five tries of four losses, from stage 1.

    Cells: none. Cost: about ten minutes. Deviations: as of the objects.
    """
    return TUNINGS[DIGITS].first(scale)


def coarse_digits_tuning_again(scale: Scale) -> Study:
    """The two best tries of each loss on two further seeds; the best mean of all three is chosen.

    Cells: none. Cost: about ten minutes. Deviations: as above.
    """
    return _again(DIGITS)


def confounded_photographs_tuning(scale: Scale) -> Study:
    """Five tries of four losses at confounding 1 and at 0, half as long as final runs.

    Cells: none. Cost: about an hour. Deviations: as of the objects; scored on further training
    photographs.
    """
    return TUNINGS[PHOTOGRAPHS].first(scale)


def confounded_photographs_tuning_again(scale: Scale) -> Study:
    """The two best tries of each loss on one further seed; the best mean of both is chosen.

    Cells: none. Cost: about half an hour. Deviations: as above.
    """
    return _again(PHOTOGRAPHS)
