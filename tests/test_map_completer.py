"""The network over the unwrapped head."""

from __future__ import annotations

import torch

from portrait360.models.map_completer import MapCompleter, MapCompleterConfig

TINY = MapCompleterConfig(hints=3, widths=(16, 32), blocks=1, attention=(False, True), heads=2, embedding=32)


def network(seed: int, *, silent: bool = False) -> MapCompleter:
    generator = torch.Generator().manual_seed(seed)
    made = MapCompleter(TINY)
    if not silent:
        for value in made.parameters():
            value.data = 0.1 * torch.randn(value.shape, generator=generator)
    return made.eval()


def asked(seed: int, rows: int = 16, columns: int = 32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 4, rows, columns, generator=generator)
    return x, torch.tensor([0.3, 0.9]), torch.randn(2, 3, rows, columns, generator=generator)


def test_an_untrained_network_changes_nothing():
    assert torch.equal(network(0, silent=True)(*asked(1)), torch.zeros(2, 4, 16, 32))


@torch.inference_mode()
def test_a_head_that_is_turned_is_completed_turned():
    """Around there is no seam; the columns turn by what the coarsest size is folded to."""
    net, (x, t, hints) = network(2), asked(3)
    straight = net(x, t, hints)
    turned = net(x.roll(4, 3), t, hints.roll(4, 3))
    assert straight.std() > 0.01
    torch.testing.assert_close(turned, straight.roll(4, 3), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_everything_that_is_given_counts():
    net, (x, t, hints) = network(4), asked(5)
    before = net(x, t, hints)
    for changed in ((x + 0.1, t, hints), (x, t - 0.2, hints), (x, t, hints + 0.1)):
        assert (net(*changed) - before).abs().mean() > 1e-4


@torch.inference_mode()
def test_heads_of_a_batch_do_not_see_each_other():
    net, (x, t, hints) = network(6), asked(7)
    alone = net(x[:1], t[:1], hints[:1])
    torch.testing.assert_close(net(x, t, hints)[:1], alone, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_front_and_back_see_each_other():
    """By attention: what changes at one column is felt half around."""
    net, (x, t, hints) = network(8), asked(9)
    changed = hints.clone()
    changed[..., 0] += 5
    assert (net(x, t, changed) - net(x, t, hints))[..., 16].abs().max() > 1e-6
