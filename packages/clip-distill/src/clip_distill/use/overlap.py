"""Pictures that two sets share: the same to the pixel, or nearly, whatever their files' names.

Nearly the same are pictures whose perceptual hashes differ in few bits and whose small copies
agree: saved anew, resized, a little brighter or mirrored, but not cut or greyed. The hash is the
usual one of the signs of a cosine transform: 64 low frequencies of a grey copy of 32 x 32 pixels,
each above or below their median.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Pixels
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress, say

BITS = 10  # of 64 that may differ
AGREE = 0.95  # least correlation of the small copies
SMALL = 16  # pixels of their sides
_TILE = 2048


@dataclass(frozen=True)
class Pair:
    """A picture of one set that is in another, too.

    Attributes:
        one, other: ids of the samples.
        kind: "same", "alike" or "mirrored".
        bits: of the hashes that differ.
        correlation: of the small copies.
    """

    one: str
    other: str
    kind: str
    bits: int
    correlation: float


@dataclass(frozen=True)
class Signatures:
    """What pictures are compared by.

    Attributes:
        ids: of the samples.
        exact: SHA-256 of size and pixels.
        hashes: (n, 2) uint64, of the picture and of its mirror image.
        small: (n, SMALL, SMALL, 3) uint8, copies of less than a kilobyte.
    """

    ids: tuple[str, ...]
    exact: tuple[bytes, ...]
    hashes: NDArray[np.uint64]
    small: NDArray[np.uint8]


def perceptual_hash(picture: Pixels) -> int:
    """64 bits of a picture (h, w, 3); pictures that look alike differ in few of them."""
    grey = Image.fromarray(picture).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, np.float64), norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def signatures(pictures: Pictures) -> Signatures:
    """Of all pictures, each read once."""
    exact, hashes = list[bytes](), list[tuple[int, int]]()
    small = np.empty((len(pictures), SMALL, SMALL, 3), np.uint8)
    with Progress(len(pictures), f"pictures of {pictures.where} compared") as progress:
        for index in range(len(pictures)):
            picture = pictures.read(index)
            whole = repr(picture.shape).encode() + picture.tobytes()
            exact.append(hashlib.sha256(whole).digest())
            flipped = np.ascontiguousarray(picture[:, ::-1])
            hashes.append((perceptual_hash(picture), perceptual_hash(flipped)))
            small[index] = _small(picture)
            progress.update(index + 1)
    return Signatures(tuple(pictures.ids), tuple(exact), np.array(hashes, np.uint64), small)


def pairs(one: Signatures, other: Signatures, near: bool = True) -> list[Pair]:
    """Of each picture of the other set its first exact copy in the one, else its likest there.

    Args:
        one, other: the sets.
        near: look for pictures that are nearly the same, too.
    """
    places = dict[bytes, int]()
    for place, digest in enumerate(one.exact):
        places.setdefault(digest, place)
    same = {
        index: Pair(one.ids[places[digest]], other.ids[index], "same", 0, 1.0)
        for index, digest in enumerate(other.exact)
        if digest in places
    }
    alike = dict[int, Pair]()
    for pair, index in _near(one, other) if near else ():
        if index not in same and (
            index not in alike or pair.correlation > alike[index].correlation
        ):
            alike[index] = pair
    return [found for _, found in sorted({**alike, **same}.items())]


def _near(one: Signatures, other: Signatures) -> Iterator[tuple[Pair, int]]:
    for kind, hashes, small in (
        ("alike", other.hashes[:, 0], other.small),
        ("mirrored", other.hashes[:, 1], other.small[:, :, ::-1]),
    ):
        for start in range(0, len(one.ids), _TILE):
            mine = one.hashes[start : start + _TILE, 0]
            for begin in range(0, len(other.ids), _TILE):
                distance = np.bitwise_count(mine[:, None] ^ hashes[None, begin : begin + _TILE])
                for row, column in zip(*np.nonzero(distance <= BITS), strict=True):
                    place, index = start + int(row), begin + int(column)
                    correlation = float(_unit(one.small[place]) @ _unit(small[index]))
                    if correlation >= AGREE:
                        bits = int(distance[row, column])
                        yield Pair(one.ids[place], other.ids[index], kind, bits, correlation), index


def check_overlap(pictures: Pictures, test: Pictures, allowed: bool) -> list[tuple[str, str, str]]:
    """Test images among training images: training id, test id and kind of each.

    Those that are nearly the same are said and kept, not refused: two photographs of one scene, or
    two plain ones, may look alike.

    Raises:
        UserError: one is the same to the pixel, unless that is allowed.
    """
    found = pairs(signatures(pictures), signatures(test))
    same, near = ([p for p in found if (p.kind == "same") is exact] for exact in (True, False))
    if near:
        first = near[0]
        say(
            f"{len(near)} test images are nearly the same as training images, such as "
            f"{first.other} and {first.one} ({first.kind}): recorded; `overlap` lists them"
        )
    if same:
        said = (
            f"{len(same)} test images are among the training images, such as {same[0].other} = "
            f"{same[0].one}"
        )
        if not allowed:
            raise UserError(f"{said}; remove them, or take --allow-overlap")
        say(f"{said}: recorded")
    return [(pair.one, pair.other, pair.kind) for pair in found]


def _small(picture: Pixels) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((SMALL, SMALL), Image.Resampling.BOX))


def _unit(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    flat = small.astype(np.float32).ravel()
    flat = flat - flat.mean()
    length = float(np.linalg.norm(flat))
    return flat / length if length > 0 else flat
