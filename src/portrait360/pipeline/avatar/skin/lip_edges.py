"""Keep the lips of a fitted face out of the opening of the mouth that its landmarks show.

Landmarks of the inner edges lie on the lips of a closed mouth. Once lips part, what lay behind comes into sight below
the upper one and above the lower one, and would hide the teeth.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.portrait.morphable_model import Morphable
from portrait360.synth.head.scan_shape import find_lip_line
from portrait360.synth.head_pack import load_pack
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.image_ops import smoothstep

UPPER, LOWER = (191, 80, 81, 82, 13, 312, 311, 310, 415), (95, 88, 178, 87, 14, 317, 402, 318, 324)
"""Landmarks of the inner edges, from the right corner of the mouth to the left one."""
PARTED = (0.05, 0.10)  # height of the opening, in widths of the mouth, from which lips are parted, and surely so


def find_hanging_lips(model: Morphable, skin: Floats, camera: Camera, landmarks: Floats) -> tuple[sp.csr_matrix, F64]:
    """Return rows (k, n) of the vertices of a skin (n, 3) that hang into the opening, and by how much (k, 2).

    Both are weighted by how far the lips are parted there.
    """
    x = model.skin.mean[:, 0]
    usual, projected = model.rows @ x, camera.project(skin)[0][:, 1]
    upper, lower = (np.interp(x, usual[list(edge)], landmarks[list(edge), 1]) for edge in (UPPER, LOWER))
    parted = smoothstep(*PARTED, (lower - upper) / float(np.ptp(landmarks[list(UPPER), 0])))
    lips, follows = load_pack().mask("lips")[: len(x)] > 0.5, find_lip_line().pull
    hangs = lips & (parted > 0) & (((follows < 0) & (projected > upper)) | ((follows > 0) & (projected < lower)))
    found = np.flatnonzero(hangs)
    lack = np.where(follows < 0, upper, lower)[found] - projected[found]
    rows = sp.csr_matrix((parted[found], (np.arange(len(found)), found)), shape=(len(found), len(skin)))
    return rows, np.stack([np.zeros_like(lack), parted[found] * lack], 1)
