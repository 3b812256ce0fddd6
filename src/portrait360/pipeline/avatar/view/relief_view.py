"""Near the photo's direction, the photo's relief over the layers.

Hair, hats and cloth of the generator never lie quite as those of the photo do. Up to about 35 degrees from there the
photo looks right on a surface that is only roughly so; beyond, the layers take over.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera
from portrait360.geometry.pixel_points import measure_angles, project_points, unproject_pixels
from portrait360.pipeline.avatar.photo.pixels import BEARD, HAIR, VOID, Photo
from portrait360.pipeline.avatar.view.ears import keep_ears
from portrait360.pipeline.avatar.view.relief import STEP, Relief
from portrait360.pipeline.avatar.view.relief_trust import (
    SOFT_EDGE,
    drop_islands,
    leave_out_ink,
    measure_density,
    soften_edges,
)
from portrait360.pipeline.avatar.view.relight import EXTRA, leave_deep_shade, relight
from portrait360.pipeline.avatar.view.turned_face import FEATURES, keep_features
from portrait360.pipeline.avatar.worn.glasses_photo import find_frames_before
from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32, Bools, Bytes, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label, find_labels

OWN = (0.4, 1.2)  # degrees up to which the view is the photo's own
OVERRULED = (5.0, 10.0)  # degrees over which what the user overrules fades
SLIT = 0.03  # picture sides: widest gap in the relief that another hat may fill
HOLE = 0.02  # picture sides: half the width of holes, through which nothing but background would be seen
THREAD = 0.006  # picture sides: half the width of what is left of a hole's filling that cannot close it
SOFT = 0.8  # pixels over which what is cut away ends
BORDER = 0.05  # picture sides from the photo's edge over which it fades in
STEPS = 0.0025  # picture sides by which steps in depth are blurred: about a cell of the relief
POOR_END = (23.0, 24.5)  # degrees over which the photo of what the layers have otherwise ends: both would be a ghost
HAIR_ON_HAT = (32.0, 37.0)  # degrees over which the photo's hair over a hat ends
LOOSE = (9.0, 14.0)  # degrees up to which loose hair is as soft as in the photo's matte; further round, a ghost's
FIRM = (1.0, 3.0)  # degrees up to which skin and cloth are as soft as in the photo's matte
FINE_THINGS = (*HAIR, *BEARD, Label.GLASSES, Label.JEWELLERY)
AROUND, FEW = 0.01, (0.03, 0.2)  # picture sides around a pixel, and share of fine things there from which edges stay
HAZE = (0.06, 0.94)  # share of a matte over which its edge becomes solid: less is haze
HALF, SOLID = (0.45, 0.6), (0.35, 0.7)  # that further round, and of its softened edge: what is half there is a ghost
AIRY = (8.0, 13.5)  # degrees over which the photo of hair ends that hangs beside the layers, with nothing beneath;
# that of clothes, too, if those of the layers lie elsewhere
BODY = (Label.CLOTHES, Label.SKIN, Label.OBJECT)
SEEN = 0.35  # share of the photo from which its hair is seen
STRAND, ALONE = 0.006, (8.0, 14.0)  # picture sides: half the width of lone strands; degrees up to which they are none
CURL, CURLS_END, LOW = 0.008, (9.0, 17.0), 0.02
"""Share of a view up to which hair over bare skin is a curl's, and degrees over which it ends, if it lies lower than
this canonical height: in the photo it is behind an ear, and would lie on the jaw further round."""
STRETCHED = (0.45, 0.85)  # pixels of the photo per rendered pixel: it is stretched below, and not above
UNLIKE, DARK = (0.2, 0.5), 0.1  # difference of colours from which that is seen, logarithms, and sRGB that both gain
SMEAR, COVERED = 0.006, (0.8, 0.95)  # picture sides over which they are compared, and how solid the layers must be
BEFORE = 0.05  # canonical depth by which a layer must lie before the relief to hide it


class Eyes(Protocol):
    """Something that has moved since the photo was taken."""

    def find_eyes(self, rest: Floats, camera: Camera) -> Floats:
        """Return where a camera stands to what was at points (.., 3) in the photo, as if that had not moved."""
        ...


class Colours(NamedTuple):
    """A picture, and how much of each pixel is the photo's."""

    rgb: Floats  # (s, s, 3)
    alpha: Floats  # (s, s)
    share: Floats  # (s, s)
    depth: Floats  # (s, s) 0 beside the head
    own: Floats  # (s, s) how much of each pixel is what the photo shows of the same layer
    fine: Floats  # (s, s) 1 beside hair and other fine things


def lay_relief_over(
    layers: Colours,
    film: Film,
    behind: Floats,
    photo: Photo,
    gains: F32,
    layer_of_label: NDArray[np.int8],
    relief: Relief,
    camera: Camera,
    motion: Eyes | None = None,
) -> Colours:
    """Show the photo's relief over the layers near the photo's direction, but for what they have before it.

    What the photo sees, it knows better: only what lies far enough `behind` the first surface there can hide it.
    """
    turned = _view_angle(camera, photo.camera)
    if turned > relief.end[1]:
        return layers
    size = len(layers.alpha)
    uv, firm, distance, shift, kept = relief.draw_moved(camera, size)
    drawn = (distance > 0)[..., None]
    points = unproject_pixels(camera, np.where(drawn[..., 0], distance, np.float32(camera.radius)))
    rest = points if shift is None else points - shift
    eye = camera.position if motion is None else motion.find_eyes(rest, camera)
    angle = measure_angles(points if motion is None else rest, photo.camera.position, eye)
    # at the photo's own camera every ray shows its pixel, also where the relief is torn
    straight = project_points(photo.camera, rest)[0]
    uv = np.where(drawn, straight + smoothstep(*OWN, angle)[..., None] * (uv - straight), straight)
    shows = drawn[..., 0] & ~find_hidden(film, distance, behind)
    seen = np.maximum(shows, 1 - smoothstep(*OWN, angle))
    labels = look_up_labels(photo, uv)
    uv = uv.astype(np.float32)
    shown, beneath = layer_of_label[labels], layer_of_label[film.labels]
    known = find_known(photo, uv, labels, angle) * (1 if kept is None else kept)
    whole = seen * known * fade_out(relief, shown, angle, turned) * leave_out_ink(relief.shows, uv, angle)
    skin, lit = layer_of_label[Label.FACE], leave_deep_shade(relief.shows.deep, uv, angle)
    whole = whole * np.where((shown == skin) & (beneath == skin), lit, 1)
    whole = whole * uncover_hat(labels, film.labels, look_up(relief.shows.clear_hat, uv), angle)
    whole = whole * (1 - find_frames_before(film, angle) * (shown == layer_of_label[Label.FACE]))
    features = find_labels(labels, FEATURES) & (shown == beneath) | find_labels(film.labels, FEATURES)
    whole = whole * keep_features(features, photo, eye, angle)
    ears = (labels == Label.EAR) & (beneath >= 0) | (film.labels == Label.EAR) & (shown == skin)
    whole = whole * keep_ears(ears, photo, rest, angle)
    curls = (labels == Label.HAIR) & (beneath == skin) & (rest[..., 1] < LOW) & (whole > 0)
    whole = whole * (1 - find_small(curls) * smoothstep(*CURLS_END, angle))
    colours = relight(photo, gains, np.where(shown >= 0, gains.shape[2] - EXTRA, -1), uv, angle)
    alike = np.isin(beneath, list({skin, layer_of_label[Label.HAIR]} - relief.poor)) & ~np.isin(labels, FEATURES)
    stray = find_labels(shown, relief.poor) & find_labels(labels, BODY)  # clothes that lie elsewhere on the layers
    whole = whole * (1 - stray * (1 - layers.alpha) * smoothstep(*AIRY, angle))
    whole = whole * (1 - find_smears(colours, layers, uv, shown == beneath) * alike * smoothstep(*SOFT_EDGE, angle))
    trust = trust_relief(whole, firm, relief, Place(uv, angle, labels, shown, beneath), layers.alpha, layer_of_label)
    colours = soften_steps(colours, distance, smoothstep(*OWN, angle))
    layers = layers._replace(alpha=layers.alpha * (1 - find_lone_strands(layers, film, whole, turned)))
    kept_alpha = layers.alpha * (1 - find_strange(relief, film, layer_of_label, turned, distance > 0))
    own, fine = layers.own + trust * ((shown == beneath) - layers.own), find_fine(labels, film)
    layers = layers._replace(own=own, alpha=kept_alpha, fine=fine)
    return blend_over(layers, colours, trust, make_opaque(trust, angle, fine), distance)


def find_small(mask: Bools) -> F32:
    """Return 1 in the small parts of a mask of a view (s, s), with soft edges."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    small = np.asarray(stats)[:, cv2.CC_STAT_AREA] < CURL * mask.size
    small[0] = False
    found = cv2.dilate(small[np.asarray(parts, np.int32)].astype(np.float32), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.GaussianBlur(found, (0, 0), SOFT), np.float32)


def find_smears(colours: Floats, layers: Colours, uv: Floats, same: Bools) -> Floats:
    """Return 1 where pixels of the photo at uv are stretched and of another colour than the layers (s, s), else 0.

    A smear of the same colour is not seen; what glares at the photo's outline would be a stain. What is darker than
    the `same` layer lies in its shade. This does not hold for hats, clothes, eyes and mouths, which the layers do not
    have as the photo does, nor for single strands.
    """
    above, beneath, solid = (
        cv2.GaussianBlur(np.asarray(values, np.float32), (0, 0), SMEAR * len(uv)).clip(0)
        for values in (colours, layers.rgb, layers.alpha)
    )
    brighter = np.log((above + DARK) / (beneath + DARK)).mean(-1)
    unlike = smoothstep(*UNLIKE, np.where(same, brighter, np.abs(brighter)))
    return unlike * smoothstep(*COVERED, solid) * (1 - smoothstep(*STRETCHED, measure_density(uv)))


def find_hidden(film: Film, distance: F32, behind: Floats) -> Bools:
    """Return where a layer that the photo does not see lies before the relief (s, s), without crumbs."""
    before = (film.alpha > 0.5) & (film.depth < distance - BEFORE) & (behind > BEFORE)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(THREAD * len(before)) + 1,) * 2)
    return cv2.morphologyEx(before.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0


class Place(NamedTuple):
    """What the photo shows of the relief at each pixel of a view (s, s)."""

    uv: Floats  # (s, s, 2) where it does
    angle: Floats  # degrees from its direction
    labels: Bytes
    shown: NDArray[np.int8]  # the layer that it shows
    beneath: NDArray[np.int8]  # the layer that lies there


def trust_relief(
    whole: Floats, firm: Floats, relief: Relief, place: Place, layers: Floats, layer_of_label: NDArray[np.int8]
) -> Floats:
    """Return a share (s, s) of the relief, without scraps of it and without holes through the `layers` (s, s).

    Args:
        whole: The share of it that the photo would allow.
        firm: 0 where it is torn, 1 inside.
        relief: The relief.
        place: What the photo shows of it.
        layers: How far the layers cover each pixel.
        layer_of_label: The layer that each label names.
    """
    bare = place.beneath == layer_of_label[Label.FACE]
    air = (1 - layers) * find_labels(place.shown, (-1, layer_of_label[Label.HAIR]))  # and what is hair by its edge
    air = air * (place.angle < AIRY[1])
    later = np.interp(place.angle, AIRY, SOFT_EDGE).astype(np.float32)
    aside = place.angle + air * (later - place.angle)
    scraps = bare & find_labels(place.labels, (Label.HAIR, Label.BEARD))  # of hair that the layers lack
    skin = bare & (place.shown == place.beneath)
    trust = soften_edges(whole, firm, relief.shows, place.uv, aside, skin, scraps)
    fitting = ~find_labels(place.beneath, relief.poor)
    trust = drop_islands(trust, layers * ~scraps, aside, fitting)
    kept = np.where(whole > 0, trust / np.maximum(whole, 1e-6), 0)
    return close_holes(thin_out(whole, kept, air), whole, layers)


def thin_out(whole: Floats, kept: Floats, air: Floats) -> Floats:
    """Return a share (s, s) of which as much is `kept`; in the `air`, hair gets thinner instead of fainter."""
    thinner = np.clip((whole - (1 - kept)) / np.maximum(kept, 1e-3), 0, 1)
    return whole * kept + air * (thinner - whole * kept)


def find_lone_strands(layers: Colours, film: Film, whole: Floats, turned: float) -> Floats:
    """Return 1 for strands of the layers that stick out of the photo's hair near its direction (s, s), else 0."""
    if not OWN[0] < turned < ALONE[1]:
        return np.zeros_like(whole)
    covered = np.maximum(layers.alpha, whole).astype(np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(STRAND * len(whole)) + 1,) * 2)
    lone = (covered - cv2.morphologyEx(covered, cv2.MORPH_OPEN, disc)) * (film.labels == Label.HAIR)
    return np.clip(2 * lone, 0, 1) * (1 - np.minimum(whole / SEEN, 1)) * (1 - _rise(ALONE, turned))


def close_holes(trust: Floats, whole: Floats, layers: Floats) -> Floats:
    """Return a share (s, s) of the photo that is not less than the `whole` in small holes through the `layers`."""
    covered = np.maximum(trust, layers).astype(np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(HOLE * len(trust)) + 1,) * 2)
    missing = cv2.morphologyEx(covered, cv2.MORPH_CLOSE, disc) - covered
    filled = np.maximum(trust, whole * smoothstep(0.0, 0.5, missing))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(THREAD * len(trust)) + 1,) * 2)
    wide = cv2.morphologyEx(np.maximum(filled, layers).astype(np.float32), cv2.MORPH_OPEN, disc)
    return np.minimum(filled, np.maximum(trust, wide))  # no threads around what stays open


def fade_out(relief: Relief, shown: NDArray[np.int8], angle: Floats, turned: float) -> Floats:
    """Return 1 near the photo's direction, 0 further round (s, s), for what the photo shows of each layer.

    What the layers have otherwise goes all at once, at one turn of the view, lest half of each be seen.
    """
    poor = find_labels(shown, relief.poor)
    return 1 - np.where(poor, np.float32(_rise(POOR_END, turned)), smoothstep(*relief.end, angle))


def uncover_hat(labels: Bytes, beneath: Bytes, clear: Floats, angle: Floats) -> Floats:
    """Return 0 for the photo's hair over a hat further round (s, s): half of each would be a ghost's for long.

    Also for what is not `clear` of the hat's own edge at that hair.
    """
    stained = np.where(labels == Label.HAT, 1 - clear, labels == Label.HAIR) * (beneath == Label.HAT)
    return 1 - stained * smoothstep(*HAIR_ON_HAT, angle)


def look_up_labels(photo: Photo, uv: Floats) -> Bytes:
    x, y = (np.clip((uv[..., i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    return photo.labels[y, x]


def find_known(photo: Photo, uv: Floats, labels: Bytes, angle: Floats) -> Floats:
    """Return how far the photo shows the head at uv (s, s), less where the user has overruled it."""
    fade = np.where(labels == VOID, 1 - smoothstep(*OVERRULED, angle), 1)
    return fade * look_up(photo.known, uv) * look_up(photo.alpha, uv) * fade_at_border(uv, angle)


def blend_over(layers: Colours, colours: Floats, trust: Floats, opaque: Floats, depth: Floats) -> Colours:
    """Return the layers with colours over them; where there are no layers, as `opaque` (s, s) and at this depth."""
    rgb = layers.rgb + trust[..., None] * (colours - layers.rgb)
    room = np.clip(np.maximum(opaque, layers.alpha) - layers.alpha, 0, 1)
    alpha = layers.alpha + room
    rgb = (rgb * layers.alpha[..., None] + colours * room[..., None]) / np.maximum(alpha, 1e-4)[..., None]
    depth = np.where(layers.depth > 0, layers.depth, np.where(trust > 0, depth, 0))
    return layers._replace(rgb=rgb, alpha=alpha, share=layers.share + trust * (1 - layers.share), depth=depth)


def fade_at_border(uv: Floats, angle: Floats) -> F32:
    """Return 1 inside the photo, falling smoothly to 0 at its edge, but for the photo's own direction."""
    inside = smoothstep(0.0, BORDER, measure_to_border(uv))
    return np.asarray(1 - smoothstep(*OWN, angle) * (1 - inside), np.float32)


def measure_to_border(uv: Floats) -> Floats:
    """Return how many picture sides places (s, s, 2) lie within the border of the photo; less than 0 beyond."""
    u, v = uv[..., 0], uv[..., 1]
    return np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))


def find_strange(relief: Relief, film: Film, layer_of_label: NDArray[np.int8], turned: float, drawn: Bools) -> Floats:
    """Return 1 where a hat is seen that is not like the photo's, beside the relief, near the photo's direction."""
    worn = int(layer_of_label[Label.HAT])
    if worn not in relief.unlike:
        return np.zeros(drawn.shape, np.float32)
    width = 2 * round(SLIT * len(drawn)) + 1
    closed = cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((width, width), np.uint8)) > 0
    hat = cv2.dilate((layer_of_label[film.labels] == worn).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    beside = cv2.GaussianBlur((hat & ~closed).astype(np.float32), (0, 0), SOFT)
    return beside * sharpen(np.asarray(1 - _rise(POOR_END, turned)))


def soften_steps(colours: Floats, distance: F32, share: Floats) -> Floats:
    """Blur colours (s, s, 3) where one part of the relief ends before another: its triangles have hard edges."""
    steps = cv2.morphologyEx(distance, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > STEP
    wide = max(0.9, STEPS * len(distance))
    soft = cv2.GaussianBlur(cv2.dilate(steps.astype(np.float32), np.ones((3, 3))), (0, 0), 0.7 * wide) * share
    return colours + np.clip(1.5 * soft, 0, 1)[..., None] * (cv2.GaussianBlur(colours, (0, 0), wide) - colours)


def find_fine(shown: Bytes, film: Film) -> F32:
    """Return 1 where photo or layers show hair, glasses or jewellery around a pixel (s, s), whose edges are fine."""
    fine = find_labels(shown, FINE_THINGS) | (find_labels(film.labels, FINE_THINGS) & (film.alpha > 0))
    something = (shown != Label.BACKGROUND) | (film.alpha > 0)
    around, all_around = (
        cv2.GaussianBlur(mask.astype(np.float32), (0, 0), AROUND * len(shown)) for mask in (fine, something)
    )
    return np.asarray(smoothstep(*FEW, around / np.maximum(all_around, 1e-3)), np.float32)


def make_opaque(trust: Floats, angle: Floats, fine: Floats) -> Floats:
    """Return how far a share of the photo hides what lies behind it: loose hair is soft near its direction alone.

    Skin and cloth, which are not `fine`, are never half there: a collar that fades is a ghost's.
    """
    loose = smoothstep(*HAZE, trust)
    soft = cv2.GaussianBlur(np.asarray(smoothstep(*HALF, trust), np.float32), (0, 0), 1.5 * SOFT)
    solid = np.asarray(smoothstep(*SOLID, np.asarray(soft, np.float32)), np.float32)
    turn = smoothstep(*LOOSE, angle)
    return loose + np.maximum(turn, (1 - fine) * smoothstep(*FIRM, angle)) * (solid - loose)


def sharpen(share: Floats) -> F32:
    """Return a share with a short way from 0 to 1: half-transparent outlines look like ghosts."""
    return np.asarray(smoothstep(0.45, 0.75, share), np.float32)


def _rise(over: tuple[float, float], turned: float) -> float:
    """Return 0 before a view is `turned` by some degrees, 1 after: a plain number, lest pictures become float64."""
    return float(smoothstep(*over, np.asarray(turned)))


def _view_angle(a: Camera, b: Camera) -> float:
    cosine = float(a.position @ b.position / (np.linalg.norm(a.position) * np.linalg.norm(b.position)))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
