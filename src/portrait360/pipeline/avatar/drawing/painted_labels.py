"""Labels of a painted face: a drawing has few colours, and these tell what has been read wrongly."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry.cameras import pixel_centres
from portrait360.pipeline.avatar.drawing.painted_face import FURTHEST, find_frame, measure_jaw
from portrait360.pipeline.avatar.photo.pixels import Photo, log_density
from portrait360.utils.array_types import F32, Bools, Bytes, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import FACE_LABELS, Label

FEATURES = (Label.BROW, Label.EYE, Label.LIPS, Label.MOUTH)
BESIDE = (Label.SKIN, Label.HAIR, Label.CLOTHES)  # what lies below a jaw
GRAIN = 0.004  # picture sides over which colours are compared
EVIDENT = 1.0  # logarithm of the odds from which they overrule what has been read
AROUND = 0.012  # picture sides around eyes and brows whose dark lines are no hair
RIM = 0.012  # picture sides within the edge of hair that may be lit from behind
FEWEST = 60  # pixels whose colours are known
APART, MINOR = (
    2.5,
    0.35,
)  # distance of two colours in their spreads, and share of the hair up to which one is not hair's
INK = (0.004, 0.009)  # picture sides from the line between face and neck up to which it reaches, and where it ends


def paint_face(photo: Photo, landmarks: Floats) -> Photo:
    """Return the photo of a painted face: all within its jaw is one skin, and nothing of it lies below the jaw.

    What has been read as face there is neck, hair or cloth; and a fringe has been read as face.
    """
    beyond, above = find_sides(photo, landmarks)
    features = photo.shows(*FEATURES)
    labels = np.where(features & ~beyond, np.uint8(Label.FACE), photo.labels)
    face, hair = labels == Label.FACE, labels == Label.HAIR
    near = cv2.dilate(features.astype(np.uint8), np.ones((2 * round(AROUND * photo.size) + 1,) * 2)) > 0
    skin = measure_odds(photo, face & ~beyond & ~above & ~near)
    inner = cv2.erode(hair.astype(np.uint8), np.ones((2 * round(RIM * photo.size) + 1,) * 2)) > 0
    masks = (labels == Label.SKIN) & beyond, inner, labels == Label.CLOTHES
    beside = np.stack([measure_odds(photo, mask) for mask in masks])
    out = np.where(np.isin(labels, FACE_LABELS) & beyond, np.array(BESIDE, np.uint8)[beside.argmax(0)], labels)
    out[face & above & ~near & (beside[1] - skin > EVIDENT)] = Label.HAIR
    out = np.where(find_clothes(photo, out, find_chest(photo, landmarks), above), np.uint8(Label.CLOTHES), out)
    return replace(photo, labels=out, painted=True)


def find_clothes(photo: Photo, labels: Bytes, chest: Bools, above: Bools) -> Bools:
    """Return which hair on the chest is cloth: a sleeve beside hair of another colour.

    Where a drawing's hair has two colours that lie far apart, the one that is not usual `above` the eyes and runs on
    into clothes of that colour is theirs: gloss on hair ends before it does.
    """
    hair, top = labels == Label.HAIR, (labels == Label.HAIR) & above
    if min(top.sum(), (labels == Label.CLOTHES).sum(), (hair & chest).sum()) < FEWEST:
        return np.zeros(hair.shape, np.bool_)
    soft = cv2.GaussianBlur(photo.rgb.astype(np.float32), (0, 0), GRAIN * photo.size)
    off = np.linalg.norm(soft - np.median(soft[top], 0), axis=-1) / np.sqrt(3)
    steps = (255 * np.clip(off, 0, 1)).astype(np.uint8)
    between = cv2.threshold(steps[hair][None], 0, 255, cv2.THRESH_OTSU)[0] / 255
    usual, other = off[hair & (off <= between)], off[hair & (off > between)]
    apart = float(other.mean() - usual.mean()) / max(float(np.hypot(other.std(), usual.std())), 1e-3)
    if apart < APART or len(other) > MINOR * hair.sum():
        return np.zeros(hair.shape, np.bool_)
    cloth = (labels == Label.CLOTHES) & (off > between)
    found = hair & chest & (off > (usual.mean() + between) / 2)  # cloth in the shade, too
    across = np.ones((2 * round(INK[1] * photo.size / 2) + 1,) * 2, np.uint8)  # the lines that part folds of cloth
    part = np.asarray(cv2.connectedComponents(cv2.dilate((cloth | found).astype(np.uint8), across))[1], np.int32)
    return np.asarray(found & (np.bincount(part[cloth], minlength=int(part.max()) + 1) >= FEWEST)[part])


def find_chest(photo: Photo, landmarks: Floats) -> Bools:
    """Return which pixels lie lower than the drawn chin, as the head is held."""
    frame, size, ahead = find_frame(landmarks), photo.size, np.zeros(1)
    chin = float((frame.reach(ahead) * measure_jaw(frame, photo, ahead))[0])
    return np.asarray((pixel_centres(size, size) - frame.middle) @ frame.down > chin).reshape(size, size)


def find_sides(photo: Photo, landmarks: Floats) -> tuple[Bools, Bools]:
    """Return which pixels lie beyond the drawn jaw, and which higher than the middle between the eyes."""
    frame, size = find_frame(landmarks), photo.size
    arms = (pixel_centres(size, size) - frame.middle).reshape(-1, 2)
    turn = frame.measure(arms)
    jaw = frame.reach(turn) * measure_jaw(frame, photo, turn)
    beyond = (np.linalg.norm(arms, axis=1) > jaw) & (np.abs(turn) < FURTHEST)
    return beyond.reshape(size, size), (np.abs(turn) > 90).reshape(size, size)


def measure_odds(photo: Photo, mask: Bools) -> F32:
    """Return the logarithm of the density of a mask's colours around every pixel (s, s)."""
    if mask.sum() < FEWEST:
        return np.full(mask.shape, -np.inf, np.float32)
    density = log_density(photo.rgb.astype(np.float32), photo.rgb[mask].astype(np.float32))
    return np.asarray(cv2.GaussianBlur(density, (0, 0), GRAIN * photo.size), np.float32)


def find_ink(photo: Photo) -> F32:
    """Return 1 on the line that a drawing has between face and neck, which is on neither, 0 beside it (s, s).

    Without one, 0 everywhere.
    """
    if not photo.painted:
        return np.zeros(photo.labels.shape, np.float32)
    away = [
        cv2.distanceTransform((~photo.shows(*labels)).astype(np.uint8), cv2.DIST_L2, 5) / photo.size
        for labels in ((Label.FACE,), (Label.SKIN, Label.CLOTHES))
    ]
    return np.asarray(1 - smoothstep(*INK, np.maximum(*away)), np.float32)
