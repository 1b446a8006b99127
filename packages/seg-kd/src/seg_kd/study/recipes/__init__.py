"""The recipes, by the scales at which they exist."""

from __future__ import annotations

from repro_shared.runtime.errors import UserError
from seg_kd.study.recipes.base import SCALES, Recipe, Scale
from seg_kd.study.recipes.equal_time import (
    equal_time_camvid,
    equal_time_cityscapes,
    equal_time_digits,
)
from seg_kd.study.recipes.tuning import equal_time_camvid_tuning, equal_time_digits_tuning

FUNCTIONS = {
    "equal_time_digits": (equal_time_digits, ("smoke", "cpu")),
    "equal_time_camvid": (equal_time_camvid, ("smoke", "cpu")),
    "equal_time_cityscapes": (equal_time_cityscapes, ("paper",)),
    "equal_time_digits_tuning": (equal_time_digits_tuning, ("cpu",)),
    "equal_time_camvid_tuning": (equal_time_camvid_tuning, ("cpu",)),
}
DEFAULT: dict[str, str] = {
    "smoke": "equal_time_digits",
    "cpu": "equal_time_digits",
    "paper": "equal_time_cityscapes",
}


def find_recipe(name: str, scale: str) -> Recipe:
    """The recipe `name` at `scale`; an empty name means the scale's default.

    Raises:
        UserError: unknown recipe or scale, or a recipe that has no such scale.
    """
    if scale not in SCALES:
        raise UserError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    name = name or DEFAULT[scale]
    if name not in FUNCTIONS:
        raise UserError(f"unknown recipe {name!r}: choose one of {', '.join(FUNCTIONS)}")
    function, scales = FUNCTIONS[name]
    if scale not in scales:
        raise UserError(f"{name} exists at scale {' and '.join(scales)}, not at {scale}")
    return function(scale)


__all__ = ["FUNCTIONS", "Recipe", "Scale", "find_recipe"]
