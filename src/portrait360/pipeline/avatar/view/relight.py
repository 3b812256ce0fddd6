"""Bring the broad light of a photo to that of the layers beneath it, the more, the further from its direction.

The layers are lit more evenly than the photo, such that their unseen sides look like their seen ones; between the two
lies a smooth change of light, not an edge. Highlights move with the eye: skin that is laid on them has few.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.pipeline.avatar.photo.exposure import QUIET, blur, log_ratio, look_up_points
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.patches import carry_across, find_shade, keep_own
from portrait360.pipeline.avatar.view.face_light import fit_face_light
from portrait360.synth.meshes import unit
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.tone_mapping import tone_map
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

BROAD = 0.03  # picture sides: detail finer than this stays the photo's
FACING = (0.6, 0.9)  # cosines to the camera below, and above which a surface is turned away, and is not
PASS = 0.012  # picture sides over which the light of one label passes into that of the next
MOST = 1.6  # logarithm of a gain
FEWEST = 200  # pixels of a layer from which its light is known
DEEP = (0.7, 1.2)  # gain from which skin lies in a deep shade
FALSE = (0.15, 0.45)  # logarithm of red over blue by which its hue is off the face's even in the layers' light
DIM, SMALL = 0.004, 128  # radiance too dark to tell a hue by; pixels of a photo in which broad hues are looked at
ASIDE = (20.0, 45.0)  # degrees from the photo's direction over which it fades, and all edges of light and shade
BRIGHTER = 0.15  # logarithm by which the skin's own spots are brighter than the skin around them
TURN = (3.0, 66.0)  # degrees from the photo's direction over which light turns to that of the layers
OPENINGS = (Label.EYE, Label.MOUTH)  # against skin their colours say nothing of its light
BARE = (Label.FACE, Label.EAR, Label.SKIN)
SOFT = 0.004  # picture sides over which what is known ends
BESIDE = 0.004  # picture sides around these over which what differs may be their place, not light
RIM = (0.35, 0.7)  # cosines to the camera from which all light on skin is that of its rim, and none is
WITHIN = 0.045  # picture sides over which the light within a rim is carried on to it
RIM_TURN = (3.0, 14.0)  # degrees from the photo's direction over which a rim takes the light within it
EXTRA = 2  # gains that are no layer's


def find_relight(photo: Photo, film: Film, layer_of_label: NDArray[np.int8], layers: int) -> tuple[F32, F64]:
    """Return the broad gain from the photo to a render for each layer (s, s, layers + EXTRA, 3), logarithms.

    They leave neither the photo's highlights nor the edges of its shade. Then follows that of the layer that the
    photo's label names, smoothly from one label to the next. The last are what gives the rim of a face the light
    within it. Also return the harmonics (9, 3) of that of the face, see `fit_face_light`.
    """
    side = (photo.size, photo.size)
    drawn, normals = (
        np.asarray(cv2.resize(a, side, interpolation=cv2.INTER_AREA), np.float32)
        for a in (film.radiance, film.normals)
    )
    names = np.asarray(cv2.resize(film.labels, side, interpolation=cv2.INTER_NEAREST), np.uint8)
    ratio = np.clip(log_ratio(drawn, photo.radiance), -MOST, MOST)
    opened, drawn_open = (np.isin(labels, OPENINGS) for labels in (photo.labels, names))
    shown, rendered = layer_of_label[photo.labels], np.where(opened == drawn_open, layer_of_label[names], -1)
    facing = cv2.GaussianBlur(normals, (0, 0), BROAD * photo.size) @ unit(photo.camera.position).astype(np.float32)
    levelled, rim, light = [], np.zeros_like(ratio), np.zeros((9, 3))
    for layer in range(layers):
        agree = cv2.erode(((shown == layer) & (rendered == layer)).astype(np.uint8), np.ones((5, 5), np.uint8))
        weight = (agree * photo.known).astype(np.float32)
        broad = blur(ratio, weight, BROAD * photo.size) * (weight.sum() > FEWEST)
        if layer == layer_of_label[Label.FACE] and not photo.painted:  # a drawn face has neither gloss nor shadows
            over = (broad - ratio) * cv2.GaussianBlur(weight, (0, 0), SOFT * photo.size)[..., None]
            openings = opened | drawn_open | (names == Label.BROW)
            levelling = level_light(over, facing, find_shade(-broad.mean(-1), weight))
            levelling = levelling + dim_glare(over + levelling, broad)
            sure = (weight > 0.5) & photo.shows(Label.FACE) & ~openings
            light = fit_face_light(broad[sure], normals[sure], unit(photo.camera.position))
            near, broad = broad, broad + carry_across(levelling, openings, BESIDE, weight)
            broad = dim_whites(broad, photo, drawn[names == Label.FACE])
            rim = find_rim(near, broad, facing, weight)
        levelled.append(broad)
    shares = np.stack(
        [cv2.GaussianBlur((shown == i).astype(np.float32), (0, 0), PASS * photo.size) for i in range(layers)], -1
    )
    shares = shares / np.maximum(shares.sum(-1, keepdims=True), 1e-4)
    mixed = np.einsum("yxl,yxlc->yxc", shares, np.stack(levelled, 2))
    together = np.stack([*levelled, mixed, rim]).astype(np.float32)
    return np.moveaxis(together, 0, 2), light  # each is looked up by itself, from memory that is its own


def level_light(over: F32, facing: Floats, shade: F32) -> F32:
    """Return gains (s, s, 3) against highlights, which move with the eye, and all light where the head turns away.

    `over` (s, s, 3) is by how much the photo is brighter than beside it, `facing` the cosine to its camera, and
    `shade` (s, s) 1 for what lies in the shade.
    """
    aslant = (1 - np.asarray(smoothstep(*FACING, facing), np.float32))[..., None]
    return keep_own(over, shade, 1 - aslant) - over


def find_rim(broad: F32, levelled: F32, facing: Floats, weight: F32) -> F32:
    """Return gains (s, s, 3) that give skin seen aslant the light of the skin within; its own stays at the outline.

    Light from behind a head, and the shade at its sides, lie at the outline wherever one stands. What the photo shows
    of them would lie on a cheek a little aside, as a stripe.

    Args:
        broad: The broad gains to the layers' light.
        levelled: Those that leave no patches of light.
        facing: The cosine to the photo's camera (s, s).
        weight: Where gains are known.
    """
    aslant = 1 - np.asarray(smoothstep(*RIM, facing), np.float32)
    within = blur(broad, weight * (1 - aslant), WITHIN * len(broad))
    sure = cv2.GaussianBlur(weight, (0, 0), SOFT * len(broad))
    return np.asarray((aslant * sure)[..., None] * (levelled - within), np.float32)


def dim_glare(over: F32, gain: F32) -> F32:
    """Return what to add to gains (s, s, 3) lest a bright spot in the shade be lifted above skin in the light."""
    lifted, brighter = np.maximum(gain.mean(-1), 0), np.maximum(over.mean(-1) - BRIGHTER, 0)
    return -np.minimum(lifted, brighter)[..., None]


def dim_whites(gain: F32, photo: Photo, skin: Floats) -> F32:
    """Return gains (s, s, 3) that lift no white of an eye above the light of most `skin` (n, 3) of the layers.

    The light that reaches an eye in the shade is its glint's, and that of a lamp beside the photo's.
    """
    usual = float(np.median(skin.mean(-1))) if len(skin) else np.inf
    room = np.log(usual / np.maximum(photo.radiance.mean(-1), QUIET))
    most = np.maximum(gain.mean(-1), 0)
    over = (most - np.clip(room, 0, most)) * photo.shows(Label.EYE)
    return np.asarray(gain - over[..., None], np.float32)


def leave_deep_shade(deep: F32, uv: Floats, angle: Floats) -> Floats:
    """Return how much of the skin at uv (s, s) is to be seen of the photo, which shows some in `deep` shade (k, k).

    What has a false hue when it is lightened, the layers show better.
    """
    turn = np.asarray(smoothstep(*ASIDE, angle))
    if not turn.any():
        return 1 - turn
    return 1 - turn * look_up(deep, uv)


def find_deep_shade(photo: Photo, gain: F32) -> F32:
    """Return 1 where the photo's skin lies in a deep shade of another hue than the face's (SMALL, SMALL), else 0."""
    side = (SMALL, SMALL)
    radiance, small_gain = (cv2.resize(a, side, interpolation=cv2.INTER_AREA) for a in (photo.radiance, gain))
    face = cv2.resize(photo.labels, side, interpolation=cv2.INTER_NEAREST) == Label.FACE
    red, _, blue = np.moveaxis(np.log(np.maximum(radiance, 0) + DIM) + small_gain, -1, 0)
    hue = cv2.GaussianBlur(np.asarray(red - blue, np.float32), (0, 0), 1.0)
    usual = float(np.median(hue[face])) if face.any() else 0.0
    return np.asarray(smoothstep(*DEEP, small_gain.mean(-1)) * smoothstep(*FALSE, np.abs(hue - usual)), np.float32)


def turn_light(angle: Floats) -> Floats:
    """Return how far light has turned from the photo's (0) to that of the layers (1): as fast everywhere."""
    return np.clip((angle - TURN[0]) / (TURN[1] - TURN[0]), 0, 1)


def relight(photo: Photo, gains: F32, layer: NDArray[np.int8], uv: Floats, angle: Floats) -> Floats:
    """Return the photo's colours at uv, sRGB, in the light that the layers receive."""
    rgb, turn = look_up(photo.rgb, uv), turn_light(angle)
    rows, columns = np.nonzero((layer >= 0) & (angle > RIM_TURN[0]))
    if len(rows) == 0:
        return rgb
    places, gain = uv[rows, columns], np.zeros((len(rows), 3), np.float32)
    layers = layer[rows, columns]
    for i in range(gains.shape[2] - 1):
        gain[layers == i] = look_up_points(gains[:, :, i], places[layers == i])
    part, aside = turn[rows, columns, None], smoothstep(*RIM_TURN, angle[rows, columns, None])
    gain = part * gain + (1 - part) * aside * look_up_points(gains[:, :, -1], places)
    skin = look_up_points(photo.shows(*BARE).astype(np.float32), places)[:, None]
    shown = look_up_points(photo.radiance, places)
    # gains are found with as much light added to both; but pupils, lashes and brows stay black
    lifted = skin * np.minimum(shown.mean(1, keepdims=True), QUIET) * np.maximum(np.expm1(gain), 0)
    radiance = (shown * np.exp(gain) + lifted)[:, None]
    out = np.zeros((len(rows), 1, 3), np.float32)
    tone_map(radiance.astype(np.float32), out)
    rgb[rows, columns] = out[:, 0]
    return rgb
