"""The methods to build a coarse head: an avatar, a proxy by rule or with the small network, or a 3D GAN's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from portrait360.assets import COMPLETER
from portrait360.models.weights.installed import MANIFEST, require_weights
from portrait360.models.weights.store import load_generator
from portrait360.pipeline.avatar import NAME
from portrait360.pipeline.avatar.avatar import FORMAT, Avatar, CoarseHead
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar, make_avatar
from portrait360.pipeline.avatar.overrules import FILE, NOTHING, Overrules
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.published_frame import describe_published_frame
from portrait360.pipeline.proxy import GENERATOR, METHODS, check_method
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.proxy.gan_head import HEAD_FILE, gan_proxy
from portrait360.pipeline.proxy.gan_inversion import PUBLISHED, InversionSettings, OnStep, delete_checkpoints
from portrait360.pipeline.proxy.learned_completion import complete_with_network
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.utils.errors import UserError
from portrait360.utils.files import sha256

NO_EFFECT = "no human face was found, so `hair=`, `hair_length=` and `parameters=` have no effect"


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
    overrules: Overrules = NOTHING,
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
        on_step: Progress callback of an avatar and of the inversion.
        overrules: What the user says that an avatar is, whatever its photo shows.
    """
    check_method(method)
    if method == "gan":
        return invert_with_gan(portrait, others, seed, faithful, folder, device, on_step)
    if folder is not None:
        delete_checkpoints(folder)
        (folder / HEAD_FILE).unlink(missing_ok=True)
        (folder / NAME).unlink(missing_ok=True)
        if not overrules:  # else the user may be passing them back
            (folder / FILE).unlink(missing_ok=True)
    if method == "avatar" and can_fit_avatar(portrait):
        cover = partial(proxy_from_photo, portrait, others)
        return make_avatar(
            portrait, cover, others, overrules, on_step=lambda done, total: on_step("step", done, total, 0.0)
        )
    proxy = proxy_from_photo(portrait, others)
    return proxy if method == "proxy" else complete_with_network(portrait, proxy, others, seed=seed)


def remake_avatar(folder: Path, overrules: Overrules) -> CoarseHead:
    """Make the avatar in the folder of a run or of `portrait360 proxy` again, and save it there."""
    portrait, place = Portrait.load(folder / "portrait"), folder / "proxy"
    if can_fit_avatar(portrait) and not (place / NAME).is_file():
        raise UserError(f"The head in {folder} is not an avatar; make it again with `method=avatar`.")
    others = [Portrait.load(path) for path in sorted((folder / "references").glob("*")) if path.is_dir()]
    if (folder / "back").is_dir():
        back = Portrait.load(folder / "back")
        others += [back] * (back.source != "proxy")  # a view of the head itself is no photo
    head = build_proxy(portrait, others, overrules=overrules)
    head.save(place)
    return head


def explain_no_effect(head: CoarseHead, overrules: Overrules) -> str | None:
    """Return a warning where overrules say something of a head that has no layers."""
    return NO_EFFECT if overrules and not isinstance(head, Avatar) else None


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


def cache_inputs(method: str, seed: int, faithful: bool = False, overrules: Overrules = NOTHING) -> dict[str, Any]:
    """Return all that a proxy depends on besides its portraits, as part of its cache key."""
    if method == "gan":
        generator = require_weights((GENERATOR,), "`method=gan`")[0]
        weights = sha256(generator / MANIFEST)
        return {"seed": seed, "weights": weights, "faithful": faithful, "frame": describe_published_frame()}
    if method == "proxy":
        return {}
    inputs = {"seed": seed, "weights": sha256(COMPLETER)}
    return {**inputs, "format": FORMAT, **overrules.cache_inputs()} if method == "avatar" else inputs
