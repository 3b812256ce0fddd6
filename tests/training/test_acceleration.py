"""What makes small networks faster on a GPU."""

from __future__ import annotations

import torch

from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.training.acceleration import BLOCKS, accelerate, compile_blocks
from tests.fixtures.view_samples import TINY


def run(network: ViewDenoiser) -> torch.Tensor:
    x = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(1))
    return network.unet(x, torch.ones(2), torch.zeros(1, 1, TINY.unet.context_dim))


def test_a_cpu_gets_the_network_as_it_is():
    network = ViewDenoiser(TINY)
    assert accelerate(network, torch.device("cpu")) is network
    assert all(module._compiled_call_impl is None for module in network.modules())


@torch.no_grad()
def test_compiled_blocks_keep_names_and_results():
    torch.manual_seed(0)
    network = ViewDenoiser(TINY).eval()
    for value in network.parameters():
        value.add_(0.02 * torch.randn(value.shape))
    names, before = list(network.state_dict()), run(network)
    compile_blocks(network)
    blocks = [module for module in network.modules() if isinstance(module, BLOCKS)]
    assert blocks and all(block._compiled_call_impl is not None for block in blocks)
    assert list(network.state_dict()) == names
    with torch.compiler.set_stance("force_eager"):  # without a C compiler of the machine's
        torch.testing.assert_close(run(network), before)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(run(network), before, atol=1e-4, rtol=1e-4)
