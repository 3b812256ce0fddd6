"""Choose hat and collar of an avatar: those whose outlines agree best with the photo's labels and the reader."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.photo import VOID, Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.hats import EXTRA_HATS
from portrait360.synth.sampling.parameters import Clothes, HeadParameters
from portrait360.synth.scene import Mesh
from portrait360.synth.wear.clothes import make_clothes
from portrait360.synth.wear.hat_fit import fit_hat
from portrait360.synth.wear.hat_meshes import hat_meshes
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import SKIN_LABELS, Label

HATS_OF_FAMILY = {
    "knit": ("beanie", "slouch", "bobble", "pillbox", "watch_cap", "fur_hat", "fez"),
    "cap": ("cap", "visor_back", "newsboy", "trucker", "peaked_cap"),
    "brim": (
        "fedora", "sun_hat", "bowler", "top_hat", "cowboy", "straw", "boater", "bucket", "wide_brim", "floppy_hat",
        "felt_hat", "western", "cloche",
    ),
    "beret": ("beret", "painter_beret", "flat_bonnet"),
    "helmet": ("helmet",),
    "turban": ("turban", "bandana", "chef", "wound_turban", "crossed_turban", "tailed_turban", "kerchief"),
    "band": ("headband", "wide_band", "tied_band", "wreath"),
    "crown": ("crown",),
    "hood": ("hood", "long_veil", "mantle", "cowl"),
    "hijab": ("hijab", "headscarf", "shawl"),
    "headphones": ("headphones",),
}  # fmt: skip
BEST, VARIATIONS = 3, 6  # hats of which variations are tried, and how many of each
PLAIN_COLLARS = {
    "crew": (-0.14, -0.1, -0.06, 0.0, 0.06, 0.12, 0.2),
    "v_neck": (-0.06, 0.0, 0.08, 0.16),
    "scoop": (0.0,),
    "wide_scoop": (0.0, 0.08),
    "off_shoulder": (0.0,),
    "stand": (0.0,),
}
"""Collars, and by how much their necklines may lie lower."""
READ_AS = {"wide_scoop": "scoop", "off_shoulder": "scoop", "stand": "turtleneck"}
"""What the reader, which knows fewer collars, says of them."""
SURE = 0.5  # probability from which any other collar is tried, too: its parts must be there, not its outline alone
SIDE = 160  # pixels at which outlines are compared
WIDTH = 0.3  # weight of how far a hat reaches to the sides: it tells brims, which the crown's area does not
COVERS = 1.0  # weight of the share of a hat that hides what the photo shows: a hood, where there are neck and shirt
PRIOR = 0.08  # overlap that a tenfold probability is worth


def choose_hat(head: Head, photo: Photo, parameters: HeadParameters, families: dict[str, float]) -> str:
    """Return the name of a hat; `families` holds the reader's probabilities."""
    labels = cv2.resize(photo.labels, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    bare = np.isin(labels, (*SKIN_LABELS, Label.CLOTHES))
    candidates = [(family, name) for family, names in HATS_OF_FAMILY.items() for name in names]

    def score(candidate: tuple[str, str]) -> float:
        family, name = candidate
        worn = replace(parameters, wear=replace(parameters.wear, hat=name))
        shell = None if name == "headphones" else fit_hat(head, name)
        shown = _draw(head, hat_meshes(head, shell, worn), photo)
        columns = (labels == Label.HAT).any(0), shown.any(0)
        wide = float((columns[0] & columns[1]).sum() / max((columns[0] | columns[1]).sum(), 1))
        covers = float((shown & bare).sum() / max(shown.sum(), 1))
        return _overlap(shown, labels, Label.HAT) + WIDTH * wide - COVERS * covers + weigh(families, family)

    best = sorted(candidates, key=score, reverse=True)[:BEST]
    varied = [(family, f"{name}:{i}") for family, name in best if name in EXTRA_HATS for i in range(VARIATIONS)]
    return max(best + varied, key=score)[1]


def choose_collar(head: Head, photo: Photo, parameters: HeadParameters, collars: dict[str, float]) -> Clothes:
    """Return the clothes with the collar that agrees best; `collars` holds the reader's probabilities."""
    labels = cv2.resize(photo.labels, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)

    plain = [(name, drop) for name, drops in PLAIN_COLLARS.items() for drop in drops]
    others = [(name, 0.0) for name, p in collars.items() if p > SURE and name not in ("none", *PLAIN_COLLARS)]
    tried = [replace(parameters.clothes, collar=name, drop=drop) for name, drop in plain + others]

    def score(clothes: Clothes) -> float:
        meshes, _ = make_clothes(head, replace(parameters, clothes=clothes))
        return _overlap(_draw(head, meshes, photo), labels, Label.CLOTHES) + weigh(
            collars, READ_AS.get(clothes.collar, clothes.collar)
        )

    return max(tried, key=score)


def weigh(probabilities: dict[str, float], name: str) -> float:
    """Return the overlap that an answer's probability is worth."""
    return PRIOR * float(np.log10(max(probabilities.get(name, 0.0), 1e-3)))


def _draw(head: Head, meshes: list[Mesh], photo: Photo) -> Bools:
    """Return where meshes are seen before the head (SIDE, SIDE)."""
    counts = np.cumsum([len(head.body), *(len(mesh.vertices) for mesh in meshes)])
    vertices = np.concatenate([head.body, *(mesh.vertices for mesh in meshes)])
    triangles = [mesh.triangles + first for mesh, first in zip(meshes, counts[:-1], strict=True)]
    ids = rasterizer.rasterise(vertices, np.concatenate([head.triangles, *triangles]), photo.camera, SIDE).ids
    return ids >= len(head.triangles)


def _overlap(shown: Bools, labels: np.ndarray, label: Label) -> float:
    """Return the overlap of what is shown with a label; hair and what lies beyond the photo may hide it."""
    visible = ~np.isin(labels, (VOID, Label.HAIR, Label.BEARD, Label.OBJECT))
    true = labels == label
    return float((shown & true).sum() / max(((shown | true) & visible).sum(), 1))
