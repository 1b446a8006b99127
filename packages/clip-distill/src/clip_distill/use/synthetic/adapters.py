"""LoRA adapters, such as LCM's, put into the weights of a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from clip_distill.use.quiet import quiet
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.weights import read_weights

LORA = "pytorch_lora_weights.safetensors"


def put_in(pipe: Any, adapter: Path) -> None:
    """Add a LoRA to the weights, every matrix of it: diffusers passes over what does not fit.

    Args:
        pipe: of diffusers; nothing of the adapter is left beside its weights.
        adapter: a file of safetensors, or a folder with one of the usual name.

    Raises:
        UserError: another form of file, or one of another network.
    """
    path = adapter / LORA if adapter.is_dir() else adapter
    if path.suffix != ".safetensors":
        raise UserError(f"--adapter {adapter}: a .safetensors file, or a folder with {LORA}")
    weights = read_weights(path)
    wanted = sum(name.endswith(("lora_down.weight", "lora_A.weight", "lora.down.weight"))
                 for name in weights)  # fmt: skip
    try:
        with quiet():
            pipe.load_lora_weights(weights)
    except ImportError:
        raise UserError("this needs: pip install 'clip-distill[synthetic]'") from None
    except Exception as error:  # peft and diffusers have many
        raise UserError(
            f"{path}: no LoRA of {type(pipe).__name__} ({one_line(str(error))[:200]})"
        ) from None
    encoders = [getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2")]
    networks = [network for network in (pipe.unet, *encoders) if network is not None]
    found = sum(len(each.lora_A) for network in networks for each in network.modules()
                if isinstance(getattr(each, "lora_A", None), nn.ModuleDict))  # fmt: skip
    if not wanted or found != wanted:
        raise UserError(
            f"{path}: {found} of {wanted} matrices have a place in {type(pipe).__name__}: it was "
            "made for another network"
        )
    with quiet():
        pipe.fuse_lora()
        pipe.unload_lora_weights()
