"""The hybrid priors: branches that add nothing at the start, and everything they see once they have learnt."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from portrait360.models.hybrid_priors import BranchWeights, HybridConfig, HybridPriors, Priors
from portrait360.models.network_sizes import DIFFPORTRAIT360, SMALL
from portrait360.models.unet import UNetConfig

SIZE = 16
TINY = HybridConfig(UNetConfig(width=32, mult=(1, 2), attention=(True, False), heads=4, context_dim=24), geometry=8)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def priors() -> Priors:
    centres = (torch.arange(SIZE) + 0.5) / SIZE
    uv = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)[None].expand(2, -1, -1, -1)
    mask = (draw(1, 2, 1, SIZE, SIZE) > 0).float()
    return Priors(draw(2, 2, 4, SIZE, SIZE), mask, draw(3, 2, 4, SIZE, SIZE), uv, draw(4, 2, 8, SIZE, SIZE))


X, T, CONTEXT = draw(5, 2, 4, SIZE, SIZE), torch.tensor([400]), draw(6, 1, 7, 24)


@pytest.fixture
def fresh() -> HybridPriors:
    torch.manual_seed(0)
    network = HybridPriors(TINY).eval().requires_grad_(False)
    for parameter in network.base.parameters():  # as if it had learnt
        parameter.copy_(0.2 * torch.randn(parameter.shape) if parameter.ndim > 1 else parameter)
    return network


@pytest.fixture
def learnt(fresh) -> HybridPriors:
    for name, parameter in fresh.named_parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
        assert not name.startswith("base") or parameter.ndim == 1 or parameter.any()
    return fresh


def test_at_the_start_nothing_is_changed_to_the_bit(fresh):
    alone = fresh(X, T, CONTEXT)
    assert alone.std() > 0.01
    for led in (
        BranchWeights(),
        BranchWeights(geometry=False),
        BranchWeights(implicit=False),
        BranchWeights(False, False, 3.0),
    ):
        assert torch.equal(fresh(X, T, CONTEXT, priors(), led), alone)
    plain = fresh.features(X, T, priors(), BranchWeights(False, False))
    both = fresh.features(X, T, priors(), BranchWeights())
    assert all(torch.equal(a, b) for a, b in zip(plain, both, strict=True))  # what the branches give to each other


def test_every_prior_is_felt_and_no_switched_off_one(learnt):
    known = priors()
    other = {name: draw(9, *value.shape) for name, value in vars(known).items() if value is not None}
    other["uv"], other["mask"] = known.uv.flip(1), 1 - known.mask
    parts = {
        "projected": BranchWeights(),
        "mask": BranchWeights(False, False),
        "geometry": BranchWeights(implicit=False),
        "driving": BranchWeights(geometry=False),
        "uv": BranchWeights(geometry=False),
    }
    for name, led in parts.items():
        one, changed = (learnt(X, T, CONTEXT, p, led) for p in (known, replace(known, **{name: other[name]})))
        assert (one - changed).abs().max() > 1e-4, name
    for name, led in (
        ("geometry", BranchWeights(geometry=False)),
        ("driving", BranchWeights(implicit=False)),
        ("uv", BranchWeights(implicit=False)),
    ):
        one, changed = (learnt(X, T, CONTEXT, p, led) for p in (known, replace(known, **{name: other[name]})))
        assert torch.equal(one, changed), name


def test_weight_zero_and_no_priors_are_the_base(learnt):
    alone = learnt.base(X, T, CONTEXT)
    assert torch.equal(learnt(X, T, CONTEXT), alone)
    assert torch.equal(learnt(X, T, CONTEXT, priors(), BranchWeights(weight=0.0)), alone)
    assert not torch.equal(learnt(X, T, CONTEXT, priors()), alone)


def test_gradients_reach_every_branch_but_the_frozen_base(learnt):
    learnt.requires_grad_(True)
    learnt.base.requires_grad_(False)
    learnt(X, T, CONTEXT, priors()).square().mean().backward()
    without = {name for name, p in learnt.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name.split(".")[0] for name in without} == {"base"}
    assert not any(p.grad is not None for p in learnt.base.parameters())


@pytest.mark.parametrize("unet", [SMALL.unet, DIFFPORTRAIT360.unet])
def test_one_configuration_gives_both_sizes(unet):
    """The branches read no text, and what they add has the base's widths."""
    with torch.device("meta"):
        network = HybridPriors(HybridConfig(unet, geometry=2 * unet.in_channels))
    assert not any("attn2" in name for name, _ in network.explicit.named_parameters())
    assert any("attn2" in name for name, _ in network.base.named_parameters())
    assert len(network.zero_convs) == len(network.base.input_blocks) + 1 + len(network.base.output_blocks)
