"""Colours of the whites of the eyes and of the teeth of an avatar, which are rarely white in a photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.pipeline.avatar.photo.exposure import FEW, View, to_albedo, trimmed_mean
from portrait360.synth.head.eyes import SCLERA
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import FACE_LABELS, Label

FEW_OF_EYE = 30  # pixels
EYE_QUANTILES, TEETH_QUANTILES = (0.75, 0.95), (0.8, 0.97)  # of brightness: not iris and lids, not reflections
LIMITS = (0.2, 1.5)
WHITE = (0.45, 0.8)  # brightness against the white of an eye from which a vertex is white
FAIR = (0.9, 0.99)  # quantiles of the brightness of a face whose colour stands in for white
PALE_TEETH = 0.5  # share of the tint of eyes that teeth have
TEETH_LIMITS = (0.6, 1.1)  # of their gain: the photo may show more of a dark mouth than of them
PALE = 0.6  # how much of that colour white takes


def tint_whites(meshes: list[Mesh], view: View) -> list[Mesh]:
    """Give eyeballs and teeth the colour of the brightest parts of the photo's; hidden teeth, that of eyes.

    Where the eyes are too small to tell, white takes a part of the tint of the fairest skin.
    """
    eyes = _find_gain(view, Label.EYE, EYE_QUANTILES, FEW_OF_EYE)
    eyes = _find_tint(view) if eyes is None else eyes
    gain = _find_gain(view, Label.MOUTH, TEETH_QUANTILES, FEW)
    # what the mouth shows beside the teeth falsifies their tint, and eyes are bloodshot
    teeth = (eyes / max(float(eyes @ LUMINANCE), 1e-3)) ** PALE_TEETH
    teeth = teeth if gain is None else teeth * np.clip(float(gain @ LUMINANCE), *TEETH_LIMITS)
    return [_tint(mesh, eyes, teeth) for mesh in meshes]


def _tint(mesh: Mesh, eyes: Floats, teeth: Floats) -> Mesh:
    if mesh.material[0] != Material.EYE:
        return mesh
    if mesh.part[0] != Part.EYES:
        return replace(mesh, albedo=to_albedo(mesh.albedo * teeth))
    white = smoothstep(*WHITE, mesh.albedo @ LUMINANCE / float(SCLERA @ LUMINANCE))
    blend = 1 + np.asarray(white)[:, None] * (eyes - 1)
    return replace(mesh, albedo=to_albedo(mesh.albedo * blend))


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
