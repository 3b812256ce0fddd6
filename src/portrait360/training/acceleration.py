"""What makes a small network train faster on a GPU: channels-last memory, TF32, and compiled blocks."""

from __future__ import annotations

import torch
from torch import nn

from portrait360.models.layers import ResBlock, SpatialTransformer

BLOCKS: tuple[type[nn.Module], ...] = (ResBlock, SpatialTransformer)


def accelerate(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network, in place, as it trains fastest on its device; a CPU gets it as it is.

    Blocks are compiled one by one, since equal ones share their program. What cannot be compiled runs as it is.
    """
    if device.type != "cuda":
        return network
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    compile_blocks(network)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def compile_blocks(network: nn.Module) -> None:
    """Compile the blocks of a network, in place; its parameters and their names stay."""
    import torch._dynamo.config as settings

    settings.suppress_errors = True  # without a compiler of the machine's, or of this torch, nothing changes
    settings.cache_size_limit = max(settings.cache_size_limit, 64)  # shapes of all blocks of a kind
    for module in network.modules():
        if isinstance(module, BLOCKS):
            module.compile()
