"""Compose a picture of a cutout: place it, put something behind and before it, and photograph it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from portrait360.synth.photography.backgrounds import sample_background
from portrait360.synth.photography.cutout import Cutout
from portrait360.synth.photography.fields import Generator, blur, to_bytes
from portrait360.synth.photography.filters import photograph
from portrait360.synth.photography.occluders import Occluder, draw_occluder
from portrait360.synth.photography.placement import (
    Layer,
    Placement,
    sample_bystander,
    sample_neighbour,
    sample_placement,
    turn_flow,
    turn_normals,
    warp,
    warp_colours,
    warp_labels,
)
from portrait360.synth.render.tone_mapping import composite_over, linear_to_srgb, srgb_to_linear
from portrait360.utils.array_types import F32, F64, Bytes
from portrait360.utils.portrait_labels import FACE_LABELS, Label

VOID = 255  # a label that is not counted: the picture's content has ended here
OBJECT_SHARE = 0.12
BYSTANDER_SHARE = 0.25  # where there are others
NEIGHBOUR_SHARE, MOST_HIDDEN = 0.3, 0.25  # where there are others; share of a face that a neighbour may hide
BORDER_SHARE = 0.35
SIDES = {"bottom": 0.7, "left": 0.25, "right": 0.25, "top": 0.12}  # how often the border is there, if there is one


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what its pixels show.

    Where `labels` is VOID, the picture's last row or column is repeated: `alpha` is not to be counted there, and
    `flow` and `normals` are 0, as they are wherever they are unknown. An OBJECT has alpha 1 if held, worn or a hand.
    """

    rgb: Bytes  # (s, s, 3)
    alpha: Bytes  # (s, s)
    labels: Bytes  # (s, s) Label, or VOID
    flow: NDArray[np.int8]  # (s, s, 2) 127 times cos and sin of twice the hair's angle
    normals: NDArray[np.int8]  # (s, s, 3) 127 times unit normals in camera coordinates
    flip: bool  # whether left and right are exchanged: then a parameter such as the parting's side is, too
    affine: F64  # (2, 3) from pixels (x, y) of the cutout to pixels of the picture


@dataclass(frozen=True, eq=False)
class Draft:
    """A picture in the making."""

    rgb: F32  # sRGB-encoded in [0, 1]
    alpha: F32
    labels: Bytes
    flow: F32
    normals: F32


def compose(
    rng: Generator,
    person: Cutout,
    others: Sequence[Cutout] = (),
    size: int = 256,
    treatment: str | None = None,
) -> Picture:
    """Return a picture of the person, perhaps with others behind or beside, an object before, and a border.

    `treatment` says how it is photographed, see `photograph`.
    """
    placement = sample_placement(rng, person, size)
    background = srgb_to_linear(sample_background(rng, size))
    if others and rng.random() < BYSTANDER_SHARE:
        background = add_bystanders(rng, background, others)
    scene = place_person(rng, person, placement, background)
    beside = rng.spawn(1)[0]  # numbers of its own, so that the rest of the picture does not depend on it
    if others and beside.random() < NEIGHBOUR_SHARE:
        scene = put_neighbour_before(beside, scene, others)
    if rng.random() < OBJECT_SHARE:
        scene = put_before(scene, draw_occluder(rng, scene.rgb, scene.labels))
    rgb, alpha, labels = to_bytes(photograph(rng, scene.rgb, treatment)), to_bytes(scene.alpha), scene.labels
    if rng.random() < BORDER_SHARE:
        rgb, alpha, labels = repeat_border(rng, rgb, alpha, labels)
    known = ((labels != VOID) & (labels != Label.OBJECT) & (alpha > 0)).astype(np.float32)[..., None] * 127
    flow, normals = (np.rint(v * known).astype(np.int8) for v in (scene.flow, scene.normals))
    return Picture(rgb, alpha, labels, flow, normals, placement.flip, placement.affine)


def add_bystanders(rng: Generator, background: F32, others: Sequence[Cutout]) -> F32:
    """Composite one or two other people over a linear background, often out of focus; they belong to it."""
    size = len(background)
    for _ in range(1 + int(rng.random() < 0.3)):
        other = others[int(rng.integers(len(others)))]
        layer = warp_colours(other, sample_bystander(rng, other, size).affine, size)
        values = np.dstack([layer.light, layer.alpha])
        if rng.random() < 0.6:
            values = blur(values, rng.uniform(0.5, 7) * size / 256)
        background = np.asarray(values[..., :3] + background * (1 - values[..., 3:]), np.float32)
    return background


def place_person(rng: Generator, person: Cutout, placement: Placement, background: F32) -> Draft:
    """Composite the person over a linear background, and move what is known of the person along."""
    affine, size = placement.affine, len(background)
    layer = match_light(rng, vary_edge(rng, warp_colours(person, affine, size)), background)
    rgb = linear_to_srgb(layer.light + background * (1 - layer.alpha[..., None]))
    labels = warp_labels(person.labels, affine, size)
    labels[layer.alpha < 1 / 255] = Label.BACKGROUND
    return Draft(
        rgb,
        layer.alpha,
        labels,
        turn_flow(warp(person.flow, affine, size), placement.degrees, placement.flip),
        turn_normals(warp(person.normals, affine, size), placement.degrees, placement.flip),
    )


def put_neighbour_before(rng: Generator, scene: Draft, others: Sequence[Cutout]) -> Draft:
    """Put another's shoulder or hair before the person's, as in photos of groups; nobody is put before the face."""
    size = len(scene.labels)
    other = others[int(rng.integers(len(others)))]
    layer = warp_colours(other, sample_neighbour(rng, other, size).affine, size)
    values = blur(np.dstack([layer.light, layer.alpha]), rng.uniform(0, 2) * size / 256)
    alpha = np.clip(values[..., 3], 0, 1)
    face = np.isin(scene.labels, FACE_LABELS)
    if (alpha[face] > 0.5).sum() > MOST_HIDDEN * face.sum():
        return scene
    rgb = linear_to_srgb(np.clip(values[..., :3] / np.maximum(alpha, 1 / 255)[..., None], 0, 1))
    return put_before(scene, Occluder(rgb, alpha, Label.BACKGROUND, is_subject=False))


def vary_edge(rng: Generator, layer: Layer) -> Layer:
    """Soften or sharpen the outline a little, as lenses, cameras and painters do."""
    choice = rng.random()
    if choice < 0.3:
        values = blur(np.dstack([layer.light, layer.alpha]), rng.uniform(0.3, 0.8) * len(layer.alpha) / 256)
        return Layer(values[..., :3], np.clip(values[..., 3], 0, 1))
    if choice < 0.5:
        sharp = np.clip((layer.alpha - 0.5) * np.float32(rng.uniform(1.2, 2.5)) + 0.5, 0, 1)
        sharp = np.where(layer.alpha > 0.004, sharp, 0)
        light = layer.light * (sharp / np.maximum(layer.alpha, 0.004))[..., None]
        return Layer(light.astype(np.float32), sharp.astype(np.float32))
    return layer


def match_light(rng: Generator, layer: Layer, background: F32) -> Layer:
    """Tint the person with the background's mean light, and let it spill around the outline, each at times."""
    light, alpha = layer
    if rng.random() < 0.4:
        mean = background.mean((0, 1))
        light = light * (1 + rng.uniform(0, 0.6) * (mean / max(float(mean.mean()), 0.02) - 1)).clip(0.4, 2.0)
    if rng.random() < 0.35:
        reach = rng.uniform(1.5, 6) * len(alpha) / 256
        around = blur(np.dstack([background * (1 - alpha[..., None]), alpha]), reach)  # what shines in from outside
        light = light + np.float32(rng.uniform(0.1, 0.6)) * around[..., :3] * alpha[..., None]
    return Layer(np.clip(light, 0, 1).astype(np.float32), alpha)


def put_before(scene: Draft, occluder: Occluder) -> Draft:
    """Put an object before the person, or a garment on."""
    cover = occluder.alpha
    hidden = cover > 0.5
    labels = np.where(hidden, np.uint8(occluder.label), scene.labels)
    alpha = scene.alpha * (1 - cover)
    alpha = alpha + cover if occluder.is_subject else np.where(hidden, np.float32(0), alpha)
    bare = (~hidden).astype(np.float32)[..., None]
    rgb = composite_over(occluder.rgb, cover, scene.rgb)
    return replace(scene, rgb=rgb, alpha=alpha, labels=labels, flow=scene.flow * bare, normals=scene.normals * bare)


def repeat_border(rng: Generator, rgb: Bytes, alpha: Bytes, labels: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """End the content before some edges and repeat its last row or column, as a crop beyond a photo's edge does."""
    size = len(labels)
    present = rng.random(4) < np.array(list(SIDES.values()))
    if not present.any():
        present[0] = True
    bottom, left, right, top = (np.rint(rng.uniform(0.05, 0.25, 4) * size) * present).astype(int).tolist()
    inner = slice(top, size - bottom), slice(left, size - right)
    around = (top, bottom), (left, right)
    marked = np.pad(labels[inner], around, constant_values=VOID)
    return np.pad(rgb[inner], (*around, (0, 0)), mode="edge"), np.pad(alpha[inner], around, mode="edge"), marked
