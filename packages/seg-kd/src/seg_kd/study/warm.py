"""The arms of the regime: one warm start a seed, kept teacher outputs, and what goes on from them.

All functions return arms; the recipes (`regime.py`) put them together and give the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from repro_shared.study.paper import Arm
from seg_kd.method.objectives import PLAIN, Objective
from seg_kd.study import stages
from seg_kd.study.calibration import REFERENCE
from seg_kd.study.configs import Cache, Match, Student
from seg_kd.study.settled import DEFAULT_RATE, TRIED

OUTPUTS = ("logits", "pre-classifier")  # that the canonical objectives and most rivals read


@dataclass(frozen=True)
class Ground:
    """What all arms of a seed stand on.

    Attributes:
        like: what all students share; its objective is plain.
        teacher: which they learn from.
        warm: the plain start.
        kept: the teacher's outputs; c4: a further one, for the objectives that read it.
        rates: the learning rate of an objective, by name.
    """

    like: Student
    teacher: Arm
    warm: Arm
    kept: Arm
    c4: Arm
    rates: dict[str, float]

    def arms(self, objectives: Iterable[Objective]) -> tuple[Arm, ...]:
        """Teacher, start and what these objectives read, in the order in which they are made."""
        further = (self.c4,) if any(map(reads_c4, objectives)) else ()
        return (self.teacher, self.warm, self.kept, *further)

    def rated(self, student: Student) -> Student:
        """With the learning rate that its objective's best try had."""
        rate = self.rates.get(student.objective.name, DEFAULT_RATE)
        return replace(student, optimiser=replace(student.optimiser, learning_rate=rate))

    def learns(self, objective: Objective, match: Match, budget: int) -> Arm:
        """A student of one objective at one budget, from the warm start."""
        words = "equal time" if match == "time" else "equal iterations"
        config = replace(self.like, objective=objective, match=match, budget=budget)
        taught = [self.teacher, self.kept] if objective.needs_teacher else []
        taught += [self.c4] if reads_c4(objective) else []
        return Arm(
            f"{objective.name}, {words}, {budget}",
            self.rated(config),
            stages.student,
            starts_from=(self.warm, *taught),
        )


def reads_c4(objective: Objective) -> bool:
    """Whether a term reads the backbone's last map."""
    return any(getattr(term, "layer", "") == "c4" for term in objective.terms)


def warm_start(like: Student, iterations: int, labels: float = 1.0, seed: int | None = None) -> Arm:
    """Plain training to its plateau, on views that are always drawn anew."""
    config = replace(like, role="warm start", match="iterations", budget=iterations, labels=labels,
                     iterations=iterations, views=0)  # fmt: skip
    few = f", {100 * labels:g} % of the labels" if labels < 1 else ""
    return Arm(f"plain to its plateau{few}", config, stages.student, seed=seed)


def kept_outputs(teacher: Arm, like: Student, grid: tuple[int, int], names: Iterable[str]) -> Arm:
    """The teacher's outputs for the fixed views, one cache for all seeds."""
    config = Cache(like.view, like.views, tuple(names), grid)
    return Arm("teacher's outputs", config, stages.cache, starts_from=(teacher,), seed=teacher.seed)


def kept_c4(teacher: Arm, like: Student, grid: tuple[int, int]) -> Arm:
    """The teacher's last map of the backbone: several times as many channels as all the others."""
    made = kept_outputs(teacher, like, grid, ("c4",))
    return replace(made, name="teacher's last map")


def lengths(like: Student, several: Iterable[int], seed: int) -> tuple[Arm, ...]:
    """Plain students of several lengths: where is the plateau?"""
    found = (warm_start(like, n, seed=seed) for n in several)
    return tuple(
        replace(arm, name=f"plain, {arm.config.iterations} iterations",
                config=replace(arm.config, role="length"))
        for arm in found
    )  # fmt: skip


def at_plateau(tried: tuple[Arm, ...], teacher: Arm) -> Arm:
    """The student of the length that `plateau_of` takes, if the teacher is accepted beside it."""
    config = replace(tried[0].config, role="warm start", budget=0, iterations=0)
    starts = (*tried, teacher)
    return Arm("plain to its plateau", config, stages.at_plateau, starts, seed=tried[0].seed)


def compared(
    ground: Ground,
    objectives: tuple[Objective, ...],
    budgets: tuple[int, ...],
    equal_iterations: int,
    longer: tuple[int, ...] = (),
    extended: tuple[str, ...] = (),
) -> tuple[Arm, ...]:
    """Every objective at equal time, at one budget at equal iterations, and some for longer.

    Args:
        ground: what they stand on.
        objectives: the first is plain.
        budgets: of time, in iterations of the reference.
        equal_iterations: the budget at which all also run for as many iterations; 0 for none.
        longer: further budgets of time, of the `extended` objectives only.
        extended: names of objectives; plain training, whose steps are many, at the last one only.
    """
    arms = [ground.learns(each, "time", budget) for budget in budgets for each in objectives]
    arms += [
        ground.learns(each, "iterations", equal_iterations)
        for each in objectives
        if equal_iterations and each.name != REFERENCE  # its arm at equal time is the same
    ]
    arms += [
        ground.learns(each, "time", budget)
        for budget in longer
        for each in objectives
        if each.name in extended and (each.needs_teacher or budget == longer[-1])
    ]
    return tuple(arms)


def controls(ground: Ground, canonical: Objective, budget: int, plateau: int) -> tuple[Arm, ...]:
    """Positive: a tenth of the labels, all images taught. Negative: another image's outputs.

    The start of the positive one is half as long: it sees each of its few images five times as
    often as the other does.
    """
    few = replace(warm_start(ground.like, plateau // 2, labels=0.1), control=True)
    scarce = replace(ground, warm=few, like=replace(ground.like, labels=0.1))
    found = [few]
    for each in (PLAIN, canonical):
        arm = scarce.learns(each, "time", budget)
        found.append(replace(arm, name=f"{each.name}, 10 % of the labels, equal time, {budget}"))
    wrong = replace(ground, like=replace(ground.like, teaching="another image"))
    arm = wrong.learns(canonical, "time", budget)
    found.append(replace(arm, name=f"{canonical.name}, another image's outputs, {budget}"))
    return tuple(replace(arm, control=True) for arm in found)


def cold(ground: Ground, objectives: Iterable[Objective], budget: int) -> tuple[Arm, ...]:
    """From random weights at the warm start's rate: does the warm start decide the outcome?"""
    found = []
    for each in objectives:
        arm = ground.learns(each, "time", budget)
        config = replace(arm.config, role="cold start", optimiser=ground.like.optimiser)
        starts = tuple(start for start in arm.starts_from if start != ground.warm)
        name = f"{each.name}, from random weights, equal time, {budget}"
        found.append(replace(arm, name=name, config=config, starts_from=starts, control=True))
    return tuple(found)


def tries(
    ground: Ground, objectives: Iterable[Objective], budget: int, where: str, seed: int
) -> dict[str, tuple[Arm, ...]]:
    """The four tries of each objective's learning rate, by its name, on tuning data."""
    found = {}
    for each in objectives:
        arm = ground.learns(each, "iterations", budget)
        config = replace(arm.config, role="try", iterations=budget)
        found[each.name] = tuple(
            replace(
                arm,
                name=f"{where}: {each.name}, rate {rate:g}",
                config=replace(config, optimiser=replace(config.optimiser, learning_rate=rate)),
                seed=seed,
            )
            for rate in TRIED
        )
    return found


def screened(
    ground: Ground, backbone: Arm, objectives: Iterable[Objective], iterations: int, seed: int
) -> tuple[Arm, ...]:
    """Heads on a frozen backbone: four tries of each objective, then the best rate on all seeds.

    Tries are half as long.
    """
    found: list[Arm] = []
    for objective in objectives:
        tried = tries(ground, (objective,), iterations // 2, "screen", seed)[objective.name]
        tried = tuple(replace(t, starts_from=(*t.starts_from, backbone)) for t in tried)
        arm = ground.learns(objective, "iterations", iterations)
        config = replace(arm.config, iterations=iterations)
        starts = (*arm.starts_from, backbone, *tried)
        found += [*tried, replace(arm, name=f"screen: {objective.name}", config=config,
                                  starts_from=starts)]  # fmt: skip
    return tuple(found)


def kept_backbone(warm: Arm, like: Student) -> Arm:
    """What the warm start's backbone gives for the fixed views."""
    config = Cache(like.view, like.views, ("stages",))
    return Arm("backbone's outputs", config, stages.cache, starts_from=(warm,), seed=warm.seed)
