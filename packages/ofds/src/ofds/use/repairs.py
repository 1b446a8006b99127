"""What was put right or left out while reading: every thing has a reason, a count, an example."""

from __future__ import annotations

from dataclasses import dataclass, field

from repro_shared.runtime.errors import one_line


@dataclass
class Repairs:
    """Counts of what was put right or left out, by reason.

    Attributes:
        found: from the reason to how often, and an example: the first in alphabetical order, so
            that the order of the input does not show.
    """

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, example: str, count: int = 1) -> None:
        """Book something that was put right or left out."""
        before, known = self.found.get(reason, (0, example))
        self.found[reason] = (before + count, min(known, example))

    def count(self, reason: str) -> int:
        """How often that was needed."""
        return self.found.get(reason, (0, ""))[0]

    def rows(self) -> list[dict[str, str | int]]:
        """One entry a reason, in alphabetical order, for JSON."""
        return [
            {"reason": reason, "count": count, "example": example}
            for reason, (count, example) in sorted(self.found.items())
        ]

    def lines(self) -> list[str]:
        """The same as text."""
        return [
            one_line(f"{r['count']} x {r['reason']}, such as {r['example']}") for r in self.rows()
        ]
