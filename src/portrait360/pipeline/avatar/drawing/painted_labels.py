"""Labels of a painted face: a drawing has few colours, and these tell what has been read wrongly."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry.cameras import pixel_centres
from portrait360.pipeline.avatar.drawing.painted_face import FURTHEST, find_frame, measure_jaw
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.photo.skin_tone import log_density
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
SHOULDER = 0.5  # way from between the eyes to the chin below which lie shoulders: a head leans towards one
SHADES = 0.2, 0.5  # sRGB of hair and of a neck in the deepest shade, in that of lit hair and of the face
SCRAP = 0.2  # share of connected cloth below which what haze cuts off is a scrap
HAZE, WIDE = (0.04, 0.96), 0.006  # alpha of a drawing's own edges, and half the picture sides from which one is none
INK = (0.004, 0.009)  # picture sides from the line between face and neck up to which it reaches, and where it ends


def paint_face(photo: Photo, landmarks: Floats, *, bearded: bool = False) -> Photo:
    """Return the photo of a painted face: all within its jaw is one skin, and nothing of it lies below the jaw.

    What has been read as face there is neck, hair or cloth, and so is a beard unless it is `bearded`; and a fringe
    has been read as face. What its colours or its matte do not tell for sure is not pure.
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
    wrong = np.isin(labels, (*FACE_LABELS, *(() if bearded else (Label.BEARD,)))) & beyond
    out = np.where(wrong, np.array(BESIDE, np.uint8)[beside.argmax(0)], labels)
    out[face & above & ~near & (beside[1] - skin > EVIDENT)] = Label.HAIR
    neck = np.where(beside[1] > beside[2], np.uint8(Label.HAIR), np.uint8(Label.CLOTHES))
    out = np.where(find_dark_neck(photo, out, above, face & ~beyond & ~above & ~near), neck, out)
    strange = find_strange(photo, out, above)
    out = np.where(find_clothes(out, strange, find_chest(photo, landmarks)), np.uint8(Label.CLOTHES), out)
    stained = (out == Label.HAIR) & (strange > 0) & ~above
    haze = find_haze(photo)
    pure = photo.pure * ~(stained | haze | find_cut_off(out == Label.CLOTHES, haze))
    eyes = photo.shows(Label.EYE) & ~beyond
    return replace(photo, labels=out, pure=np.asarray(pure, np.float32), painted=True, eyes=eyes)


def find_dark_neck(photo: Photo, labels: Bytes, above: Bools, face: Bools) -> Bools:
    """Return which skin below the jaw (s, s) has the colour of the hair `above`, not of the `face`, in any shade."""
    top, neck = (labels == Label.HAIR) & above, labels == Label.SKIN
    if min(top.sum(), face.sum()) < FEWEST:
        return np.zeros(neck.shape, np.bool_)
    soft = cv2.GaussianBlur(photo.rgb.astype(np.float32), (0, 0), GRAIN * photo.size)
    off = []
    for mask, darkest in ((top, SHADES[0]), (face, SHADES[1])):
        usual = np.median(soft[mask], 0)
        light = np.clip(soft @ usual / max(float(usual @ usual), 1e-3), darkest, 1)
        off.append(np.linalg.norm(soft - light[..., None] * usual, axis=-1))
    return neck & (off[0] < off[1])


def find_strange(photo: Photo, labels: Bytes, above: Bools) -> F32:
    """Return how far the colour of each pixel (s, s) is from that of the hair, less what hair has; 0 or less: hair's.

    Where a drawing's hair has two colours that lie far apart, the one that is usual `above` the eyes is the hair's.
    Elsewhere all is hair's.
    """
    hair, top = labels == Label.HAIR, (labels == Label.HAIR) & above
    if top.sum() < FEWEST:
        return np.full(hair.shape, -1, np.float32)
    soft = cv2.GaussianBlur(photo.rgb.astype(np.float32), (0, 0), GRAIN * photo.size)
    off = np.linalg.norm(soft - np.median(soft[top], 0), axis=-1) / np.sqrt(3)
    steps = (255 * np.clip(off, 0, 1)).astype(np.uint8)
    between = cv2.threshold(steps[hair][None], 0, 255, cv2.THRESH_OTSU)[0] / 255
    usual, other = off[hair & (off <= between)], off[hair & (off > between)]
    apart = float(other.mean() - usual.mean()) / max(float(np.hypot(other.std(), usual.std())), 1e-3)
    if apart < APART or len(other) > MINOR * hair.sum():
        return np.full(hair.shape, -1, np.float32)
    return np.asarray(off - (usual.mean() + between) / 2, np.float32)  # cloth in the shade, too


def find_clothes(labels: Bytes, strange: F32, chest: Bools) -> Bools:
    """Return which hair on the chest is cloth: a sleeve beside hair of another colour.

    It is as `strange` as they are, and runs on into clothes: gloss on hair ends before it does.
    """
    found = (labels == Label.HAIR) & chest & (strange > 0)
    cloth = (labels == Label.CLOTHES) & (strange > 0)
    across = np.ones((2 * round(INK[1] * len(labels) / 2) + 1,) * 2, np.uint8)  # the lines that part folds of cloth
    part = np.asarray(cv2.connectedComponents(cv2.dilate((cloth | found).astype(np.uint8), across))[1], np.int32)
    return np.asarray(found & (np.bincount(part[cloth], minlength=int(part.max()) + 1) >= FEWEST)[part])


def find_haze(photo: Photo) -> Bools:
    """Return where a drawing's matte is unsure over some width (s, s): not along its own edges, which are thin."""
    alpha = photo.alpha if photo.loose is None else photo.loose
    unsure = ((alpha > HAZE[0]) & (alpha < HAZE[1])).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(WIDE * photo.size) + 1,) * 2)
    wide = cv2.morphologyEx(unsure, cv2.MORPH_OPEN, disc)
    return np.asarray((cv2.dilate(wide, disc) > 0) & (unsure > 0))


def find_cut_off(cloth: Bools, haze: Bools) -> Bools:
    """Return which cloth (s, s) is cut off by haze from most of that with which it goes: a scrap."""
    whole = np.asarray(cv2.connectedComponents(cloth.astype(np.uint8), connectivity=4)[1], np.int32)
    part = np.asarray(cv2.connectedComponents((cloth & ~haze).astype(np.uint8), connectivity=4)[1], np.int32)
    area, area_of_all = np.bincount(part.ravel()), np.bincount(whole.ravel())
    return (part > 0) & (area[part] < SCRAP * area_of_all[whole])


def find_chest(photo: Photo, landmarks: Floats) -> Bools:
    """Return which pixels lie so low, as the head is held, that they can be of a shoulder."""
    frame, size, ahead = find_frame(landmarks), photo.size, np.zeros(1)
    chin = float((frame.reach(ahead) * measure_jaw(frame, photo, ahead))[0])
    low = (pixel_centres(size, size) - frame.middle) @ frame.down > SHOULDER * chin
    return np.asarray(low).reshape(size, size)


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
