"""The photo of an avatar: what its pixels show, in linear light, and the camera that took it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo.borders import find_width, measure_borders
from portrait360.pipeline.avatar.photo.cloth_matte import cut_wall, drop_haze
from portrait360.pipeline.avatar.photo.foreground import colour_loose_hair, estimate_foreground, open_gaps
from portrait360.pipeline.avatar.photo.head_bands import find_band
from portrait360.pipeline.avatar.photo.loose_hair import refine_hair
from portrait360.pipeline.avatar.photo.skin_tone import DIM, WARM, has_skin_tone, log_density, uncover_limbs
from portrait360.pipeline.avatar.photo.wall_hue import find_wall_hue
from portrait360.pipeline.avatar.worn.enclosed_background import cut_enclosed_background
from portrait360.pipeline.avatar.worn.head_cloth import uncover_head_cloth
from portrait360.pipeline.portrait.crop import cut_centre
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.utils.array_types import F32, I32, Bools, Bytes, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import map_in_threads
from portrait360.utils.portrait_labels import SKIN_LABELS, Label, find_labels

VOID = 255  # label of pixels beyond the photo
HAIR, SKIN, BEARD, CLOTHES = (Label.HAIR,), SKIN_LABELS, (Label.BEARD,), (Label.CLOTHES,)
WORN = (Label.GLASSES, Label.HAT, Label.JEWELLERY)
GUIDE_RADIUS, GUIDE_EPSILON = 5, 4e-4  # of the filter that brings labels to the picture's edges
FEWEST = 60  # pixels of hair and of background between which to tell
DISTINCT = 0.18  # distance of their colours, sRGB, from which on they can be told apart
PURE = (0.35, 0.65)  # place between the background's colour and the hair's
CHIN = 0.75  # quantile of the rows of a face, below which there may be shoulders
BORDER = 0.04  # crop sides within the photo's edge over which the photo fades in
EYES, FOREHEAD = (0.0, 0.0, 0.18), (0.0, 0.1, 0.18)  # canonical points between the eyes, and above them
CLEARLY = 2.0  # logarithm of the odds from which a colour is the hair's
DISTINCT_SHARE = 0.97  # share of a label's inside that must not look like background
GRAIN = 0.005  # crop sides over which colours are compared where those of single pixels do not tell
COARSE = 6.0  # pixels for the sigma of a Gaussian that is so wide that nothing finer is left
HOLE = 0.06  # crop sides from the matte's edge within which it may have holes
CRUMB, ISLAND = 0.001, 0.006  # share of the picture below which a part of a label is a crumb, and one of no colour
RARE = 0.12  # share of the skin whose colours are too rare to tell skin by
MOST, LARGE = 0.55, 0.04  # share of clothes of the skin's colours, and of the picture, from which clothes have them
NO_EDGE = 0.07  # step of sRGB across a border that is no edge
LOWEST = 0.85  # quantile of the rows of a face below which nothing is part of a hat on the head
COLOURLESS = (-0.75, 0.1)  # shares of the face's warmth between which a colour is grey
EVEN = 0.006  # crop sides over which that is judged
BRIGHT = 1.15  # of the face's brightness, from which grey is white
NEXT = 0.006  # crop sides beside what is labelled within which the matte's edge is its own
TELLING = 0.75  # share of hair and of face whose colours are more likely their own


@dataclass(frozen=True, eq=False)
class Photo:
    """A crop of s x s pixels."""

    rgb: Floats  # (s, s, 3) sRGB; beyond the matte the subject's colours continue
    radiance: Floats  # (s, s, 3) linear light, before tone mapping
    alpha: Floats  # (s, s)
    known: Floats  # (s, s) 1 inside the photo, 0 in the padding beyond it
    labels: Bytes  # (s, s) Label, VOID beyond the photo
    pure: Floats  # (s, s) 1 where a pixel of hair shows hair, 0 where the background shines through; painted: of all
    flow: Floats  # (s, s, 2) cos and sin of twice the angle of the hair, shorter where unsure
    camera: Camera  # in the frame of the head at its own size
    painted: bool = False  # whether eyes and mouth are painted on the face, as in a flat drawing
    eyes: Bools | None = None  # (s, s) where they are, if they are painted
    loose: Floats | None = None  # (s, s) the matte with single hairs, and without the background between locks

    @property
    def size(self) -> int:
        return len(self.rgb)

    def shows(self, *labels: Label) -> np.ndarray:
        """Return where the photo shows these labels (s, s)."""
        return find_labels(self.labels, labels)

    def mask(self, labels: tuple[Label, ...], *, inset: int = 1, blur: float = 1.2) -> Floats:
        """Return a soft mask of these labels, `inset` pixels within their outline."""
        kernel = np.ones((2 * inset + 1, 2 * inset + 1), np.uint8)
        hard = cv2.erode(self.shows(*labels).astype(np.uint8), kernel).astype(np.float32)
        soft = np.clip(cv2.GaussianBlur(hard, (0, 0), blur) * 1.15, 0, 1).astype(np.float32) * self.known
        return soft * self.pure if self.painted or Label.HAIR in labels else soft


def read_photo(portrait: Portrait, camera: Camera) -> Photo:
    """Return the photo of a portrait that has been read; `camera` is the one that fits the skin."""
    assert portrait.reading is not None
    shares = cut_centre(portrait.reading.probabilities, portrait.reading_scale, len(portrait.rgb))
    flow = cut_centre(np.moveaxis(portrait.reading.flow, -1, 0), portrait.reading_scale, len(portrait.rgb))
    known = soften_border(portrait.inside_photo)
    labels = sharpen_labels(shares, portrait.rgb.astype(np.float32), portrait.alpha, portrait.inside_photo)
    labels = correct_by_colour(labels, portrait.rgb.astype(np.float32), camera)
    drawn = portrait.reading.answers.get("kind", {}).get("toon", 0.0)
    labels = uncover_head_cloth(labels, portrait.rgb.astype(np.float32), drawn)
    cleared = clear_background(portrait.rgb.astype(np.float32), portrait.alpha.astype(np.float32), labels)
    alpha = cut_enclosed_background(portrait.rgb.astype(np.float32), cleared, labels)
    alpha = cut_wall(portrait.rgb.astype(np.float32), drop_haze(alpha, labels), labels)
    labels[(alpha < 0.5) & (labels != VOID)] = Label.BACKGROUND
    pure = find_pure_hair(portrait.rgb.astype(np.float32), alpha, labels == Label.HAIR)
    loose = find_loose_hair(portrait, shares, cleared, alpha)
    shown = open_gaps(alpha, pure, labels == Label.HAIR) if loose is None else loose
    if loose is not None:
        pure = pure * (1 - find_stained_hair(portrait.rgb.astype(np.float32), alpha, labels == Label.HAIR))
    pure = pure * ~find_band(srgb_to_radiance(portrait.rgb.astype(np.float32)), labels == Label.HAIR)
    rgb = estimate_foreground(portrait.rgb.astype(np.float32), shown)
    others = np.isin(labels, (*SKIN, *CLOTHES, *WORN))
    rgb = rgb if loose is None else colour_loose_hair(rgb, loose, labels == Label.HAIR, others)
    flow = np.moveaxis(flow, 0, -1)
    return Photo(rgb, srgb_to_radiance(rgb), alpha, known, labels, pure, flow, camera, loose=loose)


def find_loose_hair(portrait: Portrait, shares: F32, cleared: F32, alpha: F32) -> F32 | None:
    """Return the portrait's matte with single hairs.

    It is without what was cut out of it (`cleared`, then `alpha`), but for the gaps in hair, which it knows better.
    None for a picture that came with a matte of its own: behind that, it has one colour. `shares` are by label.
    """
    nothing = portrait.rgb[(portrait.alpha == 0) & (portrait.inside_photo > 0.99)]
    if not len(nothing) or not np.ptp(nothing, 0).any():
        return None
    hair = shares[[*HAIR, *BEARD]].sum(0)
    others = 1 - hair - shares[Label.BACKGROUND]
    whole = np.asarray(portrait.alpha, np.float32)
    loose = refine_hair(portrait.rgb.astype(np.float32), whole, hair, others, portrait.inside_photo > 0.99)
    left = np.where((hair > others) | (whole == 0), 1, cleared / np.maximum(whole, 1e-3))
    enclosed = np.where(cleared > 0, alpha / np.maximum(cleared, 1e-3), 1)
    return np.asarray(loose * left.clip(0, 1) * enclosed.clip(0, 1), np.float32)


def open_hair(photo: Photo) -> Photo:
    """Return a photo whose matte is open between locks: what is shown is; what is fitted to is the whole outline."""
    if photo.loose is None:
        return replace(photo, alpha=open_gaps(photo.alpha, photo.pure, photo.shows(Label.HAIR)))
    beyond = photo.labels == Label.BACKGROUND
    away, (rows, columns) = cast(tuple[Floats, I32], distance_transform_edt(beyond, return_indices=True))
    near = away <= NEXT * photo.size
    names = np.where(near, photo.labels[rows, columns], np.uint8(Label.HAIR))
    single = beyond & (photo.loose > 0.5)
    labels, pure = np.where(single, names, photo.labels), np.where(single, np.float32(0), photo.pure)
    return replace(photo, alpha=photo.loose, labels=labels, pure=pure, loose=None)


def clear_background(rgb: F32, alpha: F32, labels: Bytes) -> F32:
    """Return the matte without holes between locks, ear and neck through which the background is seen.

    A pixel is taken for background where that is clearly likelier than its own label, by the colours of both.
    """
    outside = cv2.erode((alpha < 0.05).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    outside &= labels != VOID
    if outside.sum() < FEWEST:
        return alpha
    behind, holes = log_density(rgb, rgb[outside]), np.zeros(alpha.shape, np.bool_)
    for group in ((Label.FACE, Label.EAR, Label.SKIN), HAIR):
        shown = np.isin(labels, group) & (alpha > 0.5)
        inside = cv2.erode(shown.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        if inside.sum() < FEWEST:
            continue
        evidence = behind - log_density(rgb, rgb[inside])
        if (evidence[outside] > 0).mean() <= TELLING:
            continue
        for found in (evidence, smooth_within(evidence, shown)):
            if (found[inside] < 0).mean() > DISTINCT_SHARE:
                holes |= shown & (found > CLEARLY)
                break
    beyond = alpha < 0.5
    holes &= cv2.dilate(beyond.astype(np.uint8), np.ones((2 * round(HOLE * len(alpha)) + 1,) * 2)) > 0
    holes = cv2.morphologyEx(holes.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    _, parts = cv2.connectedComponents(cv2.dilate((holes | beyond).astype(np.uint8), np.ones((5, 5), np.uint8)))
    holes &= np.isin(np.asarray(parts), np.unique(np.asarray(parts)[beyond]))
    wide = cv2.dilate(holes.astype(np.float32), np.ones((3, 3)))
    return np.asarray(alpha * (1 - cv2.GaussianBlur(wide, (0, 0), 0.7)), np.float32)


def smooth_within(values: F32, mask: Bools) -> F32:
    """Return values (s, s) without those of single gleaming hairs and of cracks in a painting, within a mask."""
    inside = mask.astype(np.float32)
    weight, soft = (cv2.GaussianBlur(a, (0, 0), GRAIN * len(values)) for a in (inside, values * inside))
    return np.asarray(np.where(mask, soft / np.maximum(weight, 1e-3), values), np.float32)


def find_pure_hair(rgb: Floats, alpha: Floats, hair: Bools) -> F32:
    """Return 1 where a pixel has the colour of the hair around it, and 0 where it has that of the background.

    Between locks a matte is often 1 where the background shines through. Far inside it are no holes.
    """
    pure = np.ones(alpha.shape, np.float32)
    inside = hair & (alpha > 0.9)
    outside = alpha < 0.1
    if inside.sum() < FEWEST or outside.sum() < FEWEST:
        return pure
    deep = cv2.erode(inside.astype(np.uint8), np.ones((9, 9))) > 0
    back, front = map_in_threads(lambda mask: spread_mean(rgb, mask), (outside, deep), lone_first=False)
    apart = front - back
    square = (apart**2).sum(-1)
    place = ((rgb - back) * apart).sum(-1) / np.maximum(square, 1e-4)
    edge = cv2.dilate(outside.astype(np.uint8), np.ones((2 * round(HOLE * len(alpha)) + 1,) * 2)) > 0
    blends = hair & edge & (square > DISTINCT**2)
    pure[blends] = smoothstep(*PURE, place[blends])
    return pure


def find_stained_hair(rgb: F32, alpha: Floats, hair: Bools) -> F32:
    """Return how far pixels of hair have the hue of the background around them, 0..1 (s, s)."""
    outside, inside = alpha < 0.1, hair & (alpha > 0.9)
    deep = cv2.erode(inside.astype(np.uint8), np.ones((9, 9))) > 0
    if min(outside.sum(), deep.sum()) < FEWEST:
        return np.zeros(alpha.shape, np.float32)
    back, front = map_in_threads(lambda mask: spread_mean(rgb, mask), (outside, deep), lone_first=False)
    return find_wall_hue(rgb, np.asarray(alpha, np.float32), hair, front, back)


def spread_mean(rgb: Floats, mask: Bools) -> Floats:
    """Return the mean colour of the masked pixels around every pixel."""
    weight = mask.astype(np.float32)
    masked = np.concatenate([rgb * weight[..., None], weight[..., None]], -1).astype(np.float32)
    out = np.zeros(masked.shape, np.float32)
    for sigma, share in ((12.0, 1.0), (40.0, 1e-2), (160.0, 1e-4)):  # from far only where nothing is near
        out = out + share * blur_coarsely(masked, sigma)
    return out[..., :3] / (out[..., 3:] + np.float32(1e-6))


def blur_coarsely(picture: F32, sigma: float) -> F32:
    """Return a picture (s, s, c) under a wide Gaussian, which is computed at a few pixels for each sigma."""
    size = picture.shape[1::-1]
    factor = sigma / COARSE
    small = tuple(max(round(side / factor), 1) for side in size)
    coarse = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), COARSE, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR), np.float32)


def soften_border(inside_photo: np.ndarray) -> F32:
    """Return 1 inside the photo, falling smoothly to 0 at those of its edges that lie in the crop."""
    inside = (inside_photo > 0.5).astype(np.uint8)
    if inside.all():
        return np.ones(inside.shape, np.float32)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) / (BORDER * len(inside))
    return np.asarray(smoothstep(0.1, 1.0, np.asarray(distance, np.float32)), np.float32)


def sharpen_labels(shares: F32, rgb: F32, alpha: np.ndarray, inside_photo: np.ndarray) -> Bytes:
    """Return the label of every pixel: probabilities brought to edges of the picture, and the matte.

    The filter is He et al. 2013, eq. 5 to 8, with the picture's brightness as guide.
    """
    guide = rgb.mean(-1).astype(np.float32)
    shares = np.stack([filter_by_guide(guide, share) for share in shares])
    shares[Label.BACKGROUND] = 0
    labels = shares.argmax(0).astype(np.uint8)
    labels[alpha < 0.5] = Label.BACKGROUND
    labels[inside_photo < 0.5] = VOID
    return labels


def correct_by_colour(labels: Bytes, rgb: F32, camera: Camera) -> Bytes:
    """Return the labels in which fringes are not face, locks not ear, necks not clothes, brims, straps not hair."""
    up, middle = (camera.project(np.array([point]))[0][0] for point in (FOREHEAD, EYES))
    y, x = (np.indices(labels.shape) + 0.5) / len(labels)
    above = (x - middle[0]) * (up - middle)[0] + (y - middle[1]) * (up - middle)[1] > 0
    labels = reassign(labels, rgb, (Label.FACE, Label.HAIR), above, ~above)
    labels = take_hats_off_chests(give_strays_away(uncover_ears(labels, rgb), rgb))
    everywhere = np.ones_like(above)
    white = find_colourless(labels, rgb)
    labels = reassign(labels, rgb, (Label.CLOTHES, Label.SKIN), ~white, everywhere)
    labels = reassign(labels, rgb, (Label.SKIN, Label.CLOTHES), everywhere, everywhere)
    brim = compare_colours(labels, rgb, (Label.HAIR, Label.HAT), everywhere)
    if brim is not None:  # much of a brim may have been read as hair: that is not typical of hair
        labels = reassign(labels, rgb, (Label.HAIR, Label.HAT), everywhere, brim < 0)
    labels = cover_collars(uncover_skin(give_crumbs_away(labels, Label.CLOTHES, Label.SKIN), rgb, white), rgb, white)
    strap = reassign(labels, rgb, (Label.HAIR, Label.CLOTHES), find_shoulders(labels), above)
    labels = labels if (strap == labels).all() else uncover_skin(take_hats_off_chests(strap), rgb, white)
    return uncover_limbs(labels, rgb)


def find_shoulders(labels: Bytes) -> Bools:
    """Return what lies lower than the mouth: beside a face, dark hair is hair in its own shade and no strap."""
    rows = np.nonzero(labels == Label.FACE)[0]
    lowest = np.quantile(rows, CHIN) if len(rows) else len(labels)
    return np.broadcast_to(np.arange(len(labels))[:, None] > lowest, labels.shape)


def give_strays_away(labels: Bytes, rgb: F32) -> Bytes:
    """Call parts of the hair that lie apart clothes if they are beside them and clearly have their colours."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats((labels == Label.HAIR).astype(np.uint8), connectivity=4)
    areas = np.asarray(stats)[:, cv2.CC_STAT_AREA] * (np.arange(len(stats)) > 0)
    hair, cloth = (
        cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        for mask in (parts == areas.argmax(), labels == Label.CLOTHES)
    )
    if len(areas) < 3 or min(hair.sum(), cloth.sum()) < FEWEST:
        return labels
    evidence = log_density(rgb, rgb[cloth]) - log_density(rgb, rgb[hair])
    mean = np.bincount(parts.ravel(), evidence.ravel()) / np.maximum(np.asarray(stats)[:, cv2.CC_STAT_AREA], 1)
    near = cv2.dilate((labels == Label.CLOTHES).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    beside = np.bincount(parts[near], minlength=len(areas)) > 0
    stray = (areas > 0) & (areas < areas.max()) & beside & (mean > CLEARLY)
    return np.where(stray[parts], np.uint8(Label.CLOTHES), labels)


def take_hats_off_chests(labels: Bytes) -> Bytes:
    """Call parts of a hat clothes that lie below the face: a pattern that is read as a hat, and as hair beside it."""
    face = np.nonzero(labels == Label.FACE)[0]
    if len(face) < FEWEST:
        return labels
    lowest = int(np.quantile(face, LOWEST))
    for label in (Label.HAT, Label.HAIR):
        _, parts, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=4)
        areas = np.asarray(stats)[:, cv2.CC_STAT_AREA] * (np.arange(len(stats)) > 0)
        stray = (areas > CRUMB * labels.size) & ((label == Label.HAIR) | (areas < areas.max()))
        stray[np.unique(np.asarray(parts)[:lowest])] = False
        if label == Label.HAT and not stray.any():
            break
        labels = np.where(stray[parts], np.uint8(Label.CLOTHES), labels)
    return labels


def find_colourless(labels: Bytes, rgb: F32) -> Bools:
    """Return which pixels lack the warmth of the face: a white collar may be as bright as skin, but it is grey.

    Where the face itself is not warm, as in black and white, this tells nothing.
    """
    face = cv2.erode((labels == Label.FACE).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    tone = np.log(cv2.GaussianBlur(rgb, (0, 0), EVEN * len(rgb)) + DIM)
    warmth = tone[..., 0] - tone[..., 2]
    usual = float(np.median(warmth[face])) if face.any() else 0.0
    return np.asarray((warmth > COLOURLESS[0] * usual) & (warmth < COLOURLESS[1] * usual) & (usual > WARM))


def uncover_skin(labels: Bytes, rgb: F32, white: Bools) -> Bytes:
    """Call parts of the clothes skin that have its colours and go over into it without an edge: a bare chest.

    What is `white` is none of it.
    """
    necks, faces = (
        cv2.erode((labels == label).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        for label in (Label.SKIN, Label.FACE)
    )
    if min(necks.sum(), faces.sum(), (labels == Label.CLOTHES).sum()) < FEWEST:
        return labels
    density, covered = log_density(rgb, rgb[necks]), labels
    for alike in (density > np.quantile(density[necks], RARE), has_skin_tone(rgb, necks | faces)):
        labels = _go_over(labels, rgb, alike & ~white)
    return _give_islands_back(labels, covered, white)


def _give_islands_back(labels: Bytes, covered: Bytes, white: Bools) -> Bytes:
    """Call skin what is `white` among skin that has just been uncovered: it is over-exposed."""
    given = give_crumbs_away(labels, Label.CLOTHES, Label.SKIN, ISLAND) != labels
    beside = cv2.dilate((labels != covered).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    _, parts = cv2.connectedComponents(given.astype(np.uint8))
    islands = np.intersect1d(parts[given & white], parts[given & beside])
    return np.where(np.isin(parts, islands), np.uint8(Label.SKIN), labels)


def _go_over(labels: Bytes, rgb: F32, alike: Bools) -> Bytes:
    """Call clothes skin in those parts of a mask that go over into skin without an edge, unless most are such."""
    skin, cloth = labels == Label.SKIN, labels == Label.CLOTHES
    alike = cv2.morphologyEx((cloth & alike).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0
    if alike.sum() > MOST * cloth.sum() and cloth.sum() > LARGE * cloth.size:
        return labels
    part, count, mean = measure_borders(rgb, alike, skin)
    bare = (count > find_width(labels)) & (mean < NO_EDGE)
    bare[0] = False
    return np.where(bare[part], np.uint8(Label.SKIN), labels)


def cover_collars(labels: Bytes, rgb: F32, white: Bools) -> Bytes:
    """Call parts of the skin clothes that are `white`, lie beside clothes and have an edge towards skin: a collar."""
    skin, cloth, face = (labels == label for label in (Label.SKIN, Label.CLOTHES, Label.FACE))
    light = rgb.mean(-1)
    white = white & (light > BRIGHT * (np.median(light[face]) if face.any() else 1))
    found = cv2.morphologyEx((skin & white).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0
    part, count, mean = measure_borders(rgb, found, skin & ~found)
    beside = np.bincount(
        part[cv2.dilate(cloth.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0], minlength=len(count)
    )
    collar = (beside > 0) & ((count == 0) | (mean > NO_EDGE))
    collar[0] = False
    return give_crumbs_away(np.where(collar[part], np.uint8(Label.CLOTHES), labels), Label.SKIN, Label.CLOTHES)


def uncover_ears(labels: Bytes, rgb: F32) -> Bytes:
    """Call pixels of ears hair that clearly have the colours of the hair, not of the face."""
    kernel = np.ones((7, 7), np.uint8)
    face, hair = (cv2.erode((labels == label).astype(np.uint8), kernel) > 0 for label in (Label.FACE, Label.HAIR))
    if min(face.sum(), hair.sum()) < FEWEST:
        return labels
    evidence = log_density(rgb, rgb[hair]) - log_density(rgb, rgb[face])
    if (evidence[hair] > 0).mean() < TELLING or (evidence[face] < 0).mean() < TELLING:
        return labels
    return np.where((labels == Label.EAR) & (evidence > CLEARLY), np.uint8(Label.HAIR), labels)


def give_crumbs_away(labels: Bytes, label: Label, other: Label, most: float = CRUMB) -> Bytes:
    """Give parts of a label, each less than `most` of the picture, that lie mostly among another one to that."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=4)
    small = np.asarray(stats)[:, cv2.CC_STAT_AREA] < most * labels.size
    small[0] = False
    rim = cv2.morphologyEx((labels == label).astype(np.uint8), cv2.MORPH_DILATE, np.ones((3, 3), np.uint8)) > 0
    rim &= labels != label
    near = cv2.dilate(np.where(small[parts], parts, 0).astype(np.float32), np.ones((3, 3), np.uint8)).astype(int)[rim]
    among = np.bincount(near, labels[rim] == other, len(small)) / np.maximum(
        np.bincount(near, minlength=len(small)), 1
    )
    return np.where((small & (among > 0.5))[parts], np.uint8(other), labels)


def reassign(labels: Bytes, rgb: F32, pair: tuple[Label, Label], where: Bools, typical: Bools) -> Bytes:
    """Give pixels of the first label to the second where they lie beside it and clearly have its colours.

    Where both have much the same colours, all stays.

    Args:
        labels: Label of every pixel.
        rgb: The picture, sRGB.
        pair: The first and the second label.
        where: Where pixels may change.
        typical: Where pixels of the first label are typical of it.
    """
    evidence = compare_colours(labels, rgb, pair, typical)
    if evidence is None:
        return labels
    found = (where & (labels == pair[0]) & (evidence > CLEARLY)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, parts = cv2.connectedComponents(found | (labels == pair[1]).astype(np.uint8))
    beside = np.unique(parts[labels == pair[1]])
    labels = labels.copy()
    labels[(found > 0) & np.isin(parts, beside)] = pair[1]
    return labels


def compare_colours(labels: Bytes, rgb: F32, pair: tuple[Label, Label], typical: Bools) -> F32 | None:
    """Return the logarithm of the odds of the second label of a pair, by colour; None where both look much alike."""
    kernel = np.ones((7, 7), np.uint8)
    first, second = (cv2.erode((labels == label).astype(np.uint8), kernel) > 0 for label in pair)
    first &= typical
    if min(first.sum(), second.sum()) < FEWEST:
        return None
    evidence = log_density(rgb, rgb[second]) - log_density(rgb, rgb[first])
    if (evidence[second] > 0).mean() < TELLING or (evidence[first] < 0).mean() < TELLING:
        return None
    return evidence


def filter_by_guide(guide: F32, values: F32) -> F32:
    side = 2 * GUIDE_RADIUS + 1

    def average(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (side, side))

    mean, level = average(guide), average(values)
    slope = (average(guide * values) - mean * level) / (average(guide * guide) - mean * mean + GUIDE_EPSILON)
    return np.asarray(average(slope) * guide + average(level - slope * mean), np.float32)
