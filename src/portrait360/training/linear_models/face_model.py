"""Build the linear face model for fitting: shape modes of sampled people, expression units, and landmark positions.

    python -m portrait360.training.linear_models.face_model -o FILE [--people 1200] [--pictures 240]

The landmark network runs on rendered heads whose surface is known. Each landmark's position in the model is its
median position over many heads, on the average head. The fit thus uses the points that the network really predicts,
not those of a diagram.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, HEAD_HEIGHT
from portrait360.pipeline.portrait.face_detection import find_faces, find_landmarks
from portrait360.pipeline.portrait.face_fitting import LinearPoints
from portrait360.pipeline.portrait.morphable_model import Morphable, pose_terms
from portrait360.synth.build import build
from portrait360.synth.head.average_head import load_average_head, to_head_heights
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head_pack import load_pack, macro_weights
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.parameters import HeadParameters, Wear
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.array_types import Floats

MODES = 60
FIRST_BODY, FIRST_VIEW = 100_000, 150_000  # first seeds of bodies and of rendered people, used by nothing else
SKIN_POINTS = 468  # the ten points after them lie on the irises
NECK = -0.75  # head heights: vertices below have a small weight
SIDE = 512  # pixels a side of the images for landmark detection


def shapes(people: int) -> Floats:
    """Return the neutral bodies (people, n, 3) of sampled humans, in the canonical frame."""
    return sample_heads(people)[:, : load_pack().body]


def sample_heads(people: int) -> Floats:
    """Return the neutral heads (people, n, 3) of sampled humans, with all parts of the pack."""
    pack, heads = load_pack(), []
    for seed in range(FIRST_BODY, FIRST_BODY + people):
        shape = sample(seed, "human").shape
        weights = macro_weights(shape.gender, shape.age, shape.muscle, shape.weight, shape.origin)
        for name, weight in shape.morphs.items():
            weights[name] = weights.get(name, 0.0) + weight
        vertices = pack.blend(weights)
        heads.append(HEAD_HEIGHT * to_head_heights(pack, vertices, vertices))
    return np.array(heads, np.float64)


def modes(bodies: Floats, count: int = MODES) -> tuple[Floats, Floats]:
    """Return the mean (n, 3) and modes (count, n, 3), scaled so that weights have unit variance over the bodies."""
    mean = bodies.mean(0)
    offsets = bodies - mean
    return mean, np.tensordot(find_scores(offsets, count).T, offsets, 1) / len(bodies)


def find_scores(offsets: Floats, count: int = MODES) -> Floats:
    """Return the weights (people, count) of the modes of bodies, from their offsets (people, n, 3) from the mean."""
    weight = np.where(load_average_head().base[: offsets.shape[1], 1] > NECK, 1.0, 0.2)[:, None]
    u, _, _ = np.linalg.svd((offsets * weight).reshape(len(offsets), -1), full_matrices=False)
    return u[:, :count] * np.sqrt(len(offsets))


def expressions() -> Floats:
    """Return the offsets (52, n, 3) of the body by each expression unit at full weight, on the average head."""
    return move_heads()[:, : load_pack().body]


def move_heads() -> Floats:
    """Return the offsets (52, n, 3) of all parts of the pack by each expression unit."""
    pack, average = load_pack(), macro_weights(0.5, 0.5, 0.5, 0.5, (1, 1, 1))
    neutral = pack.blend(average)
    expressive = [pack.blend({**average, f"unit/{unit}": 1.0}) for unit in pack.units]
    base = to_head_heights(pack, neutral, neutral)
    return HEAD_HEIGHT * np.array([to_head_heights(pack, v, neutral) - base for v in expressive])


def measure_landmarks(pictures: int) -> tuple[Floats, Floats]:
    """Return each landmark's median position (468, 3) on the average head and its spread (468), in head heights."""
    measured = [points for seed in range(pictures) if (points := _locate_landmarks(seed)) is not None]
    positions = np.array(measured)
    median = np.nanmedian(positions, 0)
    return median, np.nanmedian(np.linalg.norm(positions - median, axis=-1), 0)


def _locate_landmarks(seed: int) -> Floats | None:
    """Detect the landmarks of a plain face from the front and locate them on the average head; NaN off the skin."""
    person = plain(sample(seed, "human"))
    camera = Camera(look_at(0), focal_from_fov(FOV))
    view = render(prepare_scene(build(person)), camera, SIDE)
    picture = composite_over(view.rgb, view.alpha, np.full_like(view.rgb, 0.6)).astype(np.float32)
    faces = find_faces(picture)
    if not faces:
        return None
    head = make_head(person)
    buffers = rasterizer.rasterise(head.body, head.triangles, camera, SIDE)
    positions = rasterizer.interpolate(buffers, head.triangles, head.rest)
    positions[buffers.ids < 0] = np.nan
    points = find_landmarks(picture, faces[0]).points[:SKIN_POINTS, :2]
    x, y = np.clip(np.floor(points).astype(int), 0, SIDE - 1).T
    return positions[y, x]


def plain(person: HeadParameters) -> HeadParameters:
    """Return the same person with a neutral face, short hair, no beard, and no hats or glasses."""
    return replace(
        person,
        wear=Wear(),
        hair=replace(person.hair, style="crew"),
        shape=replace(person.shape, expression={}),
        facial=replace(person.facial, beard="none"),
    )


def on_body(points: Floats, neighbours: int = 24) -> sp.csr_matrix:
    """Return a matrix (m, n) that takes the body's vertices to the nearest points of the subdivided skin."""
    pack = load_pack()
    step, skin = pack.subdivision(1), load_average_head().fine[1]
    corners = skin[step.triangles]
    near = np.atleast_2d(KDTree(corners.mean(1)).query(points, k=neighbours)[1])
    a = corners[near, 0]
    edges = np.stack([corners[near, 1] - a, corners[near, 2] - a], -1)  # (m, neighbours, 3, 2)
    uv = (np.linalg.pinv(edges) @ (points[:, None] - a)[..., None])[..., 0].clip(0, 1)
    uv = uv / np.maximum(uv.sum(-1, keepdims=True), 1)
    hit = a + (edges @ uv[..., None])[..., 0]
    row = np.arange(len(points))
    best = np.argmin(np.linalg.norm(hit - points[:, None], axis=-1), 1)
    u, v = uv[row, best].T
    weights = np.stack([1 - u - v, u, v], 1)
    columns = step.triangles[near[row, best]]
    fine = sp.csr_matrix((weights.ravel(), (np.repeat(row, 3), columns.ravel())), (len(row), len(skin)))
    return sp.csr_matrix(fine @ step.matrix)


def hollow() -> NDArray[np.bool_]:
    """Return the mask (q,) of the quads that line the mouth and the eye sockets, which are invisible from outside."""
    pack, average = load_pack(), load_average_head()
    inner = pack.mask("inside_mouth")[: pack.body] > 0.5
    for name in ("left_eye", "right_eye"):
        points = average.base[pack.parts[name]][np.unique(pack.part_quads[name])]
        center, radius = (points.min(0) + points.max(0)) / 2, np.ptp(points[:, 1]) / 2
        offsets = average.base[: pack.body] - center
        inner |= (np.linalg.norm(offsets, axis=1) < 1.7 * radius) & (offsets[:, 2] < 0.5 * radius)
    return inner[pack.quads].all(1)


def fit_pose_bias(model: Morphable, people: int) -> Floats:
    """Return the coefficients (6, 2) of the fit's errors in azimuth and elevation, a quadratic in both angles.

    Every face is used with its mirror image, so that there is no bias to one side.
    """
    focal, angles, errors = focal_from_fov(FOV), [], []
    for seed in range(FIRST_VIEW, FIRST_VIEW + people):
        rng, head = np.random.default_rng(seed), prepare_scene(build(sample(seed, "human")), occlusion=False)
        for _ in range(4):
            camera = Camera(look_at(rng.uniform(-45, 45), rng.uniform(-22, 22), roll=rng.uniform(-12, 12)), focal)
            view = render(head, camera, 384)
            picture = composite_over(view.rgb, view.alpha, random_background(rng, 384)).astype(np.float32)
            faces = find_faces(picture)
            if not faces or (marks := find_landmarks(picture, faces[0])).presence < 0.5:
                continue
            fit = model.fit(marks.points[:, :2], focal).camera
            fitted = np.array([azimuth_between(0, fit.azimuth), fit.elevation])
            error = np.array([azimuth_between(fit.azimuth, camera.azimuth), camera.elevation - fit.elevation])
            for side in (1, -1):
                angles.append(fitted * [side, 1])
                errors.append(error * [side, 1])
    terms = pose_terms(*np.array(angles).T)
    return np.linalg.lstsq(terms, np.array(errors), rcond=None)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the linear face model for fitting photos.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=1200)
    parser.add_argument("--pictures", type=int, default=240)
    args = parser.parse_args()
    mean, shape = modes(shapes(args.people))
    landmarks, spread = measure_landmarks(args.pictures)
    rows, expression = on_body(landmarks), expressions()
    quads, hidden = load_pack().quads, hollow()
    uncorrected = Morphable(LinearPoints(mean, shape, expression), rows, spread, quads, hidden, np.zeros((6, 2)))
    np.savez_compressed(
        args.output,
        mean=mean.astype(np.float32),
        shape=shape.astype(np.float16),
        expression=expression.astype(np.float16),
        spread=spread.astype(np.float32),
        quads=quads.astype(np.int16),
        hollow=hidden,
        habit=fit_pose_bias(uncorrected, args.people // 8).astype(np.float32),
        row_data=rows.data.astype(np.float32),
        row_indices=rows.indices.astype(np.int16),
        row_offsets=rows.indptr.astype(np.int32),
    )
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
