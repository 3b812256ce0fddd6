"""What leads the refining: a denoiser that sees a view as it is now, and what its neighbour shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from portrait360.cameras import Camera, look_at
from portrait360.geometry.carried import carried, places_in
from portrait360.geometry.volume import Volume
from portrait360.models.hybrid import HybridConfig, HybridPriors, Led, Priors
from portrait360.models.presets import SMALL
from portrait360.models.triplane import Triplane
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.view_hints import FOLD, TIMES, folded, hint_of, premultiplied, unfolded
from portrait360.small_views import Shown, decided, prepared
from portrait360.view_sheet import View

Floats = NDArray[np.floating]

NORMALS = 3
GEOMETRY = (4 + NORMALS) * FOLD**2  # channels
SMALL_HYBRID = HybridConfig(SMALL.unet, GEOMETRY, replace(SMALL, cross_view=None))


@dataclass(frozen=True, eq=False)
class Seen:
    """A view of the head before it is refined."""

    camera: Camera
    picture: Tensor  # (4 s s) premultiplied
    depth: Floats  # (s, s), 0 where nothing is


def before(head: Triplane, camera: Camera, size: int) -> Seen:
    """As it was before anything was changed."""
    return seen_of(head.base, camera, size)


def seen_of(volume: Volume, camera: Camera, size: int) -> Seen:
    rgb, alpha, depth = volume.picture(camera, size)
    return Seen(camera, premultiplied(rgb, alpha).to(volume.density.device), depth)


def photo_at(photo: View, size: int) -> Tensor:
    """(4 s s) premultiplied."""
    whole = premultiplied(photo.rgb, photo.alpha)[None]
    return F.interpolate(whole, (size, size), mode="area")[0]


class Guide(Protocol):
    @property
    def cell(self) -> int: ...  # pixels a side of a latent

    @property
    def channels(self) -> int: ...

    def latents(self, picture: Tensor, coarse: Tensor) -> Tensor:
        """Pictures (n 4 s s) -> clean latents (n c s/cell s/cell)."""
        ...

    def priors(self, view: Seen, driving: Seen, shown: Tensor) -> Any:
        """What is known of a view; `shown` (4 s s) is what the driving view is by now."""
        ...

    def denoised(self, latents: Tensor, level: float, priors: Any, coarse: Tensor, led: Led) -> Tensor:
        """Noisy latents (1 c h w) at a level in (0, 1] -> clean ones."""
        ...

    def pictures(self, latents: Tensor, coarse: Tensor) -> Tensor:
        """What clean latents mean, within [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class _Folded:
    """Latents are what a view differs by from the unrefined head's, folded."""

    cell: int = FOLD
    channels: int = SMALL.unet.in_channels

    def latents(self, picture: Tensor, coarse: Tensor) -> Tensor:
        return folded(picture) - folded(coarse)

    def pictures(self, latents: Tensor, coarse: Tensor) -> Tensor:
        return decided(unfolded(folded(coarse) + latents).clamp(0, 1), coarse)


@dataclass(frozen=True, eq=False)
class SmallGuide(_Folded):
    """Led by a neighbour; beside that, its base is shown what the view denoiser is."""

    network: HybridPriors = field(kw_only=True)
    photo: Seen | None = None  # the unrefined head as the photo's camera sees it
    references: Tensor | None = None  # (n 64 h w) photo and back, folded

    def knowing(self, volume: Volume, photo: View, size: int) -> SmallGuide:
        """Of a head and its photo."""
        behind = seen_of(volume, Camera(look_at(180), photo.camera.focal), size).picture.cpu()
        references = folded(torch.stack([photo_at(photo, size), behind]))
        return replace(self, photo=seen_of(volume, photo.camera, size), references=references)

    def priors(self, view: Seen, driving: Seen, shown: Tensor) -> Priors:
        places = places_in(driving.camera, driving.depth, view.camera, view.depth)
        there = torch.from_numpy(places.both.astype(np.float32))[None]
        shown, picture = shown.cpu(), view.picture.cpu()
        normals = torch.from_numpy(normals_of(view.depth, view.camera)).permute(2, 0, 1)
        uv = F.avg_pool2d(torch.from_numpy(places.uv.astype(np.float32)).permute(2, 0, 1)[None], FOLD)
        return Priors(
            folded(carried(shown, places)[None]),
            F.avg_pool2d(there[None], FOLD),
            folded(shown[None]),
            uv.movedim(1, -1),
            torch.cat([folded(picture[None]), F.pixel_unshuffle(normals[None], FOLD)], 1),
            None if self.references is None else self.references[None],
            None if self.photo is None else hinted(view, self.photo)[1],
        )

    @torch.no_grad()
    def denoised(self, latents: Tensor, level: float, priors: Priors, coarse: Tensor, led: Led) -> Tensor:
        device = next(self.network.parameters()).device
        context = torch.zeros(1, 1, self.network.config.unet.context_dim, device=device)
        there = replace(priors, **{name: v.to(device) for name, v in vars(priors).items() if v is not None})
        t = torch.tensor([TIMES * level], device=device)
        return self.network(latents.to(device), t, context, there, led).to(latents)


@dataclass(frozen=True, eq=False)
class ViewGuide(_Folded):
    """The view denoiser, led by the photo alone: the driving view is the reference, whatever it is shown as."""

    network: ViewDenoiser = field(kw_only=True)
    references: Tensor = field(kw_only=True)  # (n 64 h w) photo and back, folded

    def priors(self, view: Seen, driving: Seen, shown: Tensor) -> Shown:
        both, told = hinted(view, driving)
        return Shown(view.picture.cpu()[None], both[None], told, self.references)

    @torch.no_grad()
    def denoised(self, latents: Tensor, level: float, priors: Shown, coarse: Tensor, led: Led) -> Tensor:
        x = latents.to(next(self.network.parameters()).device)
        at_level = prepared(self.network, priors, together=False)(x, torch.tensor([level], device=x.device))
        return at_level(x, torch.zeros(1, dtype=torch.long, device=x.device)).to(latents)


def hinted(view: Seen, photo: Seen) -> tuple[Tensor, Tensor]:
    """What C is shown of a view: how much of it is the photo's (1 s s), and all of it (1 HINTS s s)."""
    both = places_in(photo.camera, photo.depth, view.camera, view.depth).both.astype(np.float32)
    picture = view.picture.cpu()
    cover = picture[3].numpy()
    rgb = (picture[:3] / picture[3:].clamp(min=1e-3)).permute(1, 2, 0).numpy()
    told = hint_of(rgb, both, cover, normals_of(view.depth, view.camera), view.depth, view.camera)
    return torch.from_numpy(both)[None], torch.from_numpy(told)[None]


def normals_of(depth: Floats, camera: Camera) -> Floats:
    """(s, s, 3) unit, in the world, towards the camera; 0 where nothing is. Of the surface that depths tell."""
    size = len(depth)
    centres = (np.arange(size) + 0.5) / size
    uv = np.stack(np.meshgrid(centres, centres), -1)
    there = depth > 0
    filled = np.where(there, depth, camera.radius)
    filled = cv2.GaussianBlur(filled.astype(np.float32), (0, 0), 1.0)
    points = camera.unproject(uv, filled)
    down, right = np.gradient(points, axis=(0, 1))
    normal = np.cross(down, right)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    return (normal * there[..., None]).astype(np.float32)
