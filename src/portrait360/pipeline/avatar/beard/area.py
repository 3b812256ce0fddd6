"""Where a photo shows a beard: how much each of its pixels looks like whiskers, and its labels set right by that.

Labels of a beard end in straight lines, take the shade under the chin for whiskers and stubble for skin. What surely
is beard and what surely is skin differ by colour and by fine texture, though; Fisher's linear discriminant between
the two says of every other pixel what it looks like.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.photo.discriminant import discriminate
from portrait360.pipeline.avatar.photo.exposure import shrink
from portrait360.pipeline.avatar.photo.pixels import Photo, spread_mean
from portrait360.synth.head.bare_head import Head
from portrait360.utils.array_types import F32, Bools, Bytes, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

FEWEST = 150  # pixels of whiskers, and of skin, from which the two can be told apart
APART = 1.8  # least distance of their means, in standard deviations
LEAST_APART = 0.6  # of what may be a beard at all
CHIN, UPPER_LIP = (-0.44, -0.28, 0.2), (-0.27, -0.17, 0.12)  # lowest and highest y, and half the width
FINE, AROUND = 1.5, 2.5  # pixels of the crop: texture, and the neighbourhood in which it is measured
SHARES = (0.22, 0.72)  # place between the skin's mean and the beard's from which, and up to which, skin shows through
CHEEK = ((0.03, 0.08, 0.12, 0.16, 0.20, 0.25, 0.32), (0.06, 0.04, -0.01, -0.08, -0.135, -0.17, -0.195))
NECK = ((-0.02, 0.02, 0.05, 0.10, 0.15, 0.20, 0.22), (-0.24, -0.30, -0.385, -0.455, -0.505, -0.535, -0.60))
REAR = ((-0.30, -0.22, -0.20, 0.00), (0.005, 0.030, 0.052, 0.052))
"""Bounds of any beard on the average head, in head heights: the highest line over z, the lowest one, and the hindmost
one over y."""
BEFORE_EAR = (0.13, 0.09)  # z over which that line begins to be the sideburn's
SOFT = (0.03, 0.05, 0.03)  # over which the beard thins out at these
BELOW = 0.3  # share under which what was read as beard on the neck is skin in shade
SURE = 0.5  # share from which skin is beard
REDDEST, REDDER = 0.8, 0.12  # quantile of the redness of lips, logarithms, and by how much they must be redder
THIN = 5  # pixels across the narrowest patch of stubble
SMOOTH = 7  # pixels across the neighbourhood that smooths a beard's edge
HANGS = 15  # twice the pixels by which a beard hangs over what it was read as
DENSEST = 0.7  # quantile of how dense whiskers are from which they are the densest
DARKEST = 0.2  # quantile of the brightness of whiskers that cover the skin
PALE = 0.6  # share of the skin's brightness from which whiskers are pale


@dataclass(frozen=True, eq=False)
class SkinOfPixels:
    """What of the fitted skin each pixel of a photo shows, whatever lies on it (s, s)."""

    seen: Bools
    rest: F32  # (s, s, 3) on the average head
    lips: F32  # and what lies between them
    inside: F32  # what lies between them alone
    allowed: F32  # how far a beard can grow there, 0..1


def limit_beard(rest: F32, burns: float = 0.0) -> F32:
    """Return how densely any beard can grow at points of the average head (..., 3), 0..1.

    Before the ears its highest line lies higher by `burns`, where hair and beard meet.
    """
    y, z = rest[..., 1], rest[..., 2]
    y = y - burns * smoothstep(*BEFORE_EAR, z)
    cheek, neck, rear = np.interp(z, *CHEEK), find_neck(rest), find_rear(rest)
    below, above, before = cheek - y, y - neck, z - rear
    soft = [smoothstep(0.0, over, inside) for over, inside in zip(SOFT, (below, above, before), strict=True)]
    return np.asarray(soft[0] * soft[1] * soft[2], np.float32)


def find_neck(rest: F32) -> Floats:
    """Return the height (...) of the lowest line of any beard, at points of the average head (..., 3)."""
    return np.interp(rest[..., 2], *NECK)


def find_rear(rest: F32) -> Floats:
    """Return z (...) of the hindmost line of any beard, at points of the average head (..., 3)."""
    return np.interp(rest[..., 1], *REAR)


def trace_skin(head: Head, photo: Photo) -> SkinOfPixels:
    """Return what the photo's pixels show of the fitted skin."""
    buffers = rasterizer.rasterise(head.body, head.triangles, photo.camera, photo.size)
    inside = head.mask("inside_mouth")
    covered = np.maximum(head.mask("lips"), inside)
    values = rasterizer.interpolate(buffers, head.triangles, np.column_stack([head.rest, covered, inside]))
    seen, (rest, lips, inside) = buffers.ids >= 0, np.split(values.astype(np.float32), [3, 4], axis=-1)
    return SkinOfPixels(seen, rest, lips[..., 0], inside[..., 0], limit_beard(rest) * seen)


def measure_whiskers(skin: SkinOfPixels, photo: Photo) -> F32:
    """Return how much of each pixel is whiskers (s, s), 0..1; where these cannot be told from skin, by the labels."""
    beard, bare = _sample_beard(skin, photo), _sample_skin(skin, photo)
    labelled = _blur(photo.shows(Label.BEARD), 2.0)
    if min(beard.sum(), bare.sum()) < FEWEST:
        return labelled
    values = _describe(photo.rgb)
    first, second = values[bare], values[beard]
    apart, weights = discriminate(first, second)
    if np.sqrt(apart @ weights) < APART:
        return labelled
    place = ((values - first.mean(0)) @ weights / (apart @ weights)).astype(np.float32)
    place = cv2.GaussianBlur(np.clip(place, -0.5, 1.5), (0, 0), 1.2)
    return np.asarray(smoothstep(*SHARES, place) * (photo.alpha > 0.5), np.float32)


def measure_evidence(skin: SkinOfPixels, photo: Photo, whiskers: F32) -> float:
    """Return how much of the chin or of the upper lip whiskers cover, 0..1.

    What was read as beard and looks like the skin of the face is no evidence, and the shade beneath a chin is none.
    """
    beard, bare = _sample_beard(skin, photo), _sample_skin(skin, photo)
    if min(beard.sum(), bare.sum()) >= FEWEST:
        values = _describe(photo.rgb)
        apart, weights = discriminate(values[bare], values[beard])
        if np.sqrt(apart @ weights) < LEAST_APART:
            return 0.0
    x, y, z = np.abs(skin.rest[..., 0]), skin.rest[..., 1], skin.rest[..., 2]
    front = skin.seen & (z > 0.1) & (skin.allowed > 0.5) & ~_near_lips(skin)
    areas = [front & (y > low) & (y < high) & (x < wide) for low, high, wide in (CHIN, UPPER_LIP)]
    return max([float(whiskers[area].mean()) for area in areas if area.sum() > FEWEST], default=0.0)


def shave(photo: Photo, skin: SkinOfPixels) -> Photo:
    """Return the photo with what was read as beard called skin: of the face, and of the neck beneath the chin."""
    beneath = np.where(skin.rest[..., 1] < CHIN[0], np.uint8(Label.SKIN), np.uint8(Label.FACE))
    return replace(photo, labels=np.where(photo.shows(Label.BEARD), beneath, photo.labels))


def _describe(rgb: Floats) -> F32:
    """Return features of every pixel (s, s, 4): its colour and how uneven it is around it, logarithms."""
    rgb = rgb.astype(np.float32)
    light = np.log(rgb.mean(-1) + 0.05)
    uneven = cv2.GaussianBlur(np.abs(light - cv2.GaussianBlur(light, (0, 0), FINE)), (0, 0), AROUND)
    colour = np.log(cv2.GaussianBlur(rgb, (0, 0), 0.8) + 0.05)
    return np.concatenate([colour, np.log(uneven + 0.01)[..., None]], -1)


def _sample_beard(skin: SkinOfPixels, photo: Photo) -> Bools:
    """Return pixels that surely show whiskers: chin and jaw, where they were read as beard or, being dark, lips."""
    y, z = skin.rest[..., 1], skin.rest[..., 2]
    jaw = skin.seen & (y < -0.30) & (y > -0.52) & (z > 0.1) & ~_near_lips(skin)
    return shrink(jaw & photo.shows(Label.BEARD, Label.LIPS, Label.MOUTH), 1)


def _sample_skin(skin: SkinOfPixels, photo: Photo) -> Bools:
    """Return pixels that surely show skin: of the upper face, and of the neck in its shade."""
    x, y, z = np.abs(skin.rest[..., 0]), skin.rest[..., 1], skin.rest[..., 2]
    upper = skin.seen & (y > -0.2) & (y < 0.25) & (x < 0.22) & (z > 0.17) & ((x > 0.09) | (y > -0.1))
    return shrink((upper & photo.shows(Label.FACE)) | photo.shows(Label.SKIN)) & (photo.known > 0.5)


def _near_lips(skin: SkinOfPixels) -> Bools:
    return cv2.dilate((skin.lips > 0.3).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _blur(picture: np.ndarray, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma), np.float32)


def correct_beard(photo: Photo, skin: SkinOfPixels, whiskers: F32) -> Photo:
    """Return the photo with labels of skin and beard that agree with how much its pixels look like whiskers.

    Its pixels of beard are as pure as the whiskers in them are dense.
    """
    labels = correct_labels(photo, skin, whiskers)
    photo = replace(photo, labels=uncover_mouth(labels, photo, skin))
    cover, beard = measure_cover(photo, whiskers), photo.shows(Label.BEARD)
    if beard.sum() < FEWEST:
        return photo
    densest = float(np.quantile(cover[beard], DENSEST))
    pure = np.where(beard, smoothstep(0.5 * densest, 0.9 * densest, cover), photo.pure)
    return replace(photo, pure=pure.astype(np.float32))


def correct_labels(photo: Photo, skin: SkinOfPixels, whiskers: F32) -> Bytes:
    """Return the label of every pixel: stubble is beard, the neck in the shade of a chin is skin."""
    labels = photo.labels.copy()
    around = cv2.dilate((skin.allowed > 0.5).astype(np.uint8), np.ones((HANGS, HANGS), np.uint8)) > 0
    grows = (whiskers > SURE) & (skin.allowed > 0.5) & photo.shows(Label.FACE)
    grows |= (whiskers > SURE) & around & ~_near_lips(skin) & photo.shows(Label.LIPS, Label.MOUTH)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THIN, THIN))
    grows = cv2.morphologyEx(grows.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    labels[grows & _touching(grows | photo.shows(Label.BEARD), _largest(photo.shows(Label.BEARD)))] = Label.BEARD
    if photo.shows(Label.SKIN).sum() > FEWEST:  # else the beard hides the neck
        low = skin.seen & (skin.rest[..., 1] < -0.28) & (labels == Label.BEARD)
        bare = low & (np.minimum(whiskers, measure_cover(photo, whiskers)) < BELOW)
        smooth = (cv2.medianBlur(bare.astype(np.uint8), SMOOTH) > 0) & low
        beside = cv2.dilate(photo.shows(Label.SKIN, Label.BACKGROUND).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        labels[_touching(smooth, beside)] = Label.SKIN
    labels[skin.seen & ~_near_lips(skin) & np.isin(labels, (Label.LIPS, Label.MOUTH))] = Label.FACE
    gaps = cv2.medianBlur((labels == Label.BEARD).astype(np.uint8), SMOOTH) > 0
    labels[gaps & ~_near_lips(skin) & np.isin(labels, (Label.FACE, Label.LIPS, Label.MOUTH, Label.SKIN))] = (
        Label.BEARD
    )
    return labels


def uncover_mouth(labels: Bytes, photo: Photo, skin: SkinOfPixels) -> Bytes:
    """Call beard in the middle of the fitted mouth mouth, and on the lips, where it is as red as these, lips."""
    read, beard = labels == Label.BEARD, shrink((labels == Label.BEARD) & ~_near_lips(skin), 1)
    area, inside = skin.seen & (skin.lips > 0.5), skin.inside > 0.5
    if min(beard.sum(), area.sum()) < FEWEST:
        return labels
    rgb = cv2.GaussianBlur(photo.rgb.astype(np.float32), (0, 0), 1.0)
    redness = np.log(rgb[..., 0] + 0.05) - np.log(rgb[..., 1] + 0.05)
    usual, reddest = float(np.median(redness[beard])), float(np.quantile(redness[area & ~inside], REDDEST))
    labels = np.where(read & shrink(inside, 1), np.uint8(Label.MOUTH), labels)
    if reddest - usual < REDDER:
        return labels
    red = (read & area & ~inside & (redness > (usual + reddest) / 2)).astype(np.uint8)
    red = cv2.morphologyEx(cv2.medianBlur(red, THIN), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return np.where(red & read, np.uint8(Label.LIPS), labels)


def _touching(mask: Bools, other: Bools) -> Bools:
    """Return the connected parts of a mask that overlap with another one."""
    parts = np.asarray(cv2.connectedComponents(mask.astype(np.uint8))[1])
    return mask & np.isin(parts, np.unique(parts[mask & other]))


def _largest(mask: Bools) -> Bools:
    """Return the largest connected part of a mask."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = np.asarray(stats)[1:, cv2.CC_STAT_AREA]
    return mask & (np.asarray(parts) == 1 + int(areas.argmax())) if len(areas) else mask


def measure_cover(photo: Photo, whiskers: F32) -> F32:
    """Return how much of the skin whiskers cover in each pixel (s, s): dark ones by what they leave of its light."""
    radiance = _blur(photo.radiance, 1.0)
    light = radiance.mean(-1)
    beard = photo.shows(Label.BEARD) & (whiskers > 0.9)
    bare = shrink(photo.shows(Label.FACE) & (whiskers < 0.1), 1)
    if min(beard.sum(), bare.sum()) < FEWEST:
        return whiskers
    if float(np.median(light[beard])) > PALE * float(np.median(light[bare])):
        return np.maximum(whiskers, 0.9 * _blur(photo.shows(Label.BEARD), 2.0))
    dark = float(np.quantile(light[beard], DARKEST))
    skin = spread_mean(radiance, bare).mean(-1)
    cover = np.clip((skin - light) / np.maximum(skin - dark, 0.02), 0, 1)
    return np.asarray(cover * smoothstep(0.0, 0.5, whiskers), np.float32)
