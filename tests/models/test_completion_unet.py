"""The network over the unwrapped head."""

from __future__ import annotations

import numpy as np
import torch

from portrait360.models.completion_unet import MapCompleter, MapCompleterConfig
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.map_conditioning import HINTS, apply_changes, encode_changes, make_hints
from portrait360.pipeline.proxy.texture_completion import SurfaceSamples

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
    for given in ((x + 0.1, t, hints), (x, t - 0.2, hints), (x, t, hints + 0.1)):
        assert (net(*given) - before).abs().mean() > 1e-4


@torch.inference_mode()
def test_heads_of_a_batch_do_not_see_each_other():
    net, (x, t, hints) = network(6), asked(7)
    alone = net(x[:1], t[:1], hints[:1])
    torch.testing.assert_close(net(x, t, hints)[:1], alone, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_front_and_back_see_each_other():
    """By attention: what changes at one column is felt half around."""
    net, (x, t, hints) = network(8), asked(9)
    other = hints.clone()
    other[..., 0] += 5
    assert (net(x, t, other) - net(x, t, hints))[..., 16].abs().max() > 1e-6


# what it is shown


def known(seed: int) -> tuple[HeadMap, SurfaceSamples, np.ndarray, np.ndarray]:
    layout, rng = HeadMap(columns=16, rows=12), np.random.default_rng(seed)
    trust = rng.random((12, 16))
    seen = SurfaceSamples(rng.random((12, 16, 3)), (trust > 0.2).astype(float), trust)
    return layout, seen, rng.random((12, 16, 3)), 0.2 + 0.1 * rng.random((12, 16))


def test_changes_lead_from_the_proxy_to_the_truth():
    _, _, colours, radius = known(0)
    to_colours, to_radius = np.roll(colours, 3, 1), radius + 0.02 * np.sin(np.arange(16))
    found = apply_changes(colours, radius, encode_changes(colours, radius, to_colours, to_radius))
    np.testing.assert_allclose(found[0], to_colours, atol=1e-6)
    np.testing.assert_allclose(found[1], to_radius, atol=1e-6)


def test_a_mirrored_head_has_mirrored_hints():
    """All that tells left from right changes sides with the head, and the sine of the azimuth its sign."""
    layout, seen, colours, radius = known(1)
    one = make_hints(layout, seen, colours, radius, 20, 5)
    flipped = SurfaceSamples(seen.rgb[:, ::-1], seen.visible[:, ::-1], seen.trust[:, ::-1])
    other = make_hints(layout, flipped, colours[:, ::-1], radius[:, ::-1], -20, 5)
    assert one.shape == (HINTS, 12, 16)
    signs = np.ones(HINTS)
    signs[5] = -1
    np.testing.assert_allclose(other, one[..., ::-1] * signs[:, None, None], atol=1e-5)
