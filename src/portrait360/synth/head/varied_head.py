"""Heads whose ages, skin tones and hairstyles, the rare ones too, occur about equally often.

The reader learns from them, and `synthetic-v2` is made of them: a change is other training data and a new protocol.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.head.scan_shape import replace_morphs, sample_scan_shape
from portrait360.synth.sampling import palettes
from portrait360.synth.sampling.hair_variation import diversify_hair
from portrait360.synth.sampling.kinds import SAMPLERS
from portrait360.synth.sampling.parameters import HeadParameters, Skin
from portrait360.synth.sampling.sampler import sample_person, vary

AGES = ((0.14, 0.36), (0.36, 0.56), (0.56, 0.76), (0.76, 1.0))  # equally often
SCANNED = 0.6  # share of the people whose head has the shape of scans


def sample_varied_head(rng: np.random.Generator, seed: int, kind: str) -> HeadParameters:
    """Sample a head of this kind; its strands and patterns grow from `seed`."""
    low, high = AGES[int(rng.integers(len(AGES)))]
    person = sample_person(rng, seed)
    while not low <= person.shape.age <= high:
        person = sample_person(rng, seed)
    person = diversify_hair(rng, replace(person, skin=replace(person.skin, tone=_sample_tone(rng, person.skin))))
    if kind == "human" and rng.random() < SCANNED:
        person = replace(person, shape=replace_morphs(person.shape, sample_scan_shape(rng)))
    return SAMPLERS[kind](person, rng)


def _sample_tone(rng: np.random.Generator, skin: Skin) -> tuple[float, float, float]:
    tone = palettes.blend_skin(rng.uniform(0, len(palettes.SKIN) - 1))
    return vary(rng, (float(tone[0]), float(tone[1]), float(tone[2])), 0.05)
