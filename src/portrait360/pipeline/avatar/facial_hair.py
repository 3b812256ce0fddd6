"""Beard of an avatar: the one that agrees best with the photo, and whiskers only where the photo shows them."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.hair_outline import PLAIN_LIGHT
from portrait360.pipeline.avatar.photo import VOID, Photo
from portrait360.synth.hair.beard_brows import make_beard
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import make_mesh
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.sampling.parameters import Facial, HeadParameters
from portrait360.synth.scene import Material, Part, Scene, Strands
from portrait360.utils.array_types import F32, Bools
from portrait360.utils.portrait_labels import Label

BEARD_OF_GROUP = {
    "stubble": "designer",
    "short": "short",
    "moustache": "moustache",
    "goatee": "goatee",
    "full": "full",
}
LENGTHS = {
    "designer": (1.0,),
    "short": (0.6, 1.0, 1.6, 2.2),
    "moustache": (0.8,),
    "goatee": (0.6, 1.0),
    "full": (0.7, 1.0),
}
SIDE = 144  # pixels at which outlines are compared
FEWER, WIDER = 4, 2.2  # strands, and their width, in these pictures
PRIOR = 0.06  # overlap that a tenfold probability is worth
BARE = (Label.FACE, Label.LIPS, Label.EAR, Label.SKIN)
INSET = 2  # pixels by which bare skin must reach beyond a root before it is believed
BEHIND = 0.03  # canonical units behind the skin at which a root counts as hidden
NEIGHBOURS = 12


def choose_beard(head: Head, photo: Photo, parameters: HeadParameters, groups: dict[str, float]) -> Facial:
    """Return the facial hair whose outline agrees best with the photo; `groups` holds the reader's probabilities."""
    labels = cv2.resize(photo.labels, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    skin = make_mesh(head.body, head.triangles, (0.5, 0.5, 0.5), Material.SKIN, Part.SKIN, normals=head.normals)
    tried = [
        (group, replace(parameters.facial, beard=beard, beard_length=length))
        for group, beard in BEARD_OF_GROUP.items()
        for length in LENGTHS[beard]
    ]

    def score(candidate: tuple[str, Facial]) -> float:
        group, facial = candidate
        strands, _ = make_beard(head, replace(parameters, facial=facial), np.random.default_rng(0))
        strands = [select(s, np.arange(len(s.points)) % FEWER == 0) for s in strands]
        strands = [replace(s, widths=s.widths * WIDER) for s in strands]
        scene = prepare_scene(Scene((skin,), tuple(strands), PLAIN_LIGHT), occlusion=False, quality=DRAFT)
        shown = render_linear(scene, photo.camera, SIDE).labels == Label.BEARD
        true, known = labels == Label.BEARD, labels != VOID
        overlap = (shown & true).sum() / max(((shown | true) & known).sum(), 1)
        return float(overlap + PRIOR * np.log10(max(groups.get(group, 0.0), 1e-3)))

    return max(tried, key=score)[1]


def trim_beard(strands: list[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Drop whiskers whose roots the photo shows as bare skin; hidden ones follow those around them and opposite."""
    bare = cv2.erode(photo.shows(*BARE).astype(np.uint8), np.ones((2 * INSET + 1, 2 * INSET + 1), np.uint8)) > 0
    depth = rasterizer.rasterise(head.body, head.triangles, photo.camera, photo.size)
    surface = np.where(depth.ids >= 0, depth.depth, np.inf).astype(np.float32)
    return [
        s if s.part[0] != Part.BEARD else select(s, _grows(s.points[:, 0], bare, surface, photo)) for s in strands
    ]


def _grows(roots: F32, bare: Bools, surface: F32, photo: Photo) -> Bools:
    uv, depth = photo.camera.project(roots.astype(np.float64))
    x, y = (np.clip((uv[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    seen = (depth < surface[y, x] + BEHIND) & (photo.known[y, x] > 0.5)
    if seen.sum() <= NEIGHBOURS:
        return np.ones(len(roots), bool)
    shaven = bare[y, x][seen].astype(np.float32)
    tree = KDTree(roots[seen])
    near, mirrored = (shaven[tree.query(roots * sign, NEIGHBOURS)[1]].mean(1) for sign in ([1, 1, 1], [-1, 1, 1]))
    return np.where(seen, near, (near + mirrored) / 2) < 0.5


def select(strands: Strands, rows: Bools) -> Strands:
    """Return these strands alone."""
    arrays = {f.name: getattr(strands, f.name) for f in fields(strands)}
    return replace(strands, **{name: a[rows] for name, a in arrays.items() if isinstance(a, np.ndarray)})
