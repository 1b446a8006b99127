"""pytest plugin: `--device cpu|cuda`, the fixture `device`, and the rule for the marker `cuda`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="device of the tests; those marked `cuda` run with --device cuda only",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") == "cuda":
        for item in items:  # so that `-m cuda` chooses all that runs on the GPU
            if "device" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.cuda)
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="needs `make test DEVICE=cuda`"))


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--device") == "cuda":
        import torch  # not for the default: collecting a single test stays quick

        if not torch.cuda.is_available():
            raise pytest.UsageError("--device cuda, but torch finds no CUDA device")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device of this run, `cpu` or `cuda`."""
    return str(request.config.getoption("--device"))
