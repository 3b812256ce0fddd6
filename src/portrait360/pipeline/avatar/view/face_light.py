"""The photo's light on skin that it does not show, which gives way to that of the layers as it does on its pixels.

Beside a face that still lies half in the photo's light, a cheek in the layers' own would be another's. What the photo
shows of the face says how much light falls from each direction; what faces further aside has the light of the edge.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.synth.meshes import unit
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.lights import basis, sphere_directions
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.portrait_labels import Label

FEWEST = 150  # pixels from which the light is known
STIFF = (1e-6, 0.01, 0.05)  # weight of the squares of the coefficients of each order, per pixel
SEEN = 0.5  # cosine to the photo's camera down to which light is read: at the rim it comes from behind
GROUPS = 256  # directions that count alike
MOST = 1.2  # logarithm
BARE = (Label.FACE, Label.EAR, Label.SKIN, Label.BROW, Label.LIPS)
MIXED = 1.0  # pixels over which light on skin ends: at its edge they are half hair


def fit_face_light(gain: F32, normals: F32, towards: Floats) -> F64:
    """Return harmonics (9, 3) of the logarithms by which skin is to be brighter (n, 3) that faces a way (n, 3)."""
    normals = unit(normals)
    facing = normals @ towards > SEEN
    gain, normals = gain[facing], normals[facing]
    if len(gain) < FEWEST:
        return np.zeros((9, 3))
    nearest = (normals @ sphere_directions(GROUPS).T).argmax(1)
    weight = 1 / np.sqrt(np.bincount(nearest)[nearest])  # all directions count, not only the broad ones
    rows = basis(normals).astype(np.float64)
    ridge = np.diag(np.repeat(STIFF, [1, 3, 5]) * weight.sum())
    return np.linalg.solve((rows * weight[:, None]).T @ rows + ridge, rows.T @ (weight[:, None] * gain))


def light_skin(film: Film, light: F64, towards: Floats, share: Floats) -> Film:
    """Return layers whose skin has a `share` (s, s) of the photo's light, which seen from `towards` has harmonics."""
    lit = np.isin(film.labels, BARE) & (film.alpha > 0) & (share > 0)
    if not light.any() or not lit.any():
        return film
    normals = unit(film.normals[lit])
    facing = (normals @ towards)[:, None]
    aside = unit(normals - facing * towards)
    seen = np.where(facing < SEEN, SEEN * towards + np.sqrt(1 - SEEN**2) * aside, normals)
    change = np.zeros_like(film.radiance)
    change[lit] = -share[lit][:, None] * np.clip(basis(seen) @ light, -MOST, MOST)
    return film._replace(radiance=film.radiance * np.exp(cv2.GaussianBlur(change, (0, 0), MIXED)))
