"""The people of synthetic-v2: all ages, skin tones and hairstyles about equally often, many with the shape of scans,
some with things that everyday photos lack. They are part of the protocol: a change is a new protocol.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.build import build
from portrait360.synth.head.scan_shape import replace_morphs, sample_scan_shape
from portrait360.synth.render.photo_lights import sample_photo_light
from portrait360.synth.sampling import palettes
from portrait360.synth.sampling.hair_variation import diversify_hair
from portrait360.synth.sampling.kinds import SAMPLERS
from portrait360.synth.sampling.parameters import HeadParameters, Skin
from portrait360.synth.sampling.sampler import sample_person, vary
from portrait360.synth.sampling.worn_variation import diversify_wear
from portrait360.synth.scene import Scene

AGES = ((0.14, 0.36), (0.36, 0.56), (0.56, 0.76), (0.76, 1.0))  # equally often
SCANNED = 0.6  # share of the people whose head has the shape of scans
WORN = 0.3  # share with turbans, veils, hoods, large jewellery and the like


def build_varied_head(seed: int, kind: str) -> Scene:
    """Build the head of a seed in the light of a photo."""
    return replace(build(sample_varied_head(seed, kind)), light=sample_photo_light(np.random.default_rng([seed, 42])))


def sample_varied_head(seed: int, kind: str) -> HeadParameters:
    rng = np.random.default_rng([seed, 41])
    low, high = AGES[int(rng.integers(len(AGES)))]
    person = sample_person(rng, seed)
    while not low <= person.shape.age <= high:
        person = sample_person(rng, seed)
    person = diversify_hair(rng, replace(person, skin=replace(person.skin, tone=_sample_tone(rng, person.skin))))
    if kind == "human" and rng.random() < SCANNED:
        person = replace(person, shape=replace_morphs(person.shape, sample_scan_shape(rng)))
    head = SAMPLERS[kind](person, rng)
    return diversify_wear(rng, head) if kind != "animal" and rng.random() < WORN else head


def _sample_tone(rng: np.random.Generator, skin: Skin) -> tuple[float, float, float]:
    tone = palettes.blend_skin(rng.uniform(0, len(palettes.SKIN) - 1))
    return vary(rng, (float(tone[0]), float(tone[1]), float(tone[2])), 0.05)
