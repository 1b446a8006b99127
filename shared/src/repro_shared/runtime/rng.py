"""Seeds and random states: derived, captured for a resume, or isolated for one call."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

SEED_LIMIT = 2**32  # NumPy's global generator takes no larger seed


def derive_seed(*parts: int | str) -> int:
    """A seed for one purpose, from what identifies it: `derive_seed(seed, "epoch", 3)`.

    SHA-256 over an unambiguous encoding of the parts, so that it is the same on every platform
    and in every process (unlike `hash`), and related parts give unrelated seeds.

    Args:
        parts: At least one int or str; 1 and "1" differ.

    Returns:
        0 <= seed < 2**32.

    Raises:
        TypeError: No parts, or a part that is neither int nor str (bool and NumPy ints too).
    """
    if not parts:
        raise TypeError("derive_seed needs at least one part")
    digest = hashlib.sha256()
    for part in parts:
        if type(part) not in (int, str):
            raise TypeError(f"derive_seed takes int and str, not {type(part).__name__}")
        text = str(part).encode("utf-8")
        digest.update(f"{type(part).__name__}:{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest()[:4], "big")


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (CPU and every CUDA device).

    Args:
        seed: 0 <= seed < 2**32.
    """
    _seed_host(seed)
    torch.manual_seed(seed)


def capture_rng() -> dict[str, Any]:
    """The state of the global generators, for `restore_rng`.

    Returns:
        Tensors, numbers and None only, so that `torch.load(weights_only=True)` reads it. `cuda` is
        the state of this process's current device, None where CUDA was not used: asking the other
        devices would open a context on each.
    """
    version, words, gauss_next = random.getstate()
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 (augmentations draw from it)
    assert isinstance(legacy, dict)
    uses_cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss_next],
        "numpy": {
            "bit_generator": str(legacy["bit_generator"]),
            "key": torch.tensor(legacy["state"]["key"].astype(np.int64)),
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if uses_cuda else None,
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Set the global generators to a state from `capture_rng`.

    A CUDA state is left out on a machine without CUDA, and the other way round: such a resume goes
    on, and is not exact.
    """
    version, words, gauss_next = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss_next))
    numpy_state = state["numpy"]
    np.random.set_state(  # noqa: NPY002 (augmentations draw from it)
        {
            "bit_generator": numpy_state["bit_generator"],
            "state": {
                "key": numpy_state["key"].numpy().astype(np.uint32),
                "pos": numpy_state["pos"],
            },
            "has_gauss": numpy_state["has_gauss"],
            "gauss": numpy_state["gauss"],
        }
    )
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Inside, the global generators (Python, NumPy, torch CPU) start from `seed`.

    Outside they are as if nothing had happened, whatever was drawn inside: an augmentation seeded
    per index gives the same picture in every order, process and worker. CUDA is not touched.

    Args:
        seed: 0 <= seed < 2**32.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 (augmentations draw from it)
    torch_state = torch.get_rng_state()
    try:
        _seed_host(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed CUDA as well
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)


def _seed_host(seed: int) -> None:
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"seed {seed} is outside 0..{SEED_LIMIT - 1}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (augmentations draw from it)
