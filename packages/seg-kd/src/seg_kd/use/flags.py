"""What a number given on the command line must be."""

from repro_shared.runtime.errors import UserError


def require(fine: bool, flag: str, needed: str, value: object) -> None:
    """UserError that names the flag, unless its value is fine."""
    if not fine:
        raise UserError(f"{flag} must be {needed}, got {value}")
