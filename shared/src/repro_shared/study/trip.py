"""The trip from a row of a table to its equation: recipe, stage, train step, equation.

Every hop imports the next one; `broken` finds those that do not, and a test asks it of every arm.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_shared.study.paper import Arm, Recipe, Stage

_STEP = "step"  # a stage's attribute


def steps_through(step: Callable[..., Any]) -> Callable[[Stage], Stage]:
    """Decorator of a stage: the function that does its work, such as the train step."""

    def mark(stage: Stage) -> Stage:
        setattr(stage, _STEP, step)
        return stage

    return mark


@dataclass(frozen=True)
class Hop:
    """One place on the way."""

    what: str
    target: Callable[..., Any]

    def __str__(self) -> str:
        name = self.target.__qualname__
        return f"{self.what:<10} {name}, {place(self.target)}"


def place(target: Callable[..., Any]) -> str:
    """`seg_kd/method/losses.py:93`, the package's folder first."""
    module = inspect.getmodule(target)
    file = Path(inspect.getsourcefile(target) or "")
    depth = module.__name__.count(".") + 1 if module is not None else 1
    if file.name == "__init__.py":
        depth += 1
    return f"{Path(*file.parts[-depth:])}:{inspect.getsourcelines(target)[1]}"


def trip(recipe: Recipe, arm: Arm) -> list[Hop]:
    """The hops of an arm; its config names the equations, if it has any, as `equations`."""
    hops = [Hop("recipe", recipe.make), Hop("stage", arm.run)]
    step = getattr(arm.run, _STEP, None)
    hops += [Hop("step", step)] if step is not None else []
    return hops + [Hop("equation", target) for target in getattr(arm.config, "equations", ())]


def broken(recipe: Recipe, arm: Arm) -> list[str]:
    """Hops of this arm that the one before does not import, in words."""
    found = []
    hops = trip(recipe, arm)
    if len(hops) < 3:
        found.append(f"{arm.name}: the stage {arm.run.__qualname__} names no step")
    carriers = [sys.modules[recipe.make.__module__]]
    for hop in hops[1:]:
        if not any(_knows(module, hop.target) for module in carriers):
            names = " and ".join(module.__name__ for module in carriers)
            found.append(f"{arm.name}: {names} does not import {hop.target.__qualname__}")
        own = sys.modules[hop.target.__module__]
        if hop.what == "stage":
            carriers = [own]
        elif hop.what == "step":  # an equation is called by the step, or chosen by the config
            carriers = [own, *_modules(arm.config), *carriers]
    return found


def _modules(config: Any) -> list[Any]:
    """Those of a config's class and of the dataclasses that it holds."""
    if isinstance(config, tuple):
        return [module for each in config for module in _modules(each)]
    if not dataclasses.is_dataclass(config):
        return []
    held = (getattr(config, field.name) for field in dataclasses.fields(config))
    return [sys.modules[type(config).__module__], *(m for each in held for m in _modules(each))]


def _knows(module: Any, target: Callable[..., Any]) -> bool:
    """Whether the module is the target's own, or has it, its class or its module by import."""
    names = vars(module).values()
    owner = target.__qualname__.split(".")[0]
    home = sys.modules[target.__module__]
    return module is home or any(
        value is target or value is home or value is getattr(home, owner, target) for value in names
    )
