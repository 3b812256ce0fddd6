"""Let a beard take the hair's colour where the two meet: before the ears, whiskers mix with the hair above them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.photo.exposure import is_hair
from portrait360.synth.scene import Material, Part, Strands
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep

FAR = 0.075  # canonical distance from the hair's roots from which a whisker has the beard's colour
MIXED = 0.4  # how far these distances differ from whisker to whisker, logarithm
AROUND = 12  # strands of hair whose colour a whisker takes


def meet_hair(groups: Sequence[Strands]) -> list[Strands]:
    """Return strands of which whiskers have the more of the hair's colour, the nearer they grow to it.

    Each keeps what it is lighter or darker than those around it, and carved ones keep all of theirs.
    """
    hair = [group for group in groups if is_hair(group) and len(group.points)]
    if sum(len(group.points) for group in hair) < AROUND:
        return list(groups)
    tree = KDTree(np.concatenate([group.points[:, 0] for group in hair]))
    colours = np.concatenate([_usual_colour(group) for group in hair])
    return [_mix(group, tree, colours) if _is_beard(group) else group for group in groups]


def _is_beard(group: Strands) -> bool:
    return len(group.points) > 0 and int(group.part[0]) == Part.BEARD and int(group.material[0]) == Material.HAIR


def _usual_colour(group: Strands) -> F32:
    """Return the mean colour of each strand (s, 3), logarithm."""
    return np.asarray(np.log(np.maximum(group.albedo, 1e-4)).mean(1), np.float32)


def _mix(group: Strands, tree: KDTree, colours: F32) -> Strands:
    roots, rng = group.points[:, 0], np.random.default_rng(71)
    apart, nearest = tree.query(roots, k=AROUND)
    own = _usual_colour(group)
    around = own[KDTree(roots).query(roots, k=min(AROUND, len(roots)))[1].reshape(len(roots), -1)].mean(1)
    away = apart[:, 0] * np.exp(MIXED * rng.normal(0, 1, len(roots)))
    share = (1 - smoothstep(0.0, FAR, away))[:, None]
    gain = np.exp(share * (colours[nearest].mean(1) - around))
    return replace(group, albedo=np.asarray(group.albedo * gain[:, None], np.float32))
