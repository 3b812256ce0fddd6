"""Render an avatar: its layers, and over them the photo where it can be trusted.

Near the photo's own direction, the first surface that a ray of the photo hits takes the photo's colour, and the matte
rules the outline. Further round, a pixel of the photo counts only on the layer that its label names, and only where
the photo shows the surface finely enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera
from portrait360.geometry.pixel_points import measure_angles, measure_resolution, project_points, unproject_pixels
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.clothes.pattern import ClothPattern, find_shown_cloth, lay_pattern, make_pattern
from portrait360.pipeline.avatar.hair.curls import Curls, find_curls, look_up_curls
from portrait360.pipeline.avatar.hair.tone import Tone, find_tone, tone_hair
from portrait360.pipeline.avatar.photo.pixels import BEARD, CLOTHES, HAIR, SKIN, WORN, Photo
from portrait360.pipeline.avatar.skin.detail import SkinDetail, coarser, look_up_detail, make_detail
from portrait360.pipeline.avatar.skin.eye_shade import shade_eyes
from portrait360.pipeline.avatar.skin.lip_shade import lighten_lips
from portrait360.pipeline.avatar.view.ears import keep_ears
from portrait360.pipeline.avatar.view.face_light import light_skin
from portrait360.pipeline.avatar.view.matte_edges import (
    TURNED as DROPPED,
)
from portrait360.pipeline.avatar.view.matte_edges import (
    clear_edges,
    drop_specks,
    even_outline,
    find_cleared,
    measure_turn,
    mix_photos,
)
from portrait360.pipeline.avatar.view.own_frame import FROM, OwnFrame
from portrait360.pipeline.avatar.view.photo_border import ease_border, fray_border
from portrait360.pipeline.avatar.view.relief import SIDE, Relief, make_relief
from portrait360.pipeline.avatar.view.relief_trust import CLEAN, TURNED, leave_out_ink
from portrait360.pipeline.avatar.view.relief_view import (
    Colours,
    Eyes,
    fade_at_border,
    find_fine,
    lay_relief_over,
    measure_to_border,
)
from portrait360.pipeline.avatar.view.relight import (
    find_deep_shade,
    find_relight,
    leave_deep_shade,
    relight,
    turn_light,
)
from portrait360.pipeline.avatar.view.seams import hide_seams
from portrait360.pipeline.avatar.view.turned_face import keep_features
from portrait360.pipeline.avatar.worn.glasses_photo import OWN, find_frames_before, show_own_frame
from portrait360.pipeline.avatar.worn.hat_colours import has_one_material
from portrait360.pipeline.proxy.proxy import Proxy, ProxyView
from portrait360.synth.meshes import unit
from portrait360.synth.render.bake import PreparedScene
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.mesh_buffers import POSITION
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.render.tone_mapping import srgb_to_radiance, tone_map
from portrait360.synth.scene import Part
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label, find_labels

LAYERS = (SKIN, HAIR, BEARD, CLOTHES, WORN)
LAYER_OF_LABEL = np.full(256, -1, np.int8)
for _i, _labels in enumerate(LAYERS):
    LAYER_OF_LABEL[list(map(int, _labels))] = _i
BODY = (LAYERS.index(SKIN), LAYERS.index(CLOTHES))
DEPTH_SIZE = 1024  # pixels of the depth map at the photo's camera
TOLERANCE = np.array([0.008, 0.03, 0.02, 0.022, 0.015], np.float32)  # of a layer's depth, canonical units
INSET, SKIN_INSET = 0.0025, 0.006  # picture sides by which a layer stays within its label: skin is stained by hair
INNER = (Label.EYE, Label.BROW, Label.MOUTH, Label.LIPS)
BARE = (Label.FACE, Label.EAR, Label.SKIN)
LIPPED = (Label.MOUTH, Label.LIPS)
INNER_TOLERANCE = 0.08  # lids, lashes and teeth: their fit is coarser than their depth
NEAR = (5.0, 16.0)  # degrees from the photo's direction: its colours whatever the label, then by label
HAIR_END, SKIN_END, INNER_END, BROW_END = (22.0, 45.0), (80.0, 115.0), (50.0, 75.0), (40.0, 65.0)
MOUTH_END = (30.0, 44.0)
PAINTED_END = (115.0, 140.0)  # that of a painted face, on which nothing moves with the eye
"""Degrees from the photo's direction at which it fades."""
FINE = (0.2, 0.6)  # photo pixels per rendered pixel: between them the photo fades in
ASLANT = (0.45, 0.75)  # cosines to the photo's camera from which skin is seen aslant, to where it is seen well
ASIDE = (20.0, 45.0)  # degrees from the photo's direction over which what it saw aslant fades
ASLANT_FLOOR = (0.02, 0.05)  # least cosines to the photo's camera and the view's, where a surface has few pixels
INSIDE = 0.0005  # picture sides within the photo's border
GRAZING = (0.25, 0.7)  # cosine to the camera under which grain fades: narrower than a pixel, it would be stripes
NECK = 0.6  # strength of a face's grain on neck and chest, which are smoother
CUT = (12.0, 26.0)  # degrees from the photo's direction over which its matte lets hair and what is worn reach further
GROWN = (10.0, 18.0)  # those over which it lets a body reach ever further
LEFT = (7.5, 10.0)  # those over which they leave its edge
BETWEEN = 0.004  # picture sides: half the width of what is too narrow to be shown alone
HIDDEN = (0.0015, 0.0035)  # canonical depth behind what the photo sees at which it knows nothing of what has moved
BESIDE, FAR, RIM = 0.012, 0.5, 0.003  # picture sides beside the matte that layers may reach, and of a soft edge
NOTCH = 0.05  # picture sides: half the width of notches in a matte that what comes into sight behind it fills
GAP = (0.05, 0.09)  # canonical units behind the first surface at which the photo's matte no longer rules


class Motion(Eyes, Protocol):
    """Layers that have moved since the photo was taken."""

    @property
    def scene(self) -> PreparedScene: ...

    @property
    def relief(self) -> Relief: ...

    @property
    def change_map(self) -> F32:
        """1 where something else may be seen than what the photo shows there (k, k), else 0."""
        ...

    def to_rest(self, film: Film, points: Floats, camera: Camera) -> tuple[Floats, Floats]:
        """Return where the points (s, s, 3) that a camera sees were in the photo.

        Also return 1 for the pixels (s, s) of which the photo says nothing any more, 0 for others.
        """
        ...


@dataclass(frozen=True, eq=False)
class PhotoProjection:
    """The photo and the depth at which its rays meet the avatar."""

    photo: Photo
    scene: PreparedScene
    cover: Proxy  # the closed surface that the matte shows
    drawn: bool = False  # whether the photo is a drawing
    worn: F32 | None = None  # (s, s, 3) what a frame adds to the photo, from which it has been taken off
    frame: OwnFrame | None = None  # that frame, if it can be cut out

    @property
    def depth(self) -> F32:
        """Depth of the first surface at the photo's camera; 9 where there is none."""
        return self._comparison[0]

    @property
    def gains(self) -> F32:
        """What the photo's broad light is to be multiplied by for that of the layers, see `find_relight`."""
        return self._comparison[1]

    @property
    def relief(self) -> Relief:
        return self._comparison[2]

    @property
    def tone(self) -> Tone | None:
        return self._comparison[3]

    @property
    def light(self) -> F64:
        """By what the face is brighter in the light of the layers than in the photo's, see `fit_face_light`."""
        return self._comparison[4]

    def with_colours(self, rgb: F32) -> PhotoProjection:
        """Return the projection of a photo (s, s, 3) that shows the same things in other colours."""
        _ = self._comparison
        photo = replace(self.photo, rgb=rgb, radiance=srgb_to_radiance(rgb))
        out = replace(self, photo=photo)
        vars(out).update({name: value for name, value in vars(self).items() if name not in ("photo", "clear")})
        return out

    @cached_property
    def _comparison(self) -> tuple[F32, F32, Relief, Tone | None, F64]:
        film = render_linear(self.scene, self.photo.camera, DEPTH_SIZE)
        tone = None if self.drawn else find_tone(self.photo, film)
        film = tone_hair(film, tone, unproject_pixels(self.photo.camera, film.depth)[..., 1])
        gains, light = find_relight(self.photo, film, LAYER_OF_LABEL, len(LAYERS))
        skin = draw_skin(self.scene, self.photo.camera)
        relief = make_relief(self.photo, film, skin, LAYER_OF_LABEL, self.cover, drawn=self.drawn)
        deep = find_deep_shade(self.photo, gains[:, :, LAYERS.index(SKIN)])
        relief = replace(relief, shows=relief.shows._replace(deep=deep))
        return np.where(film.alpha > 0.3, film.depth, np.float32(9)), gains, relief, tone, light

    @cached_property
    def clear(self) -> Photo:
        """The photo as it is shown from aside."""
        return ease_border(fray_border(clear_edges(self.photo)), self.depth < 8)

    @cached_property
    def clearing(self) -> tuple[float, float]:
        return find_cleared(self.photo)

    @cached_property
    def detail(self) -> SkinDetail | None:
        return None if self.photo.painted else make_detail(self.photo)

    @cached_property
    def hat_detail(self) -> SkinDetail | None:
        return make_detail(self.photo, Label.HAT) if has_one_material(self.photo) else None

    @cached_property
    def curls(self) -> Curls | None:
        return None if self.drawn else find_curls(self.photo, self.scene.curves)

    @cached_property
    def pattern(self) -> ClothPattern | None:
        return None if self.drawn else make_pattern(self.photo, self.depth)

    @cached_property
    def masks(self) -> F32:
        """Soft masks of LAYERS (s, s, layers)."""
        insets = [SKIN_INSET if labels == SKIN else INSET for labels in LAYERS]
        masks = [self._inner_mask(labels, inset) for labels, inset in zip(LAYERS, insets, strict=True)]
        masks[LAYERS.index(WORN)] *= self.relief.shows.clear_hat
        masks[LAYERS.index(BEARD)] *= cv2.GaussianBlur(self.photo.pure, (0, 0), SKIN_INSET * self.photo.size)
        return np.stack(masks, -1)

    def _inner_mask(self, labels: tuple[Label, ...], inset: float) -> Floats:
        pixels = inset * self.photo.size
        return self.photo.mask(labels, inset=max(round(pixels), 1), blur=pixels)

    @cached_property
    def beside(self) -> F32:
        """Picture sides from each pixel to the matte without its narrow notches (s, s)."""
        return fill_notches(measure_beside(self.photo.alpha >= 0.2))

    @cached_property
    def beside_clear(self) -> F32:
        """The same to the matte without haze."""
        return measure_beside(self.clear.alpha >= 0.5)

    @cached_property
    def face_mask(self) -> Floats:
        """A soft mask of all that may lie around eyes and mouth: labels of lips, teeth and moustache are unsure."""
        return self.photo.mask((*SKIN, *BEARD, Label.GLASSES))


def render_avatar(projection: PhotoProjection, camera: Camera, size: int, motion: Motion | None = None) -> ProxyView:
    """Render a view of the layers with the photo on them, and near its direction the photo's relief over them.

    What has moved takes the photo with it. Where a frame that is cut out of the photo ends, it fades.
    """
    frame = projection.frame if motion is None else None  # a cutout does not move
    share = 0.0 if frame is None else frame.measure_share(camera)
    if share in (0.0, 1.0):
        return _render_view(projection, frame if share else None, camera, size, motion)
    layers, cut = (_render_view(projection, shown, camera, size, motion) for shown in (None, frame))
    return mix_views(layers, cut, share)


def mix_views(first: ProxyView, second: ProxyView, share: float) -> ProxyView:
    """Return a view with this share of the colours and the cover of the second."""
    alpha = first.mask + share * (second.mask - first.mask)
    rgb = (1 - share) * first.rgb * first.mask[..., None] + share * second.rgb * second.mask[..., None]
    rgb = (rgb / np.maximum(alpha, 1e-4)[..., None]).clip(0, 1).astype(np.float32)
    return replace(
        first, rgb=rgb, mask=np.asarray(alpha, np.float32), depth=np.where(first.mask > 0, first.depth, second.depth)
    )


def _render_view(
    projection: PhotoProjection, frame: OwnFrame | None, camera: Camera, size: int, motion: Motion | None
) -> ProxyView:
    """Do so with a frame before the layers, or with that of the layers."""
    scene = projection.scene if motion is None else motion.scene
    film = render_linear(scene if frame is None else frame.bare, camera, size)
    points = unproject_pixels(camera, _smooth_hair_depth(film, camera.radius))
    points, lost = (points, 0.0) if motion is None else motion.to_rest(film, points, camera)
    film = tone_hair(film, projection.tone, points[..., 1])
    uv, depth = project_points(projection.photo.camera, points)
    eye = camera.position if motion is None else motion.find_eyes(points, camera)
    angle, layer = measure_angles(points, projection.photo.camera.position, eye), LAYER_OF_LABEL[film.labels]
    film = light_skin(film, projection.light, unit(projection.photo.camera.position), 1 - turn_light(angle))
    near, behind = 1 - smoothstep(*NEAR, angle), (depth - look_up_nearest(projection.depth, uv)).astype(np.float32)
    uv = uv.astype(np.float32)
    density = _relative_resolution(film, points, projection.photo.camera, camera)
    turn = measure_turn(angle, film.alpha, projection.clearing)
    photo = mix_photos(projection.photo, projection.clear, turn) if turn else projection.photo
    matte, known = look_up(photo.alpha, uv), look_up(photo.known, uv)
    share = trust_photo(projection, film, uv, angle, near, behind, density, matte, known)
    share = share * keep_features(find_labels(film.labels, INNER), photo, eye, angle)
    share = share * keep_ears((film.labels == Label.EAR) & (film.alpha > 0), photo, points, angle)
    share = share * (1 - find_frames_before(film, angle))
    if motion is not None:  # what the photo did not see comes into sight
        share *= (1 - look_up(motion.change_map, uv) * smoothstep(*HIDDEN, behind)) * (1 - lost)
    rgb = np.zeros_like(film.radiance)
    pixel = float(camera.radius / (camera.focal * size))
    shade = shade_eyes(film, pixel) * lighten_lips(film, pixel)
    grain = _vary_skin(projection, film, points, 1 - share, eye, camera)
    grain *= _vary_cloth(projection, film, points, behind, camera)
    grain *= _vary_hair(projection, film, points, (1 - share) * (1 - near), eye, camera)
    tone_map(film.radiance * shade * grain, rgb)
    first = 1 - smoothstep(*GAP, behind)
    lit = relight(photo, projection.gains, np.where(share > 0, layer, np.int8(-1)), uv, angle)
    bare, rgb = rgb, rgb + share[..., None] * (lit - rgb)
    # nothing that the photo sees first lies outside its matte, or further round not far outside
    beside = look_up(projection.beside, uv)
    left = leave_matte(matte, look_up(projection.beside_clear, uv), angle)
    outside = np.maximum(first * left, find_beyond(beside, angle, layer))
    outside = outside * look_up(projection.photo.known, uv)
    seen = share * (film.alpha > 0)
    layers = Colours(rgb, film.alpha * (1 - outside), seen, film.depth, seen, find_fine(film.labels, film))
    relief = projection.relief if motion is None else motion.relief
    shown = photo, projection.gains, LAYER_OF_LABEL, relief
    rgb, alpha, share, depth, own, fine = lay_relief_over(layers, film, behind, *shown, camera, motion)
    rgb = hide_seams(rgb, bare, film, share, own)
    turned = measure_turn(angle, film.alpha, DROPPED)
    alpha = alpha + turned * (drop_specks(alpha) - alpha)
    rgb, alpha = even_outline(rgb, alpha, fine, turned)
    if projection.worn is not None:
        over = OWN if frame is None else FROM
        rgb = rgb + show_own_frame(look_up(projection.worn, uv), angle, over) * (alpha > 0)[..., None]
    if frame is not None:
        rgb, alpha = frame.lay_over(rgb, alpha, depth, angle, camera)
    return ProxyView(
        (rgb * (alpha > 0)[..., None]).clip(0, 1).astype(np.float32),
        share.astype(np.float32),
        alpha.astype(np.float32),
        depth.astype(np.float32),
        film.normals,
    )


def trust_photo(
    projection: PhotoProjection,
    film: Film,
    uv: Floats,
    angle: Floats,
    near: Floats,
    behind: Floats,
    density: Floats,
    matte: Floats,
    known: Floats,
) -> F32:
    """Return the photo's share of each pixel.

    Args:
        projection: The photo and what its rays meet.
        film: The rendered layers.
        uv: Where the photo shows each pixel's surface.
        angle: Degrees between the rays of both cameras.
        near: 1 near the photo's direction, 0 further round.
        behind: How far the surface lies behind the first that the photo's ray meets.
        density: How many pixels of the photo show the surface per pixel of the view.
        matte: Alpha of what the photo shows at each pixel.
        known: How far the photo reaches there.
    """
    photo, layer = projection.photo, LAYER_OF_LABEL[film.labels]
    inner = find_labels(film.labels, INNER)
    tolerance = np.where(inner, INNER_TOLERANCE, TOLERANCE[layer]) + 0.04 * near
    visible = np.maximum(1 - smoothstep(1.0, 1.6, behind / tolerance), smoothstep(0.93, 0.999, near))
    masks = np.take_along_axis(look_up(projection.masks, uv), np.maximum(layer, 0)[..., None].astype(int), -1)[..., 0]
    stained = np.maximum(smoothstep(*TURNED, angle), (1 - near) * (1 - smoothstep(*CLEAN, density))) * (
        layer == LAYERS.index(SKIN)
    )
    masks = masks * (1 - stained * (1 - look_up(projection.relief.shows.clear_skin, uv)))
    masks = np.where(inner, look_up(projection.face_mask, uv), masks * (layer >= 0))
    masks = masks + near * (np.clip(4 * matte, 0, 1) - masks)
    masks = masks * leave_out_ink(projection.relief.shows, uv, angle)
    fade = 1 - np.select(
        [film.labels == Label.BROW, find_labels(film.labels, LIPPED), inner, layer == 1, layer == 2],
        [smoothstep(*end, angle) for end in (BROW_END, MOUTH_END, INNER_END, HAIR_END, HAIR_END)],
        smoothstep(*(PAINTED_END if photo.painted else SKIN_END), angle),
    )
    weight = np.where(inner, fade, smoothstep(*FINE, density) * fade * judge_facing(photo.camera, film, angle))
    lit = leave_deep_shade(projection.relief.shows.deep, uv, angle)
    weight = weight * np.where(layer == LAYERS.index(SKIN), lit, 1)
    weight = weight + near * (1 - weight)
    edge = measure_to_border(uv) > INSIDE
    known = known * edge * fade_at_border(uv, angle)
    share = (weight * visible * masks * known * (film.alpha > 0)).astype(np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(BETWEEN * len(share)) + 1,) * 2)
    opened = cv2.morphologyEx(share, cv2.MORPH_OPEN, disc)  # no skin between strands, nor strands alone
    share = opened + near * (share - opened)
    soft = np.minimum(share, cv2.GaussianBlur(cv2.erode(share, np.ones((2, 2), np.uint8)), (0, 0), 1.0) * 1.1)
    return np.clip(soft + near * (share - soft), 0, 1).astype(np.float32)


def judge_facing(camera: Camera, film: Film, angle: Floats) -> Floats:
    """Return how far skin faces the photo's camera (s, s): what that saw aslant, in glancing light, fades aside.

    What it saw well, it shows from all sides: no layer has as many freckles and wrinkles.
    """
    facing = film.normals @ unit(camera.position).astype(np.float32)
    skin = LAYER_OF_LABEL[film.labels] == LAYERS.index(SKIN)
    return 1 - skin * smoothstep(*ASIDE, angle) * (1 - smoothstep(*ASLANT, facing))


def measure_beside(shown: Bools) -> F32:
    """Return the picture sides from each pixel to those that are shown (s, s)."""
    return np.asarray(cv2.distanceTransform((~shown).astype(np.uint8), cv2.DIST_L2, 5) / len(shown), np.float32)


def fill_notches(beside: F32) -> F32:
    """Return picture sides from each pixel to an outline (s, s) with its notches filled, lest layers have bites."""
    within = (beside <= NOTCH).astype(np.uint8)
    inner = np.asarray(cv2.distanceTransform(within, cv2.DIST_L2, 5), np.float32) / len(beside)
    return np.where(within > 0, np.maximum(NOTCH - inner, 0), beside).astype(np.float32)


def leave_matte(matte: Floats, beside: Floats, angle: Floats) -> Floats:
    """Return 1 for layers that the photo's matte hides near its direction (s, s), and how soft its edge is there.

    They come forth from that edge outwards, always opaque: hair that fades in all at once is a ghost's.
    """
    begin, end = LEFT
    reach = (BESIDE + RIM) * np.clip((angle - begin) / (end - begin), 0, 1) - RIM
    return np.minimum(1 - matte, smoothstep(-RIM, RIM, beside - reach)) * (angle < end)


def find_beyond(beside: Floats, angle: Floats, layer: NDArray[np.int8]) -> Floats:
    """Return 1 for layers that lie too far beside the photo's matte to be seen near its direction (s, s).

    What the matte lacks grows from its edge as the view turns, always opaque: a fading shoulder is a ghost's.
    """
    body = find_labels(layer, BODY)
    begin, end = (np.where(body, np.float32(grown), np.float32(cut)) for grown, cut in zip(GROWN, CUT, strict=True))
    turned = np.clip((angle - begin) / (end - begin), 0, 1)
    return smoothstep(-RIM, RIM, beside - BESIDE * (FAR / BESIDE) ** turned) * (turned < 1)


def draw_skin(scene: PreparedScene, camera: Camera) -> F32:
    """Return the depth of the skin alone at the vertices of a relief, 0 beside it."""
    surface = scene.surface
    bare = (surface.part == Part.SKIN) & find_labels(surface.labels, SKIN)
    skin = surface.triangles[bare]
    return rasterise(surface.values[:, POSITION], skin, camera, SIDE).depth


def _vary_skin(
    projection: PhotoProjection, film: Film, points: Floats, share: Floats, eye: Floats, camera: Camera
) -> F32:
    """Return by what to multiply the radiance of the layers (s, s, 3): the grain of the photo's skin, and hat's."""
    out = np.ones_like(film.radiance)
    free = share * film.alpha > 0
    for labels, find in ((BARE, lambda: projection.detail), ((Label.HAT,), lambda: projection.hat_detail)):
        seen = find_labels(film.labels, labels) & free
        detail = find() if seen.any() else None
        if detail is None:
            continue
        tile = coarser(detail.fine, float(camera.radius) / (camera.focal * len(out) * detail.pixel))
        places, normals = points[seen], film.normals[seen]
        facing = (normals * unit(np.broadcast_to(eye, points.shape)[seen] - places)).sum(-1)
        strength = share[seen] * smoothstep(*GRAZING, facing) * np.where(film.labels[seen] == Label.SKIN, NECK, 1)
        out[seen] = np.exp(strength[:, None] * look_up_detail(tile, detail.pixel, places, normals))
    return out


def _vary_cloth(projection: PhotoProjection, film: Film, points: Floats, behind: Floats, camera: Camera) -> F32:
    """Return the same (s, s, 3) for cloth: the pattern that goes on where the colours of the layers lack it."""
    pattern, out = projection.pattern, np.ones_like(film.radiance)
    cloth = (film.labels == Label.CLOTHES) & (film.alpha > 0)
    if pattern is None or not cloth.any():
        return out
    step = float(camera.radius) / (camera.focal * len(out) * pattern.pixel)
    seen = find_shown_cloth(projection.photo, points[cloth], film.normals[cloth], behind[cloth])
    out[cloth] = np.exp((1 - seen)[:, None] * lay_pattern(pattern, points[cloth], film.normals[cloth], step))
    return out


def _vary_hair(
    projection: PhotoProjection, film: Film, points: Floats, share: Floats, eye: Floats, camera: Camera
) -> F32:
    """Return the same (s, s, 3) for hair: the curls of the photo's."""
    out = np.ones_like(film.radiance)
    seen = (film.labels == Label.HAIR) & (share * film.alpha > 0)
    curls = projection.curls if seen.any() else None
    if curls is not None:
        step = float(camera.radius) / (camera.focal * len(out))
        away = np.broadcast_to(eye, points.shape)[seen]
        out[seen] = np.exp(share[seen][:, None] * look_up_curls(curls, points[seen], away, step))
    return out


def look_up_nearest(picture: F32, uv: Floats) -> F32:
    side = len(picture)
    x, y = (np.clip((uv[..., i] * side).astype(int), 0, side - 1) for i in (0, 1))
    return picture[y, x]


def _smooth_hair_depth(film: Film, radius: float) -> F32:
    """Return the depth of every pixel; strands lie in the surface of the hair around them, where it is near."""
    depth = np.where(film.alpha > 0, film.depth, np.float32(radius)).astype(np.float32)
    hair = find_labels(film.labels, (*HAIR, *BEARD)).astype(np.float32)
    sigma = 3.0 * len(depth) / 512
    weight = cv2.GaussianBlur(hair, (0, 0), sigma)
    smooth = cv2.GaussianBlur(depth * hair, (0, 0), sigma) / np.maximum(weight, 1e-3)
    return np.where((hair > 0) & (np.abs(smooth - depth) < 0.03), smooth, depth)


def _relative_resolution(film: Film, points: Floats, photo: Camera, camera: Camera) -> F32:
    """Return how many pixels of the photo show the surface at a point per pixel of the camera, at equal sizes."""
    hair = find_labels(film.labels, (*HAIR, *BEARD))[..., None]
    sigma = 3.0 * len(film.depth) / 512
    normals = np.where(hair, cv2.GaussianBlur(film.normals, (0, 0), sigma), film.normals)
    return measure_resolution(points, normals, (photo, camera), ASLANT_FLOOR)
