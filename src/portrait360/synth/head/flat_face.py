"""The face of a flat drawing: smooth, with a small nose, so that eyes and mouth can be painted on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import SuperLU

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.geometry.surfaces.subdivision import mesh_laplacian
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import Head, assemble_head
from portrait360.synth.head.scan_shape import find_ball
from portrait360.synth.head_pack import load_pack
from portrait360.synth.noise import smoothstep
from portrait360.utils.array_types import F64, Bools, Floats
from portrait360.utils.sparse import factorise

EYE = (0.125, 0.10)  # half-axes of what is filled around an eye, head heights
MOUTH, LIPS = (0.15, 0.10), (0.0, -0.325)  # those around the middle of the mouth
NOSE, TIP = (0.13, 0.15), (0.0, -0.14)
FRONT = 0.15  # least depth of what is filled, but for the lining of the mouth
CHEEK, FALL = 0.40, 0.45  # half the width of a face, and the share of its depth by which that is rounder there
LOW, HIGH = (-0.62, -0.48), (0.40, 0.52)  # heights between which it is: from below the chin to the crown
RIM = 6  # edges around what is filled from which its curve goes on
LOOSE = 0.02  # hold of what is filled against its bending, in that of the skin around it
SMALL = 0.45  # height of the nose, in that of the one which is taken away
WIDE, ABOVE, BELOW = 0.035, 0.10, 0.03  # its half-width, and its length above and below its tip, head heights


@dataclass(frozen=True, eq=False)
class Filler:
    """What fills the features of a skin."""

    free: Bools  # (n,) vertices that are filled
    rim: Bools  # (n,) those around them
    spread: sp.csr_matrix  # what the membrane over the features hangs on
    membrane: SuperLU
    held: F64  # (n,) how far vertices stay where they are as all is made smooth
    smooth: SuperLU


def flatten_face(head: Head, eye: Floats) -> Head:
    """Return a head without sockets of eyes, lips and mouth: the skin goes on smoothly over them.

    Its cheeks fall back along the rays to an `eye` (3,), from which the face keeps its outline.
    """
    base, body = head.base.copy(), head.pack.body
    skin = base[:body].astype(np.float64)
    filled = fill_features(skin)
    tip = skin[head.pack.landmarks["nose_tip"]]
    base[:body] = round_cheeks(add_nose(filled, tip), eye)
    return replace(assemble_head(head.pack, base.astype(np.float32), head.level), eyes=head.eyes)


def fill_features(skin: F64) -> F64:
    """Return a skin (n, 3) that goes on over its features, as round as it is around them.

    Its depth is a cubic of the place, fitted around the features, and what that is off by there, as a membrane: a
    surface of least bending would go on the way that brows and lips overhang, and fold.
    """
    filler, out = _load_filler(), skin.copy()
    place = filler.membrane.solve(-(filler.spread @ skin[~filler.free]))
    weights = np.linalg.lstsq(_terms(skin[filler.rim]), skin[filler.rim, 2], rcond=None)[0]
    off = np.zeros(len(skin))
    off[filler.rim] = skin[filler.rim, 2] - _terms(skin[filler.rim]) @ weights
    place[:, 2] = _terms(place) @ weights + filler.membrane.solve(-(filler.spread @ off[~filler.free]))
    out[filler.free] = place
    smooth = filler.smooth.solve(filler.held[:, None] * out)
    return np.where((filler.free | filler.rim)[:, None], smooth, out)


def add_nose(skin: F64, tip: F64) -> F64:
    """Return a skin (n, 3) with a small nose where the `tip` of a larger one was."""
    off = (skin - tip) / HEAD_HEIGHT
    length = np.where(off[:, 1] > 0, ABOVE, BELOW)
    bump = np.exp(-((off[:, 0] / WIDE) ** 2) - (off[:, 1] / length) ** 2) * find_features()
    below = skin[np.argmax(bump), 2]
    return skin + SMALL * max(float(tip[2] - below), 0) * bump[:, None] * np.array([0, 0, 1])


def round_cheeks(skin: F64, eye: Floats) -> F64:
    """Return a skin (n, 3) that falls back beside its middle: large eyes reach around the face of a drawing.

    On a person's cheeks, which hardly do, hair that covers them up to the eyes hides all of the face in profile.
    """
    x, y, z = skin.T / HEAD_HEIGHT
    share = FALL * np.minimum(np.abs(x) / CHEEK, 1) ** 2 * smoothstep(*LOW, y) * (1 - smoothstep(*HIGH, y))
    ray = skin - eye
    return skin + (share * np.maximum(z, 0) * HEAD_HEIGHT / np.maximum(-ray[:, 2], 0.1))[:, None] * ray


@lru_cache(maxsize=1)
def find_features() -> Bools:
    """Return which vertices of the pack's skin (n,) belong to eyes, nose and mouth, inside and out."""
    pack, base = load_pack(), load_average_head().base
    body = base[: pack.body]
    middles = [find_ball(pack, base, name)[0][:2] for name in ("left_eye", "right_eye")]
    ellipses = [(middle, EYE) for middle in middles] + [(np.array(TIP), NOSE), (np.array(LIPS), MOUTH)]
    near = np.min([(((body[:, :2] - middle) / axes) ** 2).sum(1) for middle, axes in ellipses], 0) < 1
    return near & (body[:, 2] > FRONT) | (pack.mask("inside_mouth")[: pack.body] > 0.02)


def _terms(skin: F64) -> F64:
    """Return the terms of a depth over the picture (n, k) that are alike on both sides."""
    x, y = skin[:, 0] / HEAD_HEIGHT, skin[:, 1] / HEAD_HEIGHT
    return np.stack([np.ones_like(x), y, y * y, y**3, x * x, x * x * y, x**4], 1)


@lru_cache(maxsize=1)
def _load_filler() -> Filler:
    pack, free = load_pack(), find_features()
    laplacian = sp.csr_matrix(mesh_laplacian(pack.quads, pack.body))
    around = free.astype(np.float64)
    for _ in range(RIM):
        around = np.minimum(abs(laplacian) @ around, 1)
    held = np.where(free, LOOSE, 1.0)
    return Filler(
        free,
        (around > 0) & ~free,
        laplacian[free][:, ~free],
        factorise(laplacian[free][:, free]),
        held,
        factorise(sp.diags(held) + laplacian.T @ laplacian),
    )
