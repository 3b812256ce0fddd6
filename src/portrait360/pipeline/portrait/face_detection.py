"""Detect faces in a picture (YuNet), and 478 landmarks on a face (MediaPipe's network)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import cv2
import numpy as np

from portrait360.assets import FACE_DETECTOR, FACE_LANDMARKS
from portrait360.utils.array_types import Floats
from portrait360.utils.images import to_uint8

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV warns about unused parts of networks

STOCK_SCORE = 0.9  # OpenCV's default threshold of the detector
DETECTION_SIDES = (640, 320, 1280)  # picture sizes for detection: for large, very large, small faces
SAME_FACE_OVERLAP = 0.3  # overlap from which two boxes count as one face
MIN_PRESENCE = 0.5  # of the landmark network: below this there is no face
ROTATED_SCORE, ROTATED_GAIN = 0.85, 0.03  # minimum score of a face in a rotated picture, and its minimum gain
LANDMARKS = 478  # points on a face
CROP = 256  # side of the landmark network's input
FEATURE_LAYER = "p_re_lu_174/"  # the last layer with 8 x 8 cells
CROP_MARGIN = 1.5  # side of the landmark network's crop, in sides of the face's box
LEFT_EYE, RIGHT_EYE = (362, 263), (33, 133)  # corners; left is the subject's
OUTLINE = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
OUTLINE += (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)


@dataclass(frozen=True)
class Face:
    """A detected face in pixels of the picture: x right, y down, (0, 0) is the corner of the first pixel."""

    box: tuple[float, float, float, float]  # x, y, width, height
    points: Floats  # (5, 2) subject's right eye, left eye, nose tip, right and left corner of the mouth
    score: float

    @property
    def size(self) -> float:
        return float(np.hypot(self.box[2], self.box[3]))


@dataclass(frozen=True)
class FaceLandmarks:
    points: Floats  # (LANDMARKS, 3) pixels; z in pixels too, towards the viewer negative
    presence: float  # probability that this is a face, by the network, 0..1


def find_faces(rgb: Floats, threshold: float = 0.7, sides: tuple[int, ...] = DETECTION_SIDES) -> list[Face]:
    """Detect all faces, the largest first.

    The picture is searched at several sizes: the detector misses faces that fill the picture, and small ones.
    """
    faces: list[Face] = []
    for side in sides:
        if faces and side > max(DETECTION_SIDES[0], *rgb.shape[:2]):
            break  # enlarging is slow, and only worth it if there are no faces so far
        faces += [
            face
            for face in _detect(rgb, side, threshold)
            if all(_overlap(face, previous) < SAME_FACE_OVERLAP for previous in faces)
        ]
    return sorted(faces, key=lambda face: -face.size)


def _overlap(a: Face, b: Face) -> float:
    """Return the overlap of the boxes as a share of the smaller one."""
    width, height = (min(a.box[i] + a.box[i + 2], b.box[i] + b.box[i + 2]) - max(a.box[i], b.box[i]) for i in (0, 1))
    return max(width, 0) * max(height, 0) / min(a.box[2] * a.box[3], b.box[2] * b.box[3])


def find_confirmed_faces(
    rgb: Floats, max_faces: int, sides: tuple[int, ...] = DETECTION_SIDES
) -> list[tuple[Face, FaceLandmarks]]:
    """Return the largest faces that the landmark network confirms."""
    pairs = ((face, find_landmarks(rgb, face)) for face in find_faces(rgb, sides=sides))
    return list(islice((pair for pair in pairs if pair[1].presence > MIN_PRESENCE), max_faces))


def find_upright_faces(rgb: Floats, max_faces: int) -> tuple[int, list[tuple[Face, FaceLandmarks]]]:
    """Return by how many counter-clockwise quarter turns the picture becomes upright, and its faces then.

    Only the detector's score decides: the landmark network also accepts upside-down faces, and fits them well.
    """
    faces = find_confirmed_faces(rgb, max_faces)
    scores = [max((face.score for face, _ in faces), default=0.0)]
    if scores[0] >= STOCK_SCORE:
        return 0, faces
    for turn in (1, 2, 3):  # without small faces: searching for them takes longest, and they say least
        rotated_faces = find_confirmed_faces(
            np.ascontiguousarray(np.rot90(rgb, turn)), max_faces, DETECTION_SIDES[:2]
        )
        scores.append(max((face.score for face, _ in rotated_faces), default=0.0))
    best = int(np.argmax(scores))
    if best == 0 or scores[best] < max(ROTATED_SCORE, scores[0] + ROTATED_GAIN):
        return 0, faces
    return best, find_confirmed_faces(np.ascontiguousarray(np.rot90(rgb, best)), max_faces)


def _detect(rgb: Floats, side: int, threshold: float) -> list[Face]:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(to_uint8(rgb), None, fx=scale, fy=scale, interpolation=interpolation)
    border = side // 4  # the detector finds faces at the picture's edge if there is some space around them
    small = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
    detector = cv2.FaceDetectorYN.create(str(FACE_DETECTOR), "", small.shape[1::-1], threshold)
    _, rows = detector.detect(small[..., ::-1])
    faces = []
    for row in [] if rows is None else rows:
        values = (row[:14].reshape(7, 2) - [[border, border], [0, 0], *[[border, border]] * 5]) / scale
        (x, y), (w, h) = values[:2]
        faces.append(Face((float(x), float(y), float(w), float(h)), values[2:].astype(np.float32), float(row[14])))
    return faces


def find_landmarks(rgb: Floats, face: Face, passes: int = 3) -> FaceLandmarks:
    """Find landmarks on a face. Each pass crops by the landmarks of the last, so the first crop hardly matters."""
    eyes, center, size = face.points[:2], _box_center(face), max(face.box[2:])
    landmarks = None
    for _ in range(passes):
        across = eyes[1] - eyes[0]
        landmarks = _landmarks_in_crop(rgb, center, CROP_MARGIN * size, float(np.arctan2(across[1], across[0])))
        flat = landmarks.points[:, :2]
        eyes = np.stack([flat[list(RIGHT_EYE)].mean(0), flat[list(LEFT_EYE)].mean(0)])
        low, high = flat.min(0), flat.max(0)
        center, size = (low + high) / 2, float((high - low).max())
    assert landmarks is not None
    return landmarks


def face_features(rgb: Floats) -> Floats:
    """Return a middle layer of the landmark network for a picture: (8192,), 128 channels in 8 x 8 cells."""
    resized = cv2.resize(np.ascontiguousarray(rgb), (CROP, CROP), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    network = _feature_network()
    network.setInput(np.ascontiguousarray(resized.transpose(2, 0, 1)[None], dtype=np.float32))
    layer = next(name for name in reversed(network.getLayerNames()) if FEATURE_LAYER in name and "Relu" in name)
    return network.forward(layer).reshape(-1).astype(np.float32, copy=False)


def _box_center(face: Face) -> Floats:
    x, y, w, h = face.box
    return np.array([x + w / 2, y + h / 2], np.float32)


def _landmarks_in_crop(rgb: Floats, center: Floats, side: float, angle: float) -> FaceLandmarks:
    scale = CROP / side
    matrix = cv2.getRotationMatrix2D((float(center[0]), float(center[1])), np.degrees(angle), scale)
    matrix[:, 2] += CROP / 2 - center
    by_centers = matrix.copy()  # OpenCV counts from the centre of the first pixel, points from its edge
    by_centers[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    crop = cv2.warpAffine(rgb, by_centers, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    network = _landmark_network()
    network.setInput(np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32))
    points, presence = network.forward(("Identity", "Identity_1"))
    points = points.reshape(-1, 3)
    back = cv2.invertAffineTransform(matrix)
    flat = points[:, :2] @ back[:, :2].T + back[:, 2]
    probability = 1 / (1 + np.exp(-float(presence.ravel()[0])))
    return FaceLandmarks(np.concatenate([flat, points[:, 2:] / scale], 1).astype(np.float32), probability)


@lru_cache(maxsize=1)
def _feature_network() -> cv2.dnn.Net:
    """A second instance of the network: OpenCV re-allocates a network whenever the requested outputs change."""
    return _read_landmark_network()


@lru_cache(maxsize=1)
def _landmark_network() -> cv2.dnn.Net:
    return _read_landmark_network()


def _read_landmark_network() -> cv2.dnn.Net:
    # the classic engine: OpenCV 5's new engine returns only one of the network's outputs
    classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    engine_args = () if classic is None else (classic,)
    return cv2.dnn.readNetFromTFLite(str(FACE_LANDMARKS), *engine_args)
