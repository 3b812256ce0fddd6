"""The people of synthetic-v2: all ages, skin tones and hairstyles about equally often, many with the shape of scans,
some with things that everyday photos lack. They are part of the protocol: a change is a new protocol.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.build import build
from portrait360.synth.head.varied_head import sample_varied_head
from portrait360.synth.render.photo_lights import sample_photo_light
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.sampling.worn_variation import diversify_wear
from portrait360.synth.scene import Scene

WORN = 0.3  # share with turbans, veils, hoods, large jewellery and the like


def build_varied_head(seed: int, kind: str) -> Scene:
    """Build the head of a seed in the light of a photo."""
    light = sample_photo_light(np.random.default_rng([seed, 42]))
    return replace(build(sample_protocol_head(seed, kind)), light=light)


def sample_protocol_head(seed: int, kind: str) -> HeadParameters:
    rng = np.random.default_rng([seed, 41])
    head = sample_varied_head(rng, seed, kind)
    return diversify_wear(rng, head) if kind != "animal" and rng.random() < WORN else head
