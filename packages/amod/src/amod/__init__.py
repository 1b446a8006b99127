"""Mixture-of-Depths for timm ViTs, routed by the previous layer's attention (arXiv 2412.20875)."""

from amod.model import Routing, convert, set_capacity

__version__ = "0.1.0"
METHOD_VERSION = 1

__all__ = ["METHOD_VERSION", "Routing", "convert", "set_capacity"]
