"""Small zero-shot image encoders, distilled from CLIP with synthetic images (arXiv 2404.16637)."""

__version__ = "0.1.0"
METHOD_VERSION = 1

__all__ = ["METHOD_VERSION"]
