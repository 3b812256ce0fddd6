"""Label the triangles of the skin: face, ears, lips, mouth, neck, and skin that shows through short hair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.scene import Part, Strands
from portrait360.utils.array_types import F32, I32, Bytes
from portrait360.utils.portrait_labels import Label

BROW_REACH = 0.012  # head heights around the root of a brow hair
COVERED = 0.35  # share of a triangle's colour that comes from hair roots, from which it counts as hair


def label_skin(head: Head, triangles: I32, scalp: F32, beard: F32, strands: Sequence[Strands]) -> Bytes:
    """Return the Label of each triangle; `scalp` and `beard` (vertices,) are shares of hair in the skin's colour."""
    x, y, z = head.rest.T
    jaw = np.minimum(-0.50 + 0.9 * (0.34 - z), -0.22)  # from the chin to the ear lobe, then around the nape
    vertex_labels = (  # later ones win
        (Label.SKIN, y < jaw),
        (Label.EAR, head.mask("ears") > 0.35),
        (Label.LIPS, head.mask("lips") > 0.5),
        (Label.MOUTH, head.mask("inside_mouth") > 0.6),
        (Label.BEARD, beard > COVERED),
        (Label.HAIR, scalp > COVERED),
        (Label.BROW, _near_brows(head, strands)),
    )
    labels = np.full(len(triangles), Label.FACE, np.uint8)
    for label, is_label in vertex_labels:
        labels[is_label[triangles].sum(1) >= 2] = label
    return labels


def _near_brows(head: Head, strands: Sequence[Strands]) -> np.ndarray:
    """Return the vertices between the hairs of the brows."""
    roots = [group.points[group.part == Part.BROWS, 0] for group in strands]
    points = np.concatenate([np.zeros((0, 3), np.float32), *roots])
    if len(points) == 0:
        return np.zeros(len(head.body), bool)
    distance, _ = KDTree(points).query(head.body, distance_upper_bound=BROW_REACH * HEAD_HEIGHT)
    return np.isfinite(distance)
