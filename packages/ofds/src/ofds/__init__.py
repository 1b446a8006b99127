"""Choose what to annotate by objects, with every class covered, in one pass (arXiv 2412.10032)."""

from ofds.method.budget import Budget
from ofds.method.coverage import Contract, select_covering
from ofds.method.objects import Pool, make_pool
from ofds.method.room import Limits
from ofds.method.selection import Choice, Settings, select

__version__ = "0.1.0"
METHOD_VERSION = 2

__all__ = [
    "METHOD_VERSION",
    "Budget",
    "Choice",
    "Contract",
    "Limits",
    "Pool",
    "Settings",
    "make_pool",
    "select",
    "select_covering",
]
