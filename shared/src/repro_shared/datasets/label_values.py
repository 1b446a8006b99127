"""From what label maps store, numbers or colours, to classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import open_image, read_label_map, read_rgb

Colour = tuple[int, int, int]
IGNORED = 255


@dataclass(frozen=True)
class LabelValues:
    """Which stored value is which class; the others are ignored (255) or refused.

    Attributes:
        num_classes: classes 0 to num_classes - 1, at most 255.
        ignored: stored values that count as unlabelled.
        mapped: (stored value, its class or 255), where that is not the value itself.
        reduce_zero: 0 is unlabelled, and value v is class v - 1 (ADE20K's form).
        palette: for label maps in colours, the colour (R, G, B) that stands for each value.
    """

    num_classes: int
    ignored: tuple[int, ...] = (IGNORED,)
    mapped: tuple[tuple[int, int], ...] = ()
    reduce_zero: bool = False
    palette: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        count, first = self.num_classes, int(self.reduce_zero)
        if not 1 <= count <= 255:
            raise UserError(f"number of classes must be 1 to 255, got {count}")
        for value in self.ignored:
            if not count + first <= value <= 255:
                rule = f"must be above the classes {first} to {count + first - 1}, at most 255"
                raise UserError(f"ignore value {value} {rule}")
        for value, target in self.mapped:
            if not (0 <= value <= 255 and (0 <= target < count or target == IGNORED)):
                rule = f"a value 0 to 255, a class 0 to {count - 1} or 255 for unlabelled"
                raise UserError(f"map {value}={target}: must be {rule}")

    def table(self) -> NDArray[np.int16]:
        """The class of each value 0 to 255: 255 where it is ignored, -1 where it is neither."""
        first = int(self.reduce_zero)
        table = np.full(256, -1, np.int16)
        table[first : first + self.num_classes] = np.arange(self.num_classes)[: 256 - first]
        table[[*self.ignored, *range(first)]] = IGNORED
        for value, target in self.mapped:
            table[value] = target
        return table

    def key(self) -> str:
        """Text that is the same where files are read alike."""
        text = f"classes {self.num_classes} ignored {sorted(set(self.ignored))}"
        for name in ("mapped", "reduce_zero", "palette"):
            text += f" {name} {value}" if (value := getattr(self, name)) else ""
        return text

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The stored values of a label map, (H, W), or those that its colours stand for.

        Raises:
            UserError: a file that cannot be read, or a colour that is not in the palette.
        """
        if not self.palette:
            return read_label_map(path)
        rgb = read_rgb(path).astype(np.int32)
        codes = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
        known = np.array([(r << 16) | (g << 8) | b for r, g, b in self.palette], np.int32)
        order = np.argsort(known)
        place = np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)
        values = order[place]
        strange = known[values] != codes
        if strange.any():
            colour = tuple(int(c) for c in rgb[strange][0])
            count = int(strange.sum())
            raise UserError(f"{path}: colour {colour} ({count} pixels) is not in the palette")
        found: NDArray[np.uint8] = values.astype(np.uint8)
        return found

    def classes(self, values: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
        """The classes of stored values, 255 ignored; UserError for values that are neither."""
        table = self.table()
        counts = np.bincount(values.ravel(), minlength=256)
        strange = np.where(table < 0, counts, 0)
        if strange.any():
            value = int(strange.argmax())
            ignored = ", ".join(str(v) for v in np.flatnonzero(table == IGNORED)) or "none"
            first = int(self.reduce_zero)
            raise UserError(
                f"{path}: value {value} ({strange[value]} pixels) is neither a class "
                f"({first} to {self.num_classes + first - 1}) nor ignored ({ignored}): "
                "--ignore, --map or --reduce-zero-label say what it is"
            )
        found: NDArray[np.uint8] = table.astype(np.uint8)[values]
        return found


def stored_colours(path: Path, values: NDArray[np.uint8]) -> dict[int, Colour]:
    """The colours that a palette file gives the values that occur in it; {} without a palette."""
    image = open_image(path)
    if image.mode != "P":
        return {}
    flat = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = np.flatnonzero(np.bincount(values.ravel()))
    return {int(v): tuple(flat[v].tolist()) for v in used if v < len(flat)}
