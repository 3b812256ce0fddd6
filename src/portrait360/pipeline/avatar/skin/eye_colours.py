"""Colours of the eyes and teeth of an avatar: whites are rarely white in a photo, and lids shade irises."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.exposure import FEW, View, to_albedo, trimmed_mean
from portrait360.synth.head.eyes import SCLERA, SPOKES
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import FACE_LABELS, Label

FEW_OF_EYE, FEW_OF_MOUTH = 30, 15  # pixels; of barely parted lips there are few
EYE_QUANTILES, TEETH_QUANTILES = (0.75, 0.95), (0.8, 0.97)  # of brightness: not iris and lids, not reflections
LIMITS = (0.2, 1.5)  # of gains
WHITE = (0.45, 0.8)  # brightness against the white of an eye from which a vertex is white
FAIR = (0.9, 0.99)  # quantiles of the brightness of a face whose colour stands in for white
PALE_TEETH = 0.5  # share of the tint of eyes that teeth have
TEETH_LIMITS = (0.2, 1.3)  # of their gain: barely parted lips leave them little light, which no lamp of ours says
SHADED_TEETH = (0.8, 0.4)  # gains from which, and up to which, lips shade them
PALE = 0.6  # how much of that colour white takes
IRIS_RADIUS = 0.45  # of the height of the open eye
BRIGHTER, MIDDLE = (0.5, 0.92), (0.2, 0.6)  # quantiles of the brightness of an iris and what surrounds it
LESS_RED = 0.4  # share of the brighter colours that is not lid
FEWEST_OF_EYE = 20  # pixels
IRIS_LIMITS = (0.1, 1.3)  # of its gain; its hue is the photo's at any brightness
REDDEST = np.array([1.0, 0.36, 0.13])  # the generator's darkest brown; in dim eyes, hues are noise
BROWN = np.array([1.0, 0.5, 0.3])  # dark brown
BRIGHT_IRIS = 0.8  # quantile of an iris that is neither pupil nor edge
LEAST_IRIS, MOST_LEAST = 0.03, 0.02  # its least brightness against that of the white, and the most that this is
LIT = 0.75  # quantile of the brightness along a ring that no lid shades
SORE = 0.4  # least gain of a channel against the largest: redder, eyes would look sore
PUPIL = 0.02  # quantile of an eye's light that is its pupil's: what the cornea reflects


def tint_eyes(meshes: list[Mesh], view: View) -> list[Mesh]:
    """Give eyeballs and teeth the colour of the brightest parts of the photo's; hidden teeth, that of eyes.

    Where the eyes are too small to tell, white takes a part of the tint of the fairest skin. Irises are made to look
    as they do in the photo: how much light lids leave them differs from eye to eye.
    """
    eyes = _find_gain(view, Label.EYE, EYE_QUANTILES, FEW_OF_EYE)
    eyes = _find_tint(view) if eyes is None else eyes
    gain = _find_gain(view, Label.MOUTH, TEETH_QUANTILES, FEW_OF_MOUTH)
    teeth = (eyes / max(float(eyes @ LUMINANCE), 1e-3)) ** PALE_TEETH  # for eyes are bloodshot, or blue
    teeth = np.minimum(teeth, teeth[0]) if gain is None else _light_teeth(teeth, gain)
    irises = _find_iris_gain(view)
    return [_tint(mesh, eyes, irises, teeth) for mesh in meshes]


def _light_teeth(tint: Floats, gain: Floats) -> Floats:
    """Return by what to multiply the albedo of teeth (3,) of a tint, from what the photo's mouth shows of a render's.

    In the shade of lips they are as red as what these let through; what shines shows more beside them than their hue.
    """
    level = max(float(gain @ LUMINANCE), 1e-3)
    shaded = float(smoothstep(*SHADED_TEETH, np.array(level)))
    return np.asarray(tint * (gain / level / tint) ** shaded * np.clip(level, *TEETH_LIMITS))


def _tint(mesh: Mesh, eyes: Floats, irises: Floats, teeth: Floats) -> Mesh:
    if mesh.material[0] not in (Material.EYE, Material.ENAMEL):
        return mesh
    if mesh.part[0] != Part.EYES:
        return replace(mesh, albedo=to_albedo(mesh.albedo * teeth))
    white = find_white(mesh.albedo)[:, None]
    darkest = min(LEAST_IRIS * float((SCLERA * eyes) @ LUMINANCE), MOST_LEAST)
    iris = brighten_iris(limit_red(mesh.albedo * irises), white[:, 0] < 0.5, darkest)
    return replace(mesh, albedo=to_albedo(iris + white * (mesh.albedo * eyes - iris)))


def find_white(albedo: Floats) -> Floats:
    """Return 1 for vertices of the white of an eye, 0 for iris and pupil (n,), ring by ring about its line of sight.

    Under the lids white is as dark as an iris; on the same ring, it lies free elsewhere.
    """
    rings = (albedo @ LUMINANCE).reshape(-1, SPOKES) / float(SCLERA @ LUMINANCE)
    return np.repeat(smoothstep(*WHITE, np.quantile(rings, LIT, axis=1)), SPOKES)


def limit_red(albedo: Floats) -> Floats:
    """Return the albedo of an iris (n, 3), as bright, but not redder than brown ever is."""
    brown = np.maximum(albedo, albedo[:, :1] * REDDEST)
    return brown * (albedo @ LUMINANCE / np.maximum(brown @ LUMINANCE, 1e-6))[:, None]


def brighten_iris(albedo: Floats, inside: Bools, darkest: float) -> Floats:
    """Return an albedo (n, 3) whose part `inside` the iris (n,) is not darker than brown eyes are.

    Shade and lashes are darker than any iris, and from aside and wide open it would be a hole.
    """
    light = albedo @ LUMINANCE
    level = float(np.quantile(light[inside], BRIGHT_IRIS)) if inside.any() else darkest
    lack = max(darkest / max(level, 1e-6) - 1, 0.0)
    return albedo + lack * light[:, None] * BROWN / (BROWN @ LUMINANCE)


def _find_iris_gain(view: View) -> Floats:
    """Return photo / render of the irises without what corneas reflect: in the photo no more than pupils show."""
    in_film, in_photo = view.bare.labels == Label.EYE, view.photo.shows(Label.EYE)
    seen, drawn = (
        read_iris(picture.radiance, mask) for picture, mask in ((view.photo, in_photo), (view.bare, in_film))
    )
    if seen is None or drawn is None:
        return np.ones(3)
    reflected = np.quantile(view.bare.radiance[in_film], PUPIL, axis=0)
    pupil = np.minimum(np.quantile(view.photo.radiance[in_photo], PUPIL, axis=0), reflected)  # or a lash, darker yet
    wanted = np.maximum(seen - (reflected + pupil) / 2, 1e-4)  # with too much taken off, brown is black and red
    own = np.maximum(drawn - reflected, 1e-4)
    level = np.clip(float(wanted @ LUMINANCE) / float(own @ LUMINANCE), *IRIS_LIMITS)
    hue = np.maximum(wanted / own, SORE * (wanted / own).max())
    return level * hue * float(own @ LUMINANCE) / float(own * hue @ LUMINANCE)


def read_iris(radiance: Floats, eyes: Bools) -> Floats | None:
    """Return the colour of the irises of a picture; None where no eye is open.

    An iris is what reflects least red of an eye.
    """
    count, parts, sizes, _ = cv2.connectedComponentsWithStats(eyes.astype(np.uint8))
    found = []
    for i in sorted(range(1, count), key=lambda i: -int(sizes[i, cv2.CC_STAT_AREA]))[:2]:
        y, x = np.nonzero(parts == i)
        if len(y) < FEWEST_OF_EYE:
            continue
        radius = max(IRIS_RADIUS * int(sizes[i, cv2.CC_STAT_HEIGHT]), 1.5)
        inside = cv2.GaussianBlur((parts == i).astype(np.float32), (0, 0), 0.6 * radius)
        red = cv2.GaussianBlur(np.asarray(radiance[..., 0], np.float32) * (parts == i), (0, 0), 0.6 * radius)
        darkest = int(np.argmin((red / np.maximum(inside, 1e-3) + 0.3 * (1 - inside))[y, x]))
        colours = radiance[y, x][np.hypot(x - x[darkest], y - y[darkest]) < radius]
        found.append(_mix_iris(colours))
    return np.mean(found, 0) if found else None


def _mix_iris(colours: Floats) -> Floats:
    """Return the mean of the colours (n, 3) of an iris; blue ones are brighter than lashes, brown ones are not."""
    order = np.argsort(colours.mean(-1))
    brighter, middle = (colours[order[int(a * len(order)) : int(b * len(order)) + 1]] for a, b in (BRIGHTER, MIDDLE))
    redness = brighter[:, 0] / brighter.sum(1)
    cool = brighter[redness <= np.quantile(redness, LESS_RED)].mean(0)
    return np.asarray(cool if cool[0] < cool[2] else middle.mean(0))


def _find_gain(view: View, label: Label, quantiles: tuple[float, float], few: int) -> Floats | None:
    """Return photo / render of the brighter pixels of a label; None if one shows hardly any."""
    in_photo, in_film = view.photo.shows(label), view.whole.labels == label
    if min(in_photo.sum(), in_film.sum()) < few:
        return None
    photo, drawn = (
        trimmed_mean(a[m], quantiles) for a, m in ((view.photo.radiance, in_photo), (view.whole.radiance, in_film))
    )
    return np.clip(photo / np.maximum(drawn, 1e-3), *LIMITS)


def _find_tint(view: View) -> Floats:
    """Return the tint, of brightness 1, of the fairest skin: what its picture takes for white."""
    face = view.photo.shows(*FACE_LABELS)
    if face.sum() < FEW:
        return np.ones(3)
    colour = trimmed_mean(view.photo.radiance[face], FAIR)
    tint = (colour / max(float(colour @ LUMINANCE), 1e-3)) ** PALE
    return np.clip(tint, *LIMITS)
