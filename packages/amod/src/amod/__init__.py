"""Mixture-of-Depths for timm ViTs, routed by the previous layer's attention (arXiv 2412.20875)."""

from amod.method.model import PRESETS, Routing, convert, revert, set_capacity
from amod.use import registry as registry  # timm learns the routed models' names

__version__ = "0.1.0"
METHOD_VERSION = 1

__all__ = ["METHOD_VERSION", "PRESETS", "Routing", "convert", "revert", "set_capacity"]
