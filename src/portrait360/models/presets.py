"""The presets, as data. No other module names one; nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portrait360.geometry.canonical_frame import FOCAL_DIFFPORTRAIT3D, FOCAL_SD15


@dataclass(frozen=True)
class Preset:
    name: str
    size: int  # side of a view in pixels
    weights: tuple[str, ...]  # required weights, as `portrait360 weights list` names them; those of the views first
    latent: bool = False  # whether an autoencoder encodes the views
    crop: int = 512  # side of the portrait in pixels
    focal: float | None = None  # focal length of the views' cameras in image sides; None: the portrait's
    proxy: str = "avatar"  # method that builds the proxy
    back: str | None = None  # model that generates the back view
    gan: str | None = None  # model of the 3D GAN that builds the proxy instead, if its weights are present
    steps: tuple[int, int] | None = None  # sampler steps: as published, and ours; None: no published network


# sides in pixels of portraits of which the networks' crop covers 512
SD15_CROP, DIFFPORTRAIT3D_CROP = 820, 896
LATENT: dict[str, Any] = {"size": 512, "latent": True, "gan": "panohead"}
SD15: dict[str, Any] = {"crop": SD15_CROP, "focal": FOCAL_SD15, "steps": (50, 20), **LATENT}
DIFFPORTRAIT3D: dict[str, Any] = {"crop": DIFFPORTRAIT3D_CROP, "focal": FOCAL_DIFFPORTRAIT3D, **LATENT}

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("small", size=256, weights=("small",)),
        Preset("sd15", weights=("diffportrait360", "back-head"), back="back-head", **SD15),
        Preset("diffportrait3d", weights=("diffportrait3d",), steps=(50, 20), **DIFFPORTRAIT3D),
    )
}
