"""The completed head: what the photo shows stays, what the network says counts elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from portrait360.assets import COMPLETER
from portrait360.models.completion_unet import MapCompleter, MapCompleterConfig
from portrait360.models.weights.tensor_files import TensorFile
from portrait360.pipeline.avatar.methods import build_proxy, cache_inputs
from portrait360.pipeline.proxy.from_portrait import fit_to_silhouette, sample_photos
from portrait360.pipeline.proxy.learned_completion import LUMA_WEIGHTS, complete_with_network, restore_hue
from portrait360.pipeline.proxy.map_conditioning import DEEP, HINTS
from portrait360.utils.errors import UserError
from tests.fixtures.photos import seen_again

SILENT = MapCompleter(
    MapCompleterConfig(hints=HINTS, widths=(16,), blocks=1, attention=(False,), embedding=32, fold=4)
)


@pytest.fixture(scope="module")
def completed(portrait, proxy):
    return complete_with_network(portrait, proxy, seed=3)


def test_a_network_that_says_nothing_leaves_the_head_as_it_is(portrait, proxy):
    same = complete_with_network(portrait, proxy, network=SILENT)
    np.testing.assert_allclose(
        same.radius, fit_to_silhouette(portrait, proxy.radius), atol=1e-6
    )  # drawn closer to it
    trust = sample_photos(portrait, same.radius).all.trust
    np.testing.assert_allclose(same.colours[trust == 0], proxy.colours[trust == 0], atol=1 / 255)
    assert np.abs(same.colours - proxy.colours)[trust > 0.99].mean() < 0.01


class Further(torch.nn.Module):
    """Says that all of the head is red and lies further out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, t: torch.Tensor, hints: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(x)
        out[:, :3] = torch.tensor([2.0, -2.0, -2.0])[:, None, None]
        out[:, 3] = 0.1
        return out


def test_what_the_network_says_counts_where_the_photo_shows_nothing(portrait, proxy):
    made = complete_with_network(portrait, proxy, network=Further())
    assert np.abs(made.radius - proxy.radius - 0.1 * DEEP).mean() < 0.002
    seen = sample_photos(portrait, made.radius).all
    hidden, before = made.colours[seen.trust == 0], proxy.colours[seen.trust == 0]
    red = np.broadcast_to(np.float32([1, 0, 0]), hidden.shape)
    np.testing.assert_allclose(hidden, restore_hue(before, red), atol=1 / 255)
    assert np.abs(made.colours - seen.rgb)[seen.trust > 0.99].mean() < 0.01


def test_light_is_the_networks_and_hue_in_part_the_proxys():
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 500, 3)).astype(np.float32)
    np.testing.assert_allclose(restore_hue(before, before), before, atol=1e-6)  # nothing said, nothing changed
    made = restore_hue(before, after)
    assert made.min() >= 0 and made.max() <= 1
    olive, gold = np.float32([[0.32, 0.34, 0.2]]), np.float32([[0.7, 0.55, 0.3]])
    found = restore_hue(gold, olive)
    assert abs(float((found - olive)[0] @ LUMA_WEIGHTS)) < 0.01  # as light as it was said to be
    hue = lambda colour: float(colour[0, 0] / colour[0, 1])  # noqa: E731
    assert hue(olive) < 0.98 and 1.05 < hue(found) < hue(gold)
    dark, skin = np.float32([[0.2, 0.1, 0.02]]), np.float32([[0.7, 0.55, 0.45]])
    np.testing.assert_allclose(restore_hue(dark, skin), skin, atol=0.03)  # an ear where hair was


def test_the_same_seed_makes_the_same_head(portrait, proxy, completed):
    again, other = complete_with_network(portrait, proxy, seed=3), complete_with_network(portrait, proxy, seed=4)
    np.testing.assert_array_equal(again.radius, completed.radius)
    np.testing.assert_array_equal(again.colours, completed.colours)
    assert np.abs(other.colours - completed.colours).mean() > 1e-4


def test_the_photo_comes_back_from_a_completed_head(portrait, completed):
    error, overlap, _ = seen_again(portrait, completed)
    assert error > 28 and overlap > 0.95


def test_the_shipped_weights_say_what_they_are():
    said = TensorFile(COMPLETER).metadata
    assert said["recipe"] == "map" and int(said["samples"]) > 0 and len(said["commit"]) == 40
    assert "colour" in json.loads(said["figures"])
    assert COMPLETER.stat().st_size <= 16e6


def test_methods(portrait, proxy):
    np.testing.assert_array_equal(build_proxy(portrait, method="proxy").radius, proxy.radius)
    assert cache_inputs("proxy", 1) == cache_inputs("proxy", 2) and cache_inputs("completed", 1) != cache_inputs(
        "completed", 2
    )
    with pytest.raises(UserError, match="`method=other` is not valid; choose from avatar, completed"):
        build_proxy(portrait, method="other")
