"""Turn a portrait into a proxy: shape from the face fit, the hair shell and the matte, colours from the photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.reference_photos import estimate_reference_camera
from portrait360.pipeline.proxy.animal_body import Clothes, cloth_share, dress_animal, is_dressed
from portrait360.pipeline.proxy.animal_shape import animal_radius, feature_share, is_animal, subject_matte
from portrait360.pipeline.proxy.fur_texture import complete_coat, fade_photo_edge, read_coat, spread_inner
from portrait360.pipeline.proxy.hair_shell import (
    carve_to_silhouette,
    fit_thickness,
    load_hair_model,
    outline,
    propagate_offsets,
    resample_map,
    round_crown,
)
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.pipeline.proxy.texture_completion import SurfaceSamples, complete_texture, map_gaussian, sample_photo
from portrait360.utils.array_types import Floats
from portrait360.utils.image_ops import foreground, smoothstep
from portrait360.utils.images import to_uint8

MIDDLE_LAYOUT = HeadMap(columns=128, rows=88)  # between the layouts of the hair model and the proxy
ANIMAL_LAYOUT = HeadMap(columns=384, rows=264, bend=-0.1, cap=0.5)
"""Finer, for the texture of fur; its rays fan out from a lower point, so that ears that stand up are along them."""
STEEPEST_TRUST = 0.1  # trust in the photo's colours below which an animal shows the map's


def proxy_from_photo(portrait: Portrait, others: Sequence[Portrait] = ()) -> Proxy:
    """Build a proxy: skin from the face fit, hair and clothes grown to the matte, colours from the photos.

    Args:
        portrait: The aligned photo.
        others: Portraits of the same head, for surfaces that the photo does not show.

    Returns:
        A head that is closed and coloured from all sides.
    """
    if is_animal(portrait):
        return animal_from_photo(portrait, others)
    hair = load_hair_model().scale_down(portrait.crop_scale)
    goal = outline(portrait.alpha, portrait.inside_photo)
    skins = skin_radii(portrait, (hair.layout, MIDDLE_LAYOUT, LAYOUT))
    bare = (hair.share[0] > 0.8) & (portrait.source == "face")
    thick = fit_thickness(hair, skins[hair.layout], portrait.camera, goal, bare)
    radius, extra, layout = thick, thick, hair.layout
    for finer, steps in ((MIDDLE_LAYOUT, 3), (LAYOUT, 1)):
        bare_finer = resample_map(bare.astype(np.float64), hair.layout, finer) > 0.5
        radius = skins[finer] + resample_map(extra, layout, finer)
        radius = propagate_offsets(finer, radius, portrait.camera, goal, bare_finer, steps=steps)
        extra, layout = radius - skins[finer], finer
    radius = carve_to_silhouette(LAYOUT, round_crown(LAYOUT, radius), portrait.camera, goal)
    class_probs = np.stack([resample_map(probs, hair.layout, LAYOUT) for probs in hair.class_probs(thick)])
    return texture_proxy(portrait, radius, class_probs, others)


def animal_from_photo(portrait: Portrait, others: Sequence[Portrait] = ()) -> Proxy:
    """Build the proxy of an animal: the inflated matte with a muzzle, under the fur that the photo shows."""
    matte, features, known = subject_matte(portrait), feature_share(portrait), portrait.inside_photo
    own, cloth = matte * (known > 0.99), cloth_share(portrait)
    inner = spread_inner(portrait.rgb, own)
    radius = animal_radius(portrait, ANIMAL_LAYOUT)
    seen = replace(portrait, alpha=matte, inside_photo=fade_photo_edge(known))
    photos = sample_photos(seen, radius, others, clean=inner, layout=ANIMAL_LAYOUT)
    coat = read_coat(inner, own * (1 - smoothstep(0.2, 0.5, cloth)), features)
    colours = complete_coat(ANIMAL_LAYOUT, radius, photos.all, coat, portrait.camera)
    if is_dressed(own > 0.5, cloth):
        colours = dress_animal(ANIMAL_LAYOUT, radius, photos.all, colours, Clothes(own > 0.5, cloth), portrait.camera)
    opaque = replace(portrait, alpha=np.maximum(matte, 1 - seen.inside_photo))  # nothing is known beyond the photo
    visible = photos.own.visible * smoothstep(0, STEEPEST_TRUST, photos.own.trust)
    shown = replace(photos, own=replace(photos.own, visible=visible), clean=foreground(portrait.rgb, own))
    return shown.proxy(opaque, radius, colours)


def fit_to_silhouette(portrait: Portrait, radius: Floats) -> Floats:
    """Grow the surface, and cut it back, to the silhouette that the portrait shows."""
    goal, no_bare = outline(portrait.alpha, portrait.inside_photo), np.zeros(radius.shape, bool)
    radius = propagate_offsets(LAYOUT, radius, portrait.camera, goal, no_bare, steps=6)
    return carve_to_silhouette(LAYOUT, round_crown(LAYOUT, radius), portrait.camera, goal)


def texture_proxy(portrait: Portrait, radius: Floats, class_probs: Floats, others: Sequence[Portrait] = ()) -> Proxy:
    """Colour a surface from the photos; class_probs (3, rows, columns) are those of skin, hair and cloth."""
    photos = sample_photos(portrait, radius, others)
    return photos.proxy(portrait, radius, complete_texture(LAYOUT, photos.all, class_probs, portrait.camera.azimuth))


@dataclass(frozen=True, eq=False)
class PhotoSamples:
    """The colours of a surface that photos show."""

    clean: Floats  # (s, s, 3) the portrait's foreground
    own: SurfaceSamples  # from the portrait
    all: SurfaceSamples  # from the portrait and the others
    layout: HeadMap = LAYOUT

    def proxy(self, portrait: Portrait, radius: Floats, colours: Floats) -> Proxy:
        """Build the proxy of this surface with completed colours, its images rounded to 8-bit values."""
        colours, visible, photo, alpha = (
            to_uint8(v).astype(np.float32) / 255 for v in (colours, self.own.visible, self.clean, portrait.alpha)
        )
        return Proxy(self.layout, radius.astype(np.float32), colours, visible, photo, alpha, portrait.camera)


def sample_photos(
    portrait: Portrait,
    radius: Floats,
    others: Sequence[Portrait] = (),
    *,
    clean: Floats | None = None,
    layout: HeadMap = LAYOUT,
) -> PhotoSamples:
    """Sample the colours of a surface from the photos; `clean` is the portrait's foreground, if already computed."""
    clean = foreground(portrait.rgb, portrait.alpha) if clean is None else clean
    own = merged = sample_photo(layout, radius, portrait.camera, clean, portrait.alpha, portrait.inside_photo)
    surface = layout.mesh(radius)
    for reference in others:
        camera, rgb = (
            estimate_reference_camera(reference, portrait, *surface),
            foreground(reference.rgb, reference.alpha),
        )
        samples = sample_photo(layout, radius, camera, rgb, reference.alpha, reference.inside_photo)
        merged = merge_photo_samples(merged, samples)
    return PhotoSamples(clean, own, merged, layout)


def paste_photo(colours: Floats, samples: SurfaceSamples) -> Floats:
    """Blend the photo's colours into a map, weighted by their trust."""
    return colours + samples.trust[..., None] * (samples.rgb - colours)


def skin_radii(portrait: Portrait, layouts: tuple[HeadMap, ...]) -> dict[HeadMap, Floats]:
    """Unwrap the fitted skin into several maps of its radius (rows, columns); holes are filled from around them."""
    model = load_morphable()
    vertices = model.vertices(portrait.shape, portrait.expression) / portrait.crop_scale
    return {layout: _fill_holes(layout.unwrap(vertices, model.triangles)[0]) for layout in layouts}


def _fill_holes(radius: Floats) -> Floats:
    """Fill holes (0) smoothly from their borders."""
    holes, out = radius <= 0, radius.copy()
    weight = (~holes).astype(np.float64)
    for sigma in (1, 2, 4, 8, 16, 32):
        total = map_gaussian(weight, sigma, sigma)
        value = map_gaussian(radius * weight, sigma, sigma) / np.maximum(total, 1e-9)
        fillable = holes & (total > 0.05)
        out[fillable], holes = value[fillable], holes & ~fillable
    return out


MIN_SHARED_CELLS = 200  # cells visible in both photos: with fewer, their colours cannot be compared
MAX_GAIN = 1.6  # largest gain of a channel to match two photos


def merge_photo_samples(first: SurfaceSamples, second: SurfaceSamples) -> SurfaceSamples:
    """Fill cells that the first photo does not show from the second, with its colours matched to the first."""
    shared = (first.trust > 0.3) & (second.trust > 0.3)
    gain = np.ones(3)
    if shared.sum() >= MIN_SHARED_CELLS:
        # cell by cell: the two medians may be of different things where half of what both show is hair, half skin
        ratio = np.maximum(first.rgb[shared], 0.02) / np.maximum(second.rgb[shared], 0.02)
        gain = np.median(ratio, 0).clip(1 / MAX_GAIN, MAX_GAIN)
    weight = second.trust * (1 - first.trust)
    total = first.trust + weight
    share = np.where(total > 1e-6, weight / np.maximum(total, 1e-6), 0)[..., None]
    rgb = first.rgb + share * ((second.rgb * gain).clip(0, 1) - first.rgb)
    return SurfaceSamples(rgb, np.maximum(first.visible, second.visible), total)
