"""Pairwise covering arrays: few prompts in which every two options of two dimensions meet.

arXiv 2404.16637 combines contextual dimensions this way (so its authors' code has it); the
constructions here are ours or textbook ones. Where an orthogonal array is known, its n**2 rows are
the fewest possible; else a greedy search goes on until every pair is covered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Tables = dict[tuple[int, int], NDArray[np.bool_]]
TRIES = 20  # candidates for each row of the greedy search


def covering_array(levels: Sequence[int], seed: int = 0) -> Rows:
    """Rows (n, k) of options in which every pair of options of every two dimensions stands.

    Args:
        levels: number of options of each of the k dimensions, each at least 1.
        seed: decides the order of the rows and the greedy search.

    Returns:
        Options from 0 to levels[column] - 1. The order is random, so that the first rows of a long
        array are a fair sample of it.

    Raises:
        ValueError: no dimensions, or one without options.
    """
    if not levels or min(levels) < 1:
        raise ValueError(f"every dimension needs an option, got {list(levels)}")
    random = np.random.RandomState(seed)
    if len(levels) == 1:
        return random.permutation(levels[0])[:, None]
    found = _from_orthogonal(levels)
    if found is None or len(found) > fewest_rows(levels):
        searched = _search(np.empty((0, len(levels)), np.int64), levels, random, None)
        found = searched if found is None or len(searched) < len(found) else found
    return found[random.permutation(len(found))]


def with_rows(array: Rows, levels: Sequence[int], rows: int, seed: int = 0) -> Rows:
    """The first rows of an array, or the array and more rows that spread the pairs evenly.

    Args:
        array: (n, k), as `covering_array` makes it.
        levels: its numbers of options.
        rows: wanted, at least 1.
        seed: of the search for further rows.
    """
    if rows <= len(array) or len(levels) == 1:
        return np.resize(array, (rows, len(levels)))
    return _search(array, levels, np.random.RandomState(seed), rows)


def fewest_rows(levels: Sequence[int]) -> int:
    """The product of the two largest numbers of options: no covering array has fewer rows."""
    return math.prod(sorted(levels)[-2:])


def pairs_covered(array: Rows, levels: Sequence[int]) -> tuple[int, int]:
    """How many pairs of options stand in the rows (n, k), and how many there are."""
    several = list(combinations(range(len(levels)), 2))
    covered = sum(len(np.unique(array[:, pair], axis=0)) for pair in several)
    return covered, sum(levels[a] * levels[b] for a, b in several)


def orthogonal_array(n: int) -> Rows | None:
    """n**2 rows of 4 columns in which every pair of n options stands once; None where not known.

    Odd n: i, j, i + j, i + 2 j modulo n. n = 3 m + 1 with odd m (4, 10, 16, 22, ...): Bose,
    Shrikhande and Parker (1960), which holds the pair of orthogonal Latin squares of order 10.
    Products of such numbers: Kronecker products. There is none for 2 and 6.
    """
    if n % 2:
        i, j = np.divmod(np.arange(n * n), n)
        return np.stack((i, j, (i + j) % n, (i + 2 * j) % n), axis=1)
    if n % 6 == 4:
        return _bose_shrikhande_parker((n - 1) // 3)
    for factor in range(3, int(n**0.5) + 1):
        if n % factor == 0:
            one, other = orthogonal_array(factor), orthogonal_array(n // factor)
            if one is not None and other is not None:
                product = one[:, None] * (n // factor) + other[None]
                return product.reshape(n * n, 4)
    return None


def _bose_shrikhande_parker(m: int) -> Rows:
    """Options 0 to 2 m are numbers modulo 2 m + 1; the m others stand still while those move on."""
    modulus = 2 * m + 1
    zero, up, down = np.zeros(m, np.int64), np.arange(1, m + 1), np.arange(2 * m, m, -1)
    still = np.arange(modulus, modulus + m)
    first = np.concatenate([
        np.stack(columns, axis=1) for columns in (
            (zero, up, down, still), (up, zero, still, down),
            (down, still, zero, up), (still, down, up, zero),
        )
    ])  # fmt: skip
    moved = [np.where(first < modulus, (first + step) % modulus, first) for step in range(modulus)]
    equal = np.repeat(np.arange(modulus)[:, None], 4, axis=1)
    among = orthogonal_array(m)
    assert among is not None  # m is odd
    return np.concatenate([*moved, equal, among + modulus])


def _from_orthogonal(levels: Sequence[int]) -> Rows | None:
    """Columns of an array that is as large as the largest dimension; what is too much wraps."""
    largest, columns = max(levels), len(levels)
    if columns <= 3:  # a Latin square has three columns, and there is one of every order
        i, j = np.divmod(np.arange(largest * largest), largest)
        found = np.stack((i, j, (i + j) % largest), axis=1)
    elif columns == 4:
        known = orthogonal_array(largest)
        if known is None:
            return None
        found = known
    else:
        return None
    # A smaller dimension's options that do not exist may stand for any: each takes its turn.
    return np.unique(found[:, :columns] % np.asarray(levels), axis=0)


def _search(
    start: Rows, levels: Sequence[int], random: np.random.RandomState, rows: int | None
) -> Rows:
    """Add rows, each the best of some candidates: `rows` in all, or until all is covered."""
    found = [tuple(map(int, row)) for row in start]
    there, open_pairs = set(found), _none_covered(levels)
    for row in found:
        _cover(open_pairs, row)
    while rows is None or len(found) < rows:
        left = [pair for pair, table in open_pairs.items() if table.any()]
        if not left:
            if rows is None:
                break
            open_pairs = _none_covered(levels)  # once more round
            continue
        candidates = [_candidate(open_pairs, levels, left, random) for _ in range(TRIES)]
        fresh = [row for row in candidates if row not in there] or candidates
        found.append(max(fresh, key=lambda row: _gain(open_pairs, row)))
        there.add(found[-1])
        _cover(open_pairs, found[-1])
    return np.array(found, np.int64).reshape(-1, len(levels))


def _none_covered(levels: Sequence[int]) -> Tables:
    return {
        (a, b): np.ones((levels[a], levels[b]), bool)
        for a, b in combinations(range(len(levels)), 2)
    }


def _candidate(
    open_pairs: Tables,
    levels: Sequence[int],
    left: Sequence[tuple[int, int]],
    random: np.random.RandomState,
) -> tuple[int, ...]:
    """An open pair, and for every other column the option that covers most open pairs with it."""
    a, b = left[random.randint(len(left))]
    places = np.argwhere(open_pairs[a, b])
    row = dict(zip((a, b), map(int, places[random.randint(len(places))]), strict=True))
    for column in random.permutation([c for c in range(len(levels)) if c not in row]):
        score = np.zeros(levels[column])
        for other in range(len(levels)):
            if other == column:
                continue
            pair = (min(other, column), max(other, column))
            table = open_pairs[pair] if column < other else open_pairs[pair].T
            # Options that many open pairs wait for go first where nothing else decides.
            score += table[:, row[other]] if other in row else table.mean(axis=1) / len(levels)
        best = np.flatnonzero(score > score.max() - 1e-9)
        row[int(column)] = int(best[random.randint(len(best))])
    return tuple(row[column] for column in range(len(levels)))


def _gain(open_pairs: Tables, row: tuple[int, ...]) -> int:
    return sum(bool(table[row[a], row[b]]) for (a, b), table in open_pairs.items())


def _cover(open_pairs: Tables, row: tuple[int, ...]) -> None:
    for (a, b), table in open_pairs.items():
        table[row[a], row[b]] = False
