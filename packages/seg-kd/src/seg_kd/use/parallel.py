"""One training in several processes, as torchrun starts them: the one loop under DDP.

Every process has a share of each batch, which is the batch that one process alone would have, and
DDP averages the gradients. Batch norm is synchronised on CUDA; on the CPU, for which torch has no
such layer, each process normalises its own share, and running statistics are averaged at the end.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from repro_shared.runtime.errors import UserError

WRAPPER = {"type": "Parallel", "find_unused_parameters": True}
# Before a step no buffer is sent: batch norm's are synchronised or averaged, and queues, which may
# be large, are filled alike. torch has renamed the setting.
_RENAMED = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
NOT_SENT = {"forward_sync_buffers" if _RENAMED else "broadcast_buffers": False}


@MODEL_WRAPPERS.register_module()
class Parallel(MMDistributedDataParallel):
    """mmengine's DDP around a `Distiller`, whose own step it makes.

    Args:
        module: the distiller.
        device_ids: mmengine's, which a module on the CPU must not have.
        settings: of torch's wrapper.
    """

    def __init__(self, module: nn.Module, device_ids: list[int], **settings: Any) -> None:
        on_cpu = next(module.parameters()).device.type == "cpu"
        devices = None if on_cpu else device_ids
        super().__init__(module, device_ids=devices, **NOT_SENT, **settings)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """See `Distiller.step_through`."""
        found: dict[str, Tensor] = self.module.step_through(self, data, optim_wrapper)
        return found


def group() -> tuple[int, int]:
    """Rank and number of the processes that train together; (0, 1) for one alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_first() -> bool:
    """Whether this process writes what is to last."""
    return group()[0] == 0


def check_share(batch_size: int) -> None:
    """UserError for a batch whose shares are too small, or not of one size."""
    _, world = group()
    if batch_size % world:
        raise UserError(f"--batch-size {batch_size} does not divide over {world} processes")
    if world > 1 and batch_size // world < 2 and dist.get_backend() == "gloo":
        raise UserError(
            f"--batch-size {batch_size} leaves each of {world} processes one image, and batch norm "
            f"on the CPU needs two: give at least {2 * world}"
        )


def averaged(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers by name, each the mean over all processes."""
    _, world = group()
    if world == 1:
        return dict(parts)
    row = torch.stack([value.detach().float() for value in parts.values()])
    dist.all_reduce(row)
    return dict(zip(parts, (row / world).unbind(), strict=True))


def of_all(own: list[str]) -> list[str]:
    """Texts of all processes, the first one's first."""
    _, world = group()
    if world == 1:
        return own
    lists: list[list[str]] = [[] for _ in range(world)]
    dist.all_gather_object(lists, own)
    return [text for each in lists for text in each]


def synchronised(model: nn.Module) -> nn.Module:
    """The model, on CUDA with batch norm over the batches of all processes."""
    if group()[1] == 1 or dist.get_backend() != "nccl":
        return model
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return made


def average_buffers(model: nn.Module) -> None:
    """Running means and variances of batch norm, averaged over all processes in place."""
    _, world = group()
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for buffer in (b for layer in layers for b in layer.buffers() if b.is_floating_point()):
        if world > 1:
            dist.all_reduce(buffer)
            buffer /= world
