"""What a user types about guidance, as an engine and an objective."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from cg_augment.method.chain import Chain
from cg_augment.method.objectives import Form, Objective, Parts
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.method.views import Views
from repro_shared.runtime.errors import UserError

Name = Literal["stepwise", "chain", "select"]
_FLAGS: dict[str, tuple[str, ...]] = {
    "stepwise": ("scale", "share", "jacobian", "views"),
    "chain": ("rounds", "learning_rate", "jacobian", "views"),
    "select": ("candidates",),
}
# Of stepwise: what the rule kept on images of the studies, where a scale of 1 moved little.
_DEFAULTS: dict[str, Chain | Stepwise | Select] = {
    "stepwise": Stepwise(scale=10.0, share=1.0, views=Views(4)),
    "chain": Chain(),
    "select": Select(),
}


def engine_of(name: Name, **given: Any) -> Chain | Stepwise | Select:
    """An engine with its own settings; None leaves its default.

    Raises:
        UserError: a setting of another engine, or one that cannot be.
    """
    asked = {flag: value for flag, value in given.items() if value is not None}
    if other := [flag for flag in asked if flag not in _FLAGS[name]]:
        whose = [each for each, flags in _FLAGS.items() if other[0] in flags]
        flag = other[0].replace("_", "-")
        raise UserError(f"--{flag} is for --engine {' or '.join(whose)}, not for {name}")
    if "views" in asked:
        asked["views"] = Views(asked["views"])
    engine = _DEFAULTS[name]
    return replace(engine, **asked)


def objective_of(
    form: Form, gamma: float, parts: Parts | None, teacher: bool, student: bool
) -> Objective:
    """Of both classifiers where both are given, else of the one that is.

    Raises:
        UserError: neither, or a part of a classifier that is not given.
    """
    if not teacher and not student:
        raise UserError("nobody to guide: give --teacher, --student or both")
    there: Parts = "both" if teacher and student else "teacher" if teacher else "student"
    wanted = parts or there
    for who, given in (("teacher", teacher), ("student", student)):
        if wanted in (who, "both") and not given:
            raise UserError(f"--parts {wanted} needs --{who}")
    return Objective(form, gamma, wanted)
