"""seg-kd: distillation for semantic segmentation at equal wall-clock time (arXiv 2604.25530)."""

__version__ = "0.1.0"

# Raised when a change alters results; records of another version are shown as stale.
METHOD_VERSION = 1
