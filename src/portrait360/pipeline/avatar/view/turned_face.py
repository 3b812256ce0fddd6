"""Eyes, brows and mouth of a face that the photo shows turned: seen from its front, both sides are the layers'.

The photo shows the far eye aslant; laid on the head, it would be a smear. The near one beside a far one of the layers
would be a squint, so that both go together.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32, Bools, Bytes, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import FACE_LABELS, Label, find_labels

FEATURES = (Label.EYE, Label.BROW, Label.MOUTH, Label.LIPS)
SIDES = unit(np.array([[0.4, 0.0, 1.0], [-0.4, 0.0, 1.0]]))
"""Where the two sides of a face look, at the corners of eyes and mouth."""
ASLANT = (0.45, 0.75)  # cosines to the photo's camera from which a side is seen aslant, to where it is seen well
SEEN = (0.3, 0.6)  # cosines to a view from which a side counts there
ASIDE = (20.0, 38.0)  # degrees from the photo's direction over which its features fade
FAR, FACING = 0.6, 0.65  # cosines to the photo's camera below which a side is far, and a place on it seen aslant
EDGE = 0.004  # picture sides over which they end


def keep_features(features: Bools, photo: Photo, eye: Floats, angle: Floats) -> F32:
    """Return how much of the photo is shown (s, s), less at `features` of which it saw one side aslant.

    A flat drawing has no other eyes and mouth than its own.

    Args:
        features: Which pixels show eyes, brows or mouth.
        photo: The photo.
        eye: Where the camera of the view is (3,), or (s, s, 3).
        angle: Degrees between the rays of both (s, s).
    """
    aslant = 1 - smoothstep(*ASLANT, SIDES @ unit(photo.camera.position))
    if photo.painted or not aslant.any() or not features.any():
        return np.ones(features.shape, np.float32)
    in_view = smoothstep(*SEEN, unit(np.asarray(eye)) @ SIDES.T)
    lost = smoothstep(*ASIDE, angle) * (aslant * in_view).max(-1)
    return np.asarray(1 - lost * widen(features), np.float32)


def find_far_side(points: Floats, normals: Floats, labels: Bytes, photo: Photo) -> Bools:
    """Return which points (.., 3) with these normals and labels lie in the half of a face that the photo saw aslant.

    What it shows of them is coarse, and stained by what lies beside the face. All of the eye and brow there count.
    """
    right, left = SIDES @ unit(photo.camera.position) < FAR
    if photo.painted or not (right or left):
        return np.zeros(labels.shape, bool)
    aslant = (normals * unit(photo.camera.position - points)).sum(-1) < FACING
    inner = find_labels(labels, (Label.EYE, Label.BROW))
    return np.where(points[..., 0] > 0, right, left) & (inner | (aslant & find_labels(labels, FACE_LABELS)))


def widen(mask: Bools) -> F32:
    """Return 1 in a mask of a view (s, s), with soft edges beyond it."""
    width = EDGE * len(mask)
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((2 * round(width) + 1,) * 2, np.uint8)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), max(width, 0.5)), np.float32)
