"""How much of the light of dark hair in a photo is gloss: it lies on the front, and is not the hair's colour.

A surface strand reflects some light as it comes, whatever the colour of hair: little beside that of fair hair, and
several times that of black hair. Gloss has the hue of the light, so brown hair is paler where it shines. What is as
deep in hue where it is bright as where it is dark only lies in better light. Hair without a hue does not tell this,
and is taken to be about as dark all over as where it is darkest.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.exposure import trimmed_mean
from portrait360.synth.render.lights import LUMINANCE
from portrait360.utils.array_types import F32, Bools
from portrait360.utils.image_ops import smoothstep

LIT, DULL = (0.35, 0.8), (0.03, 0.15)  # quantiles of brightness of usual hair, and of that without gloss
DIM = 0.0005  # radiance below which hair has no hue
FAIR = (0.06, 0.12)  # radiances of usual hair over which gloss comes to count for little
UNEVEN = 1.5  # usual brightness of hair without gloss against its darkest
MORE = 1.5  # gloss against what its hue tells: darkest hair shines, too
HUED = (0.15, 0.3)  # strength of the hue, as a share, over which it comes to tell gloss
MOST = 0.35  # of the light: what is dark in a photo may only lie in shade between locks


def find_gloss(radiance: F32, mask: Bools) -> float:
    """Return the share of the light of usual hair among the pixels (s, s, 3) of a mask that is gloss."""
    colours = np.maximum(cv2.GaussianBlur(radiance, (0, 0), 1.0)[mask], 0)
    lit, dull = (trimmed_mean(colours, share) for share in (LIT, DULL))
    usual, least = float(lit @ LUMINANCE), float(dull @ LUMINANCE)
    dark = 1 - float(smoothstep(*FAIR, np.asarray(usual)))
    if not dark:
        return 0.0
    pale, deep = (_measure_hue(colour, lit) for colour in (lit, dull))
    by_hue = MORE * (1 - pale / max(deep, 1e-6))
    by_light = 1 - UNEVEN * (least + DIM) / (usual + DIM)
    hued = float(smoothstep(*HUED, np.asarray(max(pale, deep))))
    return dark * float(np.clip(by_light + hued * (min(by_hue, by_light) - by_light), 0, MOST))


def _measure_hue(colour: F32, other: F32) -> float:
    """Return how far a colour (3,) is from grey towards the hue of another, as a share of its brightness.

    Gloss is paler than hair, but not of another hue: violet shade beside brown light is a lens's, or a grade's.
    """
    away, along = ((a - a.mean()) / (a.mean() + DIM) for a in (colour, other))
    return float(away @ along / max(float(np.linalg.norm(along)), 1e-6))
