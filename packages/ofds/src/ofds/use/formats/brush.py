"""Masks as Label Studio's brush stores them: thi.ng/umbrella's rle-pack of RGBA pixels.

32 bits with the number of values, 5 with the bits of a value less 1, four times 4 with the bits of
a length less 1; then blocks: a bit that says whether one value repeats, 2 for which of the four
sizes its length less 1 has, the length less 1, and the value or values. The mask is the fourth of
every four values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZES = (3, 4, 8, 16)


def encode(mask: NDArray[Any]) -> list[int]:
    """Bytes of a mask (height, width): 255 where it is not 0."""
    flat = (mask.reshape(-1) != 0).astype(np.int8)
    start = np.flatnonzero(np.diff(flat, prepend=-1))
    lengths = np.diff(start, append=len(flat)) * 4  # red, green, blue and alpha alike
    bits = [f"{flat.size * 4:032b}{7:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for length, on in zip(lengths.tolist(), flat[start].tolist(), strict=True):
        while length:
            part = min(length, 1 << SIZES[-1])
            which = next(n for n, size in enumerate(SIZES) if part <= 1 << size)
            bits.append(f"1{which:02b}{part - 1:0{SIZES[which]}b}{255 * on:08b}")
            length -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode(data: Any, height: int, width: int) -> NDArray[np.uint8]:
    """The mask (height, width), 1 where alpha is not 0; ValueError for what is damaged."""
    try:
        packed = bytes(data)
    except (TypeError, ValueError):
        raise ValueError("damaged brush") from None
    bits = "".join(f"{byte:08b}" for byte in packed)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise ValueError("damaged brush")
        return int(bits[place - count : place], 2)

    total, depth = take(32), take(5) + 1
    if total != height * width * 4:
        raise ValueError("brush of another size than its image")
    sizes = [take(4) + 1 for _ in range(4)]
    values, filled = np.zeros(total, np.uint8), 0
    while filled < total:
        repeated, end = take(1), filled
        end += take(sizes[take(2)]) + 1
        if end > total:
            raise ValueError("damaged brush")
        if repeated:
            values[filled:end] = take(depth) > 0
        else:
            values[filled:end] = [take(depth) > 0 for _ in range(end - filled)]
        filled = end
    return values.reshape(height, width, 4)[:, :, 3]
