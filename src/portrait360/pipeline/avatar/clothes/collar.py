"""Choose the collar of an avatar: that whose outline agrees best with the photo's labels and the reader."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.clothes.neckline import fit_neckline
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.parameters import Clothes, HeadParameters
from portrait360.synth.scene import Mesh
from portrait360.synth.wear.clothes import make_clothes
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import Label

PLAIN_COLLARS = {
    "crew": (-0.14, -0.1, -0.06, 0.0, 0.06, 0.12, 0.2),
    "v_neck": (-0.06, 0.0, 0.08, 0.16),
    "scoop": (0.0,),
    "wide_scoop": (0.0, 0.08),
    "off_shoulder": (0.0,),
    "stand": (0.0,),
}
"""Collars, and by how much their necklines may lie lower."""
FITTED_COLLARS = (*PLAIN_COLLARS, "shirt", "polo")
"""Those of which the neckline is fitted to the photo."""
READ_AS = {"wide_scoop": "scoop", "off_shoulder": "scoop", "stand": "turtleneck"}
"""What the reader, which knows fewer collars, says of them."""
FOLDED = ("shirt", "polo", "jacket")  # collars that fall back, which the reader confuses
UNFOLDED = ("crew", "v_neck", "scoop")  # those whose outlines may be theirs
LIKELY = 0.38  # probability of FOLDED together from which one is
BESIDE = 75.0  # degrees from the front at which a collar that falls back stands beside the neck
HIGH, THROAT = -0.74, -0.66  # head heights of the edge: there above the one, in front below the other
SURE = 0.5  # probability from which any other collar is tried, too: its parts must be there, not its outline alone
SIDE = 160  # pixels at which outlines are compared
PRIOR = 0.08  # overlap that a tenfold probability is worth


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

    best = max(tried, key=score)
    if best.collar in UNFOLDED and shows_folded_collar(head, photo, best, collars):
        return replace(best, collar="shirt")
    return best


def shows_folded_collar(head: Head, photo: Photo, clothes: Clothes, collars: dict[str, float]) -> bool:
    """Return whether the reader sees a collar that falls back, and cloth stands high beside a free throat."""
    folded = sum(collars.get(name, 0.0) for name in FOLDED)
    if folded < LIKELY or folded < max((p for name, p in collars.items() if name not in FOLDED), default=0.0):
        return False
    heights = np.array(fit_neckline(head, photo, clothes))
    beside = round(BESIDE / 360 * len(heights))
    return bool(heights[[beside, -beside]].mean() > HIGH and heights[0] < THROAT)


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
