"""Folds of cloth where its photo shows none: light from above on arcs below the nape and slanting folds beside it.

They are shade in the colours of a garment, stronger where the folds that the photo shows are.
"""

from __future__ import annotations

import numpy as np

from portrait360.synth.meshes import unit, vertex_normals
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.scene import Mesh
from portrait360.utils.array_types import F32, Bools, Floats

SEED = 29
WARP, WIND = 0.16, 2.2  # head heights by which folds wind, and how often per head height
SAG, SLOPE = 0.30, 0.7  # fall of arcs from the middle to the sides, and of slanting folds, per head height
ARCS, SLANTS = (9.5, 2.0), (9.0, 2.4)  # how often they change across and along, per head height
CREASED, ROUND = 1.6, 0.14  # how steep folds are, and how round their ridges
MIDDLE = (0.25, 0.5)  # head heights aside over which arcs give way to slanting folds
SOME = (0.25, 0.55)  # range of a noise over which folds appear: cloth has places without
EDGE, ARMS = (0.03, 0.16), (1.25, 0.95)  # head heights below the upper edge, and aside, over which they begin
DEEP = 0.016  # canonical height of folds
ABOVE, AROUND, AMBIENT = np.array([0.0, 1.0, 0.0], np.float32), 0.9, 0.35  # light from there, beside that which meets
# the cloth straight, and light from everywhere
MOST = 0.065  # logarithm of the shade of one
CONTRAST, USUAL = (1.6, 3.2), 2.4  # how strong their shade may be, and is where the photo shows too little cloth
PER_DEVIATION = 20.0  # how strong it is for each unit by which the photo's cloth deviates, logarithms


def measure_folds(left: Floats, sure: Bools) -> float:
    """Return how strong folds are, by what is `left` of shown colours (n, 3) without their broad changes."""
    if not sure.any():
        return USUAL
    light = left[sure].mean(-1)
    deviation = 1.48 * float(np.median(np.abs(light - np.median(light))))  # a print or a button is no fold
    return float(np.clip(PER_DEVIATION * deviation, *CONTRAST))


def shade_folds(mesh: Mesh, down: F32) -> F32:
    """Return the shade of folds on the vertices (n,) of a garment, logarithms, that lie `down` below its edge."""
    plain = vertex_normals(mesh.vertices, mesh.triangles)
    aside = np.abs(mesh.rest[:, 0])
    height = DEEP * raise_folds(mesh.rest) * smoothstep(*EDGE, down) * smoothstep(*ARMS, aside)
    bent = (mesh.vertices + plain * height[:, None]).astype(np.float32)
    folded = vertex_normals(bent, mesh.triangles)
    light = unit(ABOVE + AROUND * plain)
    lit, before = (np.log(AMBIENT + np.maximum((normals * light).sum(-1), 0)) for normals in (folded, plain))
    return np.asarray(MOST * np.tanh((lit - before) / MOST), np.float32)


def raise_folds(rest: F32) -> F32:
    """Return how high folds lie, 0..1, at places of the body at rest (n, 3), head heights."""
    wind = np.stack([noise(rest, WIND, SEED + axis, 2) - 0.5 for axis in range(3)], -1)
    x, y, z = (rest + WARP * wind).T
    aside = np.sqrt(x * x + 0.01)
    arcs = raise_ridges(y - SAG * x * x, x, z, ARCS, SEED + 3)
    slants = raise_ridges(y + SLOPE * aside, x, z, SLANTS, SEED + 5)
    some, others = (smoothstep(*SOME, noise(rest, 3.0, SEED + 7 + i)) for i in range(2))
    beside = smoothstep(*MIDDLE, aside)
    return np.asarray((1 - beside) * some * arcs + beside * others * slants, np.float32)


def raise_ridges(across: Floats, along: Floats, around: Floats, often: tuple[float, float], seed: int) -> Floats:
    """Return ridges up to 1 (n,) that change more often across than along."""
    places = np.stack([across * often[0], along * often[1], around * often[1]], -1)
    return 1 - np.hypot(CREASED * (2 * noise(places, 1.0, seed) - 1), ROUND)
