"""Whether the face and the whole head stay those of the photo, and whether there is a face behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portrait360.evaluation.face_metrics import SIDES, share_of_faces_behind
from portrait360.evaluation.feature_metrics import Embedding, Needs, align_face, cosine, identities, likenesses
from portrait360.evaluation.looks.sheet import Sheet
from portrait360.pipeline.portrait.face_detection import find_faces
from portrait360.utils.array_types import Floats

BESIDE = 35.0  # degrees: within them a head resembles its photo as a whole
FRONT = 65.0  # degrees: further round half of the face is hidden
SCORE = 0.6  # of the detector: a face in half profile is less certain than one in front


def measure_stranger(sheet: Sheet) -> float:
    """Return 1 less the mean similarity of the faces within ±60° to the photo's. NaN if the photo's face is not found
    or no embedding is on this machine; a view without a face has no similarity."""
    own = find_face(sheet.photo.rgb)
    embedding = find_embedding(identities())
    if own is None or embedding is None:
        return float("nan")
    views = sheet.near(0, FRONT)
    faces = [face for view in views if (face := find_face(view.rgb)) is not None]
    if not faces:
        return 1.0
    vectors = embedding.describe([own, *faces])
    similarity = cosine(np.repeat(vectors[:1], len(faces), 0), vectors[1:])
    return 1 - float(similarity.sum()) / len(views)


def measure_unlike(sheet: Sheet) -> float:
    """Return 1 less the mean similarity of the pictures within ±30° to the whole photo over grey; NaN without an
    embedding on this machine."""
    embedding, views = find_embedding(likenesses()), sheet.near(0, BESIDE)
    if embedding is None or not views:
        return float("nan")
    vectors = embedding.describe([sheet.photo.rgb, *(view.rgb for view in views)])
    return 1 - float(cosine(np.repeat(vectors[:1], len(views), 0), vectors[1:]).mean())


def find_embedding(metrics: Sequence[Embedding | Needs]) -> Embedding | None:
    """Return the first embedding whose weights are on this machine."""
    return next((metric for metric in metrics if isinstance(metric, Embedding)), None)


def find_face(rgb: Floats) -> Floats | None:
    """Return the aligned crop of the largest face."""
    faces = find_faces(rgb, SCORE, SIDES)
    return align_face(rgb, faces[0].points) if faces else None


def measure_faces_behind(sheet: Sheet) -> float:
    """Return the share of views from behind that show a face; NaN without such views."""
    return share_of_faces_behind([view.rgb for view in sheet.views], [view.azimuth for view in sheet.views])
