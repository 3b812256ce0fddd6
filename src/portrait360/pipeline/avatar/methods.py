"""The methods to build a coarse head: an avatar, a proxy by rule or with the small network, or a 3D GAN's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from portrait360.assets import COMPLETER
from portrait360.models.weights.installed import MANIFEST, require_weights
from portrait360.models.weights.store import load_generator
from portrait360.pipeline.avatar.avatar import NAME, CoarseHead
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar, make_avatar
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy import GENERATOR, METHODS, check_method
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.proxy.gan_head import HEAD_FILE, gan_proxy
from portrait360.pipeline.proxy.gan_inversion import PUBLISHED, InversionSettings, OnStep, delete_checkpoints
from portrait360.pipeline.proxy.learned_completion import complete_with_network
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.utils.files import sha256


def build_proxy(
    portrait: Portrait,
    others: Sequence[Portrait] = (),
    *,
    method: str = METHODS[0],
    seed: int = 0,
    faithful: bool = False,
    folder: Path | None = None,
    device: str | torch.device = "cpu",
    on_step: OnStep = lambda stage, done, total, loss: None,
) -> CoarseHead:
    """Build a coarse head by one of `METHODS`; a portrait without a face has no avatar, but a completed proxy.

    Args:
        portrait: The aligned photo.
        others: Portraits of the same head.
        method: One of `METHODS`.
        seed: Seed of the network and the inversion.
        faithful: Use the published settings of the inversion.
        folder: Where an inversion stores its checkpoints, and then its head.
        device: Where the inversion runs.
        on_step: Progress callback of the inversion.
    """
    check_method(method)
    if method == "gan":
        return invert_with_gan(portrait, others, seed, faithful, folder, device, on_step)
    if folder is not None:
        delete_checkpoints(folder)
        (folder / HEAD_FILE).unlink(missing_ok=True)
        (folder / NAME).unlink(missing_ok=True)
    proxy = proxy_from_photo(portrait, others)
    if method == "avatar" and can_fit_avatar(portrait):
        return make_avatar(portrait, proxy, others)
    return proxy if method == "proxy" else complete_with_network(portrait, proxy, others, seed=seed)


def invert_with_gan(
    portrait: Portrait,
    others: Sequence[Portrait],
    seed: int,
    faithful: bool,
    folder: Path | None,
    device: str | torch.device,
    on_step: OnStep,
) -> Proxy:
    """Invert the portrait with the generator that the user has imported."""
    generator = load_generator(require_weights((GENERATOR,), "`method=gan`")[0]).to(device)
    settings = PUBLISHED if faithful else InversionSettings()
    proxy, head = gan_proxy(portrait, generator, others, settings=settings, seed=seed, folder=folder, on_step=on_step)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        head.save(folder / HEAD_FILE)
        delete_checkpoints(folder)
    return proxy


def cache_inputs(method: str, seed: int, faithful: bool = False) -> dict[str, Any]:
    """Return all that a proxy depends on besides its portraits, as part of its cache key."""
    if method == "gan":
        generator = require_weights((GENERATOR,), "`method=gan`")[0]
        return {"seed": seed, "weights": sha256(generator / MANIFEST), "faithful": faithful}
    return {} if method == "proxy" else {"seed": seed, "weights": sha256(COMPLETER)}
