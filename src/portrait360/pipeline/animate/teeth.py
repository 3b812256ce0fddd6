"""Teeth that stay behind lips and chin, whatever an expression does to these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from portrait360.pipeline.export.avatar_glb.face import find_excess
from portrait360.synth.scene import Mesh
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label

AROUND, DEEP = 0.03, 0.04  # canonical distance beside teeth, and behind their front, up to which skin may hide them
MOST = 0.02  # canonical way back: a smile draws lips back by less


@dataclass(frozen=True, eq=False)
class TeethRow:
    """One row of teeth and the skin before it."""

    rows: slice  # of the surface
    points: F32  # (n, 3) where they are in the photo
    skin: NDArray[np.integer]  # (k,) of the surface
    skin_points: F32  # (k, 3)
    scale: float  # of the head

    def find_retreat(self, moves: F32) -> float:
        """Return how far back the teeth go so that they pierce no skin that they do not pierce in the photo.

        `moves` (m, 3) are those of the surface.
        """
        now = find_excess(self.points + moves[self.rows], self.skin_points + moves[self.skin], self.scale)
        return float(np.clip(now - self.before, 0, MOST))

    @cached_property
    def before(self) -> float:
        """How far they reach before the skin in the photo."""
        return max(find_excess(self.points, self.skin_points, self.scale), 0.0)


def make_teeth_row(teeth: Mesh, rows: slice, skin: Mesh, first: int, scale: float) -> TeethRow:
    """Find the skin before a row of teeth; `rows` are those of the surface, in which the skin begins at `first`."""
    faces = skin.triangles if skin.labels is None else skin.triangles[skin.labels != Label.MOUTH]
    outer = np.unique(faces)
    low, high, points = teeth.vertices.min(0), teeth.vertices.max(0), skin.vertices[outer]
    beside = ((points > low - AROUND) & (points < high + AROUND))[:, :2].all(1)
    near = outer[beside & (points[:, 2] > high[2] - DEEP)]
    return TeethRow(rows, teeth.vertices, near + first, skin.vertices[near], scale)
