"""The guides of refinement: denoisers that predict a clean view from its current render and a neighbouring view."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.volumes.volume import Volume
from portrait360.geometry.warping import match_views, warp
from portrait360.models.hybrid_priors import BranchWeights, HybridConfig, HybridPriors, Priors
from portrait360.models.network_sizes import SMALL
from portrait360.models.triplane import Triplane
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.pipeline.views.pixel_latents import (
    FOLD,
    TIMESTEP_SCALE,
    build_hint,
    depth_to_space,
    premultiply,
    space_to_depth,
)
from portrait360.pipeline.views.small_denoiser import ViewInputs, harden_alpha, make_window_denoiser
from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import Floats

NORMALS = 3
GEOMETRY = (4 + NORMALS) * FOLD**2  # channels
SMALL_HYBRID = HybridConfig(SMALL.unet, GEOMETRY, replace(SMALL, cross_view=None))


@dataclass(frozen=True, eq=False)
class GuideView:
    """A render of the head before refinement."""

    camera: Camera
    picture: Tensor  # (4 s s) premultiplied
    depth: Floats  # (s, s), 0 where there is no surface


def render_base(head: Triplane, camera: Camera, size: int) -> GuideView:
    """Render the head as it was before refinement."""
    return render_for_guide(head.base, camera, size)


def render_for_guide(volume: Volume, camera: Camera, size: int) -> GuideView:
    rgb, alpha, depth = volume.render_image(camera, size)
    return GuideView(camera, premultiply(rgb, alpha).to(volume.density.device), depth)


def resize_photo(photo: View, size: int) -> Tensor:
    """Return the photo, resized and premultiplied (4 s s)."""
    picture = premultiply(photo.rgb, photo.alpha)[None]
    return F.interpolate(picture, (size, size), mode="area")[0]


class Guide(Protocol):
    @property
    def cell(self) -> int: ...  # pixels along the side of a latent cell

    @property
    def channels(self) -> int: ...

    def latents(self, picture: Tensor, coarse: Tensor) -> Tensor:
        """Encode pictures (n 4 s s) as clean latents (n c s/cell s/cell)."""
        ...

    def priors(self, view: GuideView, driving: GuideView, driving_picture: Tensor) -> Any:
        """Return what the denoiser is conditioned on; `driving_picture` (4 s s) is the refined driving view."""
        ...

    def denoise(self, latents: Tensor, level: float, priors: Any, coarse: Tensor, branches: BranchWeights) -> Tensor:
        """Predict clean latents from noisy ones (1 c h w) at a noise level in (0, 1]."""
        ...

    def pictures(self, latents: Tensor, coarse: Tensor) -> Tensor:
        """Decode clean latents to pictures in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class _FoldedLatents:
    """Latents are the difference between a view and the unrefined head's, with pixels folded into channels."""

    cell: int = FOLD
    channels: int = SMALL.unet.in_channels

    def latents(self, picture: Tensor, coarse: Tensor) -> Tensor:
        return space_to_depth(picture) - space_to_depth(coarse)

    def pictures(self, latents: Tensor, coarse: Tensor) -> Tensor:
        return harden_alpha(depth_to_space(space_to_depth(coarse) + latents).clamp(0, 1), coarse)


@dataclass(frozen=True, eq=False)
class SmallGuide(_FoldedLatents):
    """The hybrid priors, driven by a neighbouring view and conditioned like the view denoiser."""

    network: HybridPriors = field(kw_only=True)
    photo: GuideView | None = None  # the unrefined head from the photo's camera
    references: Tensor | None = None  # (n 64 h w) latents of photo and back

    def with_subject(self, volume: Volume, photo: View, size: int) -> SmallGuide:
        """Return this guide with the conditions of a head and its photo."""
        back = render_for_guide(volume, Camera(look_at(180), photo.camera.focal), size).picture.cpu()
        references = space_to_depth(torch.stack([resize_photo(photo, size), back]))
        return replace(self, photo=render_for_guide(volume, photo.camera, size), references=references)

    def priors(self, view: GuideView, driving: GuideView, driving_picture: Tensor) -> Priors:
        matches = match_views(driving.camera, driving.depth, view.camera, view.depth)
        visible = torch.from_numpy(matches.both.astype(np.float32))[None]
        driving_picture, picture = driving_picture.cpu(), view.picture.cpu()
        normals = torch.from_numpy(normals_from_depth(view.depth, view.camera)).permute(2, 0, 1)
        uv = F.avg_pool2d(torch.from_numpy(matches.uv.astype(np.float32)).permute(2, 0, 1)[None], FOLD)
        return Priors(
            space_to_depth(warp(driving_picture, matches)[None]),
            F.avg_pool2d(visible[None], FOLD),
            space_to_depth(driving_picture[None]),
            uv.movedim(1, -1),
            torch.cat([space_to_depth(picture[None]), F.pixel_unshuffle(normals[None], FOLD)], 1),
            None if self.references is None else self.references[None],
            None if self.photo is None else hints_for_view(view, self.photo)[1],
        )

    @torch.no_grad()
    def denoise(
        self, latents: Tensor, level: float, priors: Priors, coarse: Tensor, branches: BranchWeights
    ) -> Tensor:
        device = next(self.network.parameters()).device
        context = torch.zeros(1, 1, self.network.config.unet.context_dim, device=device)
        priors = replace(priors, **{name: v.to(device) for name, v in vars(priors).items() if v is not None})
        t = torch.tensor([TIMESTEP_SCALE * level], device=device)
        return self.network(latents.to(device), t, context, priors, branches).to(latents)


@dataclass(frozen=True, eq=False)
class ViewGuide(_FoldedLatents):
    """The view denoiser, driven by the photo alone: the driving view must be the reference, and `driving_picture` is
    ignored."""

    network: ViewDenoiser = field(kw_only=True)
    references: Tensor = field(kw_only=True)  # (n 64 h w) latents of photo and back

    def priors(self, view: GuideView, driving: GuideView, driving_picture: Tensor) -> ViewInputs:
        visibility, hints = hints_for_view(view, driving)
        picture = view.picture.cpu()[None]
        return ViewInputs(picture, space_to_depth(picture), visibility[None], hints, self.references)

    @torch.no_grad()
    def denoise(
        self, latents: Tensor, level: float, priors: ViewInputs, coarse: Tensor, branches: BranchWeights
    ) -> Tensor:
        x = latents.to(next(self.network.parameters()).device)
        prepare = make_window_denoiser(self.network, priors, cross_view=False)
        denoise_window = prepare(x, torch.tensor([level], device=x.device))
        return denoise_window(x, torch.zeros(1, dtype=torch.long, device=x.device)).to(latents)


def hints_for_view(view: GuideView, photo: GuideView) -> tuple[Tensor, Tensor]:
    """Return the photo's share of a view (1 s s), and the hints of the control network (1 HINT_CHANNELS s s)."""
    visibility = match_views(photo.camera, photo.depth, view.camera, view.depth).both.astype(np.float32)
    picture = view.picture.cpu()
    alpha = picture[3].numpy()
    rgb = (picture[:3] / picture[3:].clamp(min=1e-3)).permute(1, 2, 0).numpy()
    hints = build_hint(rgb, visibility, alpha, normals_from_depth(view.depth, view.camera), view.depth, view.camera)
    return torch.from_numpy(visibility)[None], torch.from_numpy(hints)[None]


def normals_from_depth(depth: Floats, camera: Camera) -> Floats:
    """Return the unit normals (s, s, 3) of the surface that a depth map describes, in world space and towards the
    camera; 0 where there is no surface."""
    size = len(depth)
    centres = (np.arange(size) + 0.5) / size
    uv = np.stack(np.meshgrid(centres, centres), -1)
    covered = depth > 0
    smooth = np.where(covered, depth, camera.radius)
    smooth = cv2.GaussianBlur(smooth.astype(np.float32), (0, 0), 1.0)
    points = camera.unproject(uv, smooth)
    down, right = np.gradient(points, axis=(0, 1))
    normal = np.cross(down, right)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    return (normal * covered[..., None]).astype(np.float32)
