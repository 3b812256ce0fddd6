"""Beard of an avatar: the one that agrees best with the photo."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.hair.outline import bare_skin
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.synth.hair.beard_brows import make_beard
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.label_view import draw_backdrop, see_labels
from portrait360.synth.sampling.parameters import Facial, HeadParameters
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import Label

BEARD_OF_GROUP = {
    "stubble": "designer",
    "short": "short",
    "moustache": "moustache",
    "goatee": "goatee",
    "full": "full",
}
LENGTHS = {
    "designer": (1.0,),
    "short": (0.6, 1.0, 1.6, 2.2),
    "moustache": (0.8,),
    "goatee": (0.6, 1.0),
    "full": (0.7, 1.0),
}
SIDE = 144  # pixels at which outlines are compared
FEWER, WIDER = 4, 2.2  # strands, and their width, in these pictures
PRIOR = 0.06  # overlap that a tenfold probability is worth


def choose_beard(head: Head, photo: Photo, parameters: HeadParameters, groups: dict[str, float]) -> Facial:
    """Return the facial hair whose outline agrees best with the photo; `groups` holds the reader's probabilities."""
    labels = cv2.resize(photo.labels, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    backdrop = draw_backdrop([bare_skin(head)], photo.camera, SIDE)
    tried = [
        (group, replace(parameters.facial, beard=beard, beard_length=length))
        for group, beard in BEARD_OF_GROUP.items()
        for length in LENGTHS[beard]
    ]

    def score(candidate: tuple[str, Facial]) -> float:
        group, facial = candidate
        strands, _ = make_beard(head, replace(parameters, facial=facial), np.random.default_rng(0))
        strands = [select(s, np.arange(len(s.points)) % FEWER == 0) for s in strands]
        strands = [replace(s, widths=s.widths * WIDER) for s in strands]
        shown = see_labels(backdrop, strands).labels == Label.BEARD
        true, known = labels == Label.BEARD, labels != VOID
        overlap = (shown & true).sum() / max(((shown | true) & known).sum(), 1)
        return float(overlap + PRIOR * np.log10(max(groups.get(group, 0.0), 1e-3)))

    return max(tried, key=score)[1]


def select(strands: Strands, rows: Bools) -> Strands:
    """Return these strands alone."""
    arrays = {f.name: getattr(strands, f.name) for f in fields(strands)}
    return replace(strands, **{name: a[rows] for name, a in arrays.items() if isinstance(a, np.ndarray)})
