"""Hair from behind: skin where hair belongs, and headwear that ends where the photo does."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.evaluation.looks.sheet import ReadView, Sheet
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import Label

BEHIND = 135.0  # degrees
BARE = (Label.FACE, Label.SKIN)
COVER = (Label.HAIR, Label.HAT)
EAR_LINE = 0.5  # picture heights: above it the back of a head with hair shows no skin
ALIKE = 12.0  # CIELAB distance within which a colour is that of skin
ENOUGH = 0.002  # share of the picture that a colour is known by
MIN_COVER = 0.02  # share of the photo: with less hair than this, the head may be bald


def measure_skin_in_hair(sheet: Sheet) -> float:
    """Return the skin behind that has hair below it, as at a band across the nape, and the skin on the skull, both as
    a share of the hair there."""
    views = sheet.near(BEHIND)
    if sheet.photo.shows(*COVER).mean() < MIN_COVER or not views:
        return float("nan")
    shares = []
    for view in views:
        hair = view.shows(*COVER)
        skin = view.shows(*BARE) | find_skin_colour(view)
        below = np.cumsum(hair[::-1], axis=0)[::-1] > 0
        above = np.arange(view.size)[:, None] < EAR_LINE * view.size
        shares.append((skin & (below | above)).sum() / max(int(hair.sum()), 1))
    return float(min(np.mean(shares), 1.0))


def find_skin_colour(view: ReadView) -> Bools:
    """Return where hair has the colour of skin, not of hair, in a patch wider than strands."""
    hair, skin = view.shows(Label.HAIR), view.shows(*BARE)
    if min(hair.mean(), skin.mean()) < ENOUGH:
        return np.zeros_like(hair)
    to_hair, to_skin = (np.linalg.norm(view.lab - np.median(view.lab[m], axis=0), axis=2) for m in (hair, skin))
    alike = hair & (to_skin < ALIKE) & (to_skin < 0.6 * to_hair)
    side = max(view.size // 50, 1)
    return cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0


def measure_lost_headwear(sheet: Sheet) -> float:
    """Return by how much the share of headwear in what covers the head differs from the photo's, on average."""
    photo = sheet.photo
    if photo.shows(*COVER).mean() < MIN_COVER:
        return float("nan")
    expected = photo.shows(Label.HAT).sum() / photo.shows(*COVER).sum()
    covers = [(view.shows(Label.HAT).sum(), view.shows(*COVER).sum()) for view in sheet.views]
    return float(np.mean([abs(hat / max(cover, 1) - expected) for hat, cover in covers]))
