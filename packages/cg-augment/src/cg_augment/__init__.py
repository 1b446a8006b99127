"""Confidence-guided diffusion images for distillation under covariate shift (arXiv 2506.02294)."""

__version__ = "0.1.0"
METHOD_VERSION = 2

__all__ = ["METHOD_VERSION"]
