"""Portrait Diffusion's refinement over an avatar: its views are denoised outward from the photo, each guided by its
finished neighbour, and shape and colours of the layers move towards them.

The paper optimises a triplane by gradients (eq. 18 and 19). The layers of an avatar are meshes with an albedo of each
vertex, and strands; they are moved in closed form, by the outlines and the colours of all views at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from portrait360.diffusion.multiview import view_generators
from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.refinement.avatar_colours import refine_colours
from portrait360.pipeline.refinement.avatar_shape import refine_shape
from portrait360.pipeline.refinement.denoising_guide import Guide, GuideView, SmallGuide, resize_photo
from portrait360.pipeline.refinement.noise_resampling import SEED_STRIDE, RefineConfig
from portrait360.pipeline.refinement.view_schedule import outward_schedule
from portrait360.pipeline.views.pixel_latents import premultiply, space_to_depth
from portrait360.pipeline.views.view_set import View

COLOUR_ROUNDS = 1  # of the colours, for each of the shape
OnRound = Callable[[int, int, Avatar], None]  # rounds done, of how many, the avatar by then


@dataclass(frozen=True, eq=False)
class FirstViews:
    """The views of an avatar before any refinement, in the order of the schedule; the first is the photo's."""

    views: list[GuideView]
    driving: list[int]


def refine_avatar(avatar: Avatar, views: Sequence[View]) -> Avatar:
    """Return the avatar with shape and colours nearer to those of the views; its photo stays."""
    photo = View(avatar.picture.rgb, avatar.picture.alpha, avatar.camera)
    shaped = refine_shape(avatar.scene, (*views, photo))
    return replace(avatar, scene=refine_colours(shaped, views, COLOUR_ROUNDS))


def refine_with_priors(
    begun: Avatar,
    avatar: Avatar,
    guide: SmallGuide,
    config: RefineConfig,
    on_round: OnRound = lambda done, of, avatar: None,
    first: int = 0,
) -> Avatar:
    """Refine an avatar in `config.steps` rounds of views that the guide denoises.

    Args:
        begun: The avatar before any refinement.
        avatar: The avatar after `first` rounds.
        guide: The hybrid priors.
        config: How; an avatar has no triplane, so that the numbers of its optimiser have no effect.
        on_round: Called after each round.
        first: How many rounds have been done.
    """
    start = draw_first_views(begun, config)
    photo = View(begun.picture.rgb, begun.picture.alpha, begun.camera)
    guide = condition(guide, begun, photo, start, config.size)
    for number in range(first, config.steps):
        avatar = refine_avatar(avatar, denoise_views(avatar, photo, guide, start, config, number))
        on_round(number + 1, config.steps, avatar)
    return avatar


def draw_first_views(avatar: Avatar, config: RefineConfig) -> FirstViews:
    schedule = outward_schedule(avatar.camera, config.views)
    views = [draw_for_guide(avatar, view.camera, config.size) for view in schedule]
    return FirstViews(views, [view.driving or 0 for view in schedule])


def draw_for_guide(avatar: Avatar, camera: Camera, size: int) -> GuideView:
    view = avatar.render(camera, size)
    return GuideView(camera, premultiply(view.rgb, view.mask), view.depth)


def condition(guide: SmallGuide, avatar: Avatar, photo: View, start: FirstViews, size: int) -> SmallGuide:
    """Return the guide with the conditions of a head: the photo, and the avatar from behind."""
    back = draw_for_guide(avatar, Camera(look_at(180), avatar.camera.focal), size).picture
    references = space_to_depth(torch.stack([resize_photo(photo, size), back]))
    return replace(guide, photo=start.views[0], references=references)


def denoise_views(
    avatar: Avatar, photo: View, guide: Guide, start: FirstViews, config: RefineConfig, number: int
) -> list[View]:
    """Return the avatar's views as the guide corrects them, outward from the photo."""
    fraction = number / max(config.steps - 1, 1)
    level = config.noisy[0] + fraction * (config.noisy[1] - config.noisy[0])
    generators = view_generators(config.seed * SEED_STRIDE + number + 1, len(start.views))
    pictures: list[Tensor] = [resize_photo(photo, config.size)]
    for i in range(1, len(start.views)):
        view, driving = start.views[i], start.driving[i]
        coarse = view.picture[None]
        latents = guide.latents(draw_for_guide(avatar, view.camera, config.size).picture[None], coarse)
        noise = torch.randn(latents.shape, generator=generators[i])
        x = (1 - level) * latents + level * config.strength * noise
        priors = guide.priors(view, start.views[driving], pictures[driving])
        pictures.append(guide.pictures(guide.denoise(x, level, priors, coarse, config.led), coarse)[0])
    pairs = zip(start.views[1:], pictures[1:], strict=True)
    return [_to_view(picture, view.camera) for view, picture in pairs]


def _to_view(picture: Tensor, camera: Camera) -> View:
    alpha = picture[3]
    rgb = (picture[:3] / alpha.clamp(min=1e-3)).clamp(0, 1).permute(1, 2, 0)
    return View(rgb.numpy(), alpha.numpy(), camera)
