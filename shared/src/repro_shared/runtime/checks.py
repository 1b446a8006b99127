"""Settings that every command line refuses alike."""

from repro_shared.runtime.errors import UserError


def require(fine: bool, flag: str, needed: str, value: object) -> None:
    """UserError that names the flag, unless its value is fine."""
    if not fine:
        raise UserError(f"{flag} must be {needed}, got {value}")


def check_device(device: str) -> None:
    """UserError unless this machine has the device."""
    import torch  # takes seconds: not for commands without a device

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable CUDA device; use --device cpu")


def check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds; UserError unless they are distinct and not negative."""
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError(f"seeds must be distinct and not negative, got {' '.join(map(str, seeds))}")
    return seeds
