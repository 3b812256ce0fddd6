"""Faces in a picture: where they are (YuNet), and 478 points on one of them (MediaPipe's network)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.assets import FACE_DETECTOR, FACE_LANDMARKS
from portrait360.images import eight_bits

Floats = NDArray[np.floating]

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # its networks warn of what they do not need

STOCK_SCORE = 0.9  # from which the detector, as it comes with OpenCV, calls something a face
DETECTION_SIDES = (640, 320, 1280)  # sizes at which faces are looked for: large, very large, small ones
SAME = 0.3  # overlap from which two boxes hold one face
PRESENCE = 0.5  # of the landmark network: below this it has not seen a face
TURNED_SCORE, TURNED_GAIN = 0.85, 0.03  # of a face in a picture that lies on its side, and over the picture as it is
LANDMARKS = 478  # points on a face
CROP = 256  # side of the landmark network's input
FEATURE_LAYER = "p_re_lu_174/"  # the last one with 8 x 8 cells
MARGIN = 1.5  # its crop over the face's box
LEFT_EYE, RIGHT_EYE = (362, 263), (33, 133)  # corners; left is the subject's
OUTLINE = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
OUTLINE += (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)


@dataclass(frozen=True)
class Face:
    """In pixels of the picture, x right, y down, (0, 0) the corner of the first pixel."""

    box: tuple[float, float, float, float]  # x, y, width, height
    points: Floats  # (5, 2) subject's right eye, left eye, nose tip, right and left corner of the mouth
    score: float

    @property
    def size(self) -> float:
        return float(np.hypot(self.box[2], self.box[3]))


@dataclass(frozen=True)
class FaceLandmarks:
    points: Floats  # (LANDMARKS, 3) pixels; z in pixels too, towards the viewer negative
    presence: float  # the network's own belief that this is a face, 0..1


def find_faces(rgb: Floats, threshold: float = 0.7, sides: tuple[int, ...] = DETECTION_SIDES) -> list[Face]:
    """All faces, the largest first. Looks at several sizes: the detector misses faces that fill the picture, and
    small ones beside them."""
    faces: list[Face] = []
    for side in sides:
        if faces and side > max(DETECTION_SIDES[0], *rgb.shape[:2]):
            break  # enlarging is slow, and worth it only where nothing was found
        faces += [
            face for face in _detect(rgb, side, threshold) if all(_overlap(face, other) < SAME for other in faces)
        ]
    return sorted(faces, key=lambda face: -face.size)


def _overlap(one: Face, other: Face) -> float:
    """Of their boxes, as a share of the smaller one."""
    width, height = (
        min(one.box[i] + one.box[i + 2], other.box[i] + other.box[i + 2]) - max(one.box[i], other.box[i])
        for i in (0, 1)
    )
    return max(width, 0) * max(height, 0) / min(one.box[2] * one.box[3], other.box[2] * other.box[3])


def sure_faces(rgb: Floats, most: int, sides: tuple[int, ...] = DETECTION_SIDES) -> list[tuple[Face, FaceLandmarks]]:
    """The largest faces in which the landmark network believes too."""
    both = ((face, find_landmarks(rgb, face)) for face in find_faces(rgb, sides=sides))
    return list(islice((pair for pair in both if pair[1].presence > PRESENCE), most))


def upright_faces(rgb: Floats, most: int) -> tuple[int, list[tuple[Face, FaceLandmarks]]]:
    """By how many quarters, counter-clockwise, the picture must be turned to stand upright; its faces then.

    Only the detector's score tells: the landmark network sees faces upside down too, and fits them well.
    """
    faces = sure_faces(rgb, most)
    scores = [max((face.score for face, _ in faces), default=0.0)]
    if scores[0] >= STOCK_SCORE:
        return 0, faces
    for turn in (1, 2, 3):  # small faces are not looked for: that would take longest, and they tell least
        turned = sure_faces(np.ascontiguousarray(np.rot90(rgb, turn)), most, DETECTION_SIDES[:2])
        scores.append(max((face.score for face, _ in turned), default=0.0))
    best = int(np.argmax(scores))
    if best == 0 or scores[best] < max(TURNED_SCORE, scores[0] + TURNED_GAIN):
        return 0, faces
    return best, sure_faces(np.ascontiguousarray(np.rot90(rgb, best)), most)


def _detect(rgb: Floats, side: int, threshold: float) -> list[Face]:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(eight_bits(rgb), None, fx=scale, fy=scale, interpolation=smooth)
    border = side // 4  # a face cut by the picture's edge is found with some room around it
    small = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
    detector = cv2.FaceDetectorYN.create(str(FACE_DETECTOR), "", small.shape[1::-1], threshold)
    _, rows = detector.detect(small[..., ::-1])
    found = []
    for row in [] if rows is None else rows:
        places = (row[:14].reshape(7, 2) - [[border, border], [0, 0], *[[border, border]] * 5]) / scale
        (x, y), (w, h) = places[:2]
        found.append(Face((float(x), float(y), float(w), float(h)), places[2:].astype(np.float32), float(row[14])))
    return found


def find_landmarks(rgb: Floats, face: Face, passes: int = 3) -> FaceLandmarks:
    """Points on a face. Each pass crops by the points of the last one, so that the crop hardly matters in the end."""
    eyes, center, size = face.points[:2], _center(face), max(face.box[2:])
    landmarks = None
    for _ in range(passes):
        across = eyes[1] - eyes[0]
        landmarks = _landmarks_in_crop(rgb, center, MARGIN * size, float(np.arctan2(across[1], across[0])))
        flat = landmarks.points[:, :2]
        eyes = np.stack([flat[list(RIGHT_EYE)].mean(0), flat[list(LEFT_EYE)].mean(0)])
        low, high = flat.min(0), flat.max(0)
        center, size = (low + high) / 2, float((high - low).max())
    assert landmarks is not None
    return landmarks


def face_features(rgb: Floats) -> Floats:
    """What the landmark network makes of a picture, half-way to its points: (8192,), 128 channels in 8 x 8 cells."""
    shown = cv2.resize(np.ascontiguousarray(rgb), (CROP, CROP), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    network = _feature_network()
    network.setInput(np.ascontiguousarray(shown.transpose(2, 0, 1)[None], dtype=np.float32))
    layer = next(name for name in reversed(network.getLayerNames()) if FEATURE_LAYER in name and "Relu" in name)
    return network.forward(layer).reshape(-1).astype(np.float32, copy=False)


def _center(face: Face) -> Floats:
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
    belief = 1 / (1 + np.exp(-float(presence.ravel()[0])))
    return FaceLandmarks(np.concatenate([flat, points[:, 2:] / scale], 1).astype(np.float32), belief)


@lru_cache(maxsize=1)
def _feature_network() -> cv2.dnn.Net:
    """The same network once more: one that is asked for other outputs in turn would be laid out anew each time."""
    return _read_landmark_network()


@lru_cache(maxsize=1)
def _landmark_network() -> cv2.dnn.Net:
    return _read_landmark_network()


def _read_landmark_network() -> cv2.dnn.Net:
    # the classic engine: OpenCV 5's new one gives only one of the network's outputs
    classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    arguments = () if classic is None else (classic,)
    return cv2.dnn.readNetFromTFLite(str(FACE_LANDMARKS), *arguments)
