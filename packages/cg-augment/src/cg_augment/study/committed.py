"""Small diffusion models that come along, or that an arm has trained: what rows draw from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cg_augment.method.sampler import Sampler
from cg_augment.rivals.generating import Order
from cg_augment.study.generator import Network, folded, scheduler, unfolded
from cg_augment.use.networks import by_class
from cg_augment.use.schedules import read_schedule
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights

FOLDER = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class Committed:
    """A diffusion model that comes along.

    Attributes:
        name: of its file below `weights/`.
        sha256: of the file; "" for one that is trained first.
        network: its size.
        steps: of DDIM that samplers make.
    """

    name: str
    sha256: str
    network: Network
    steps: int

    @property
    def file(self) -> Path:
        """Where it lies."""
        return FOLDER / f"{self.name}.safetensors"

    def load(self, given: Path | None = None) -> Any:
        """The network in evaluation mode, or that of another file.

        Raises:
            UserError: no such file, or another one than was committed.
        """
        path = given or self.file
        if given is None and (not path.is_file() or sha256_file(path) != self.sha256):
            raise UserError(f"{path} is missing or damaged: restore it, or use --retrain")
        network = self.network.make()
        state = {name: value.float() for name, value in read_weights(path).items()}
        load_strictly(network, state, str(path))
        return network.eval().requires_grad_(False)


def sampler_of(network: Any, steps: int, device: str = "cpu") -> Callable[[Order], Sampler]:
    """What rows take their images from; the network is moved to the device."""
    schedule = read_schedule(scheduler(), steps)
    network.to(device)
    side, channels = int(network.config.sample_size), int(network.config.in_channels)

    def made(order: Order) -> Sampler:
        origin = None if order.start is None else folded(order.start).to(device)
        own = by_class(network, order.labels)
        return Sampler(
            schedule, own, (channels, side, side), unfolded, origin=origin, modules=(network,),
            device=device,
        )  # fmt: skip

    return made
