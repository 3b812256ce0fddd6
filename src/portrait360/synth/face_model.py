"""A linear face for fitting: shape modes of the sampler's people, expression units, and where 478 landmarks lie.

    python -m portrait360.synth.face_model -o FILE [--people 1200] [--pictures 240]

The landmark network is asked where its points are on rendered heads whose surface is known; the median over many
heads, on the average head, is where each point belongs. So the fit meets the network's own habits, not a diagram's.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.faces import find_faces, find_landmarks
from portrait360.geometry import raster
from portrait360.geometry.face_fit import LinearPoints
from portrait360.geometry.morphable import Morphable, pose_terms
from portrait360.synth.backgrounds import background
from portrait360.synth.build import build
from portrait360.synth.framing import FOV
from portrait360.synth.head import HEIGHT, make_head
from portrait360.synth.pack import load_pack, macro_weights
from portrait360.synth.parameters import HeadParameters, Wear
from portrait360.synth.prepare import prepare
from portrait360.synth.reference import frame, reference
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from portrait360.synth.tone import over

Floats = NDArray[np.floating]

MODES = 60
FIRST_PERSON, FIRST_SEEN = 100_000, 150_000  # seeds far from those that anything else uses
SKIN_POINTS = 468  # the ten points after them lie on the irises
NECK = -0.75  # head heights: what lies below counts little
SIDE = 512  # of the pictures on which landmarks are found


def shapes(people: int) -> Floats:
    """Neutral bodies (people, n, 3) of sampled humans, in the canonical frame."""
    pack, out = load_pack(), []
    for seed in range(FIRST_PERSON, FIRST_PERSON + people):
        shape = sample(seed, "human").shape
        weights = macro_weights(shape.gender, shape.age, shape.muscle, shape.weight, shape.origin)
        for name, weight in shape.morphs.items():
            weights[name] = weights.get(name, 0.0) + weight
        vertices = pack.blend(weights)
        out.append(HEIGHT * frame(pack, vertices, vertices)[: pack.body])
    return np.array(out, np.float64)


def modes(bodies: Floats, count: int = MODES) -> tuple[Floats, Floats]:
    """Mean (n, 3) and modes (count, n, 3), each scaled so that its weight has unit variance among the bodies."""
    mean = bodies.mean(0)
    offsets = bodies - mean
    weight = np.where(reference().base[: bodies.shape[1], 1] > NECK, 1.0, 0.2)[:, None]
    u, _, _ = np.linalg.svd((offsets * weight).reshape(len(bodies), -1), full_matrices=False)
    scores = u[:, :count] * np.sqrt(len(bodies))
    return mean, np.tensordot(scores.T, offsets, 1) / len(bodies)


def expressions() -> Floats:
    """Offsets (52, n, 3) of each expression unit at full weight, on the average head."""
    pack, average = load_pack(), macro_weights(0.5, 0.5, 0.5, 0.5, (1, 1, 1))
    neutral = pack.blend(average)
    moved = [pack.blend({**average, f"unit/{unit}": 1.0}) for unit in pack.units]
    still = frame(pack, neutral, neutral)
    return HEIGHT * np.array([(frame(pack, v, neutral) - still)[: pack.body] for v in moved])


def landmark_places(pictures: int) -> tuple[Floats, Floats]:
    """Median place (468, 3) of each landmark on the average head, and its spread (468), in head heights."""
    found = [seen for seed in range(pictures) if (seen := _places_on(seed)) is not None]
    places = np.array(found)
    median = np.nanmedian(places, 0)
    return median, np.nanmedian(np.linalg.norm(places - median, axis=-1), 0)


def _places_on(seed: int) -> Floats | None:
    """Where the landmarks of one plain face, seen from the front, lie on the average head; NaN beside the skin."""
    person = plain(sample(seed, "human"))
    camera = Camera(look_at(0), focal_from_fov(FOV))
    view = render(prepare(build(person)), camera, SIDE)
    picture = over(view.rgb, view.alpha, np.full_like(view.rgb, 0.6)).astype(np.float32)
    faces = find_faces(picture)
    if not faces:
        return None
    head = make_head(person)
    buffers = raster.rasterise(head.body, head.triangles, camera, SIDE)
    rest = raster.interpolate(buffers, head.triangles, head.rest)
    rest[buffers.ids < 0] = np.nan
    points = find_landmarks(picture, faces[0]).points[:SKIN_POINTS, :2]
    x, y = np.clip(np.floor(points).astype(int), 0, SIDE - 1).T
    return rest[y, x]


def plain(person: HeadParameters) -> HeadParameters:
    """The same person with a neutral face, short hair, no beard and nothing worn."""
    return replace(
        person,
        wear=Wear(),
        hair=replace(person.hair, style="crew"),
        shape=replace(person.shape, expression={}),
        facial=replace(person.facial, beard="none"),
    )


def on_body(places: Floats, tries: int = 24) -> sp.csr_matrix:
    """Rows (m, n) that take the body's vertices to the nearest points of the subdivided skin."""
    pack = load_pack()
    step, skin = pack.subdivision(1), reference().fine[1]
    corners = skin[step.triangles]
    near = np.atleast_2d(KDTree(corners.mean(1)).query(places, k=tries)[1])
    a = corners[near, 0]
    edges = np.stack([corners[near, 1] - a, corners[near, 2] - a], -1)  # (m, tries, 3, 2)
    uv = (np.linalg.pinv(edges) @ (places[:, None] - a)[..., None])[..., 0].clip(0, 1)
    uv = uv / np.maximum(uv.sum(-1, keepdims=True), 1)
    hit = a + (edges @ uv[..., None])[..., 0]
    row = np.arange(len(places))
    best = np.argmin(np.linalg.norm(hit - places[:, None], axis=-1), 1)
    u, v = uv[row, best].T
    weights = np.stack([1 - u - v, u, v], 1)
    columns = step.triangles[near[row, best]]
    fine = sp.csr_matrix((weights.ravel(), (np.repeat(row, 3), columns.ravel())), (len(row), len(skin)))
    return sp.csr_matrix(fine @ step.matrix)


def hollow() -> NDArray[np.bool_]:
    """Which of the body's quads (q,) line the mouth and the eye sockets: nobody sees them from outside."""
    pack, rest = load_pack(), reference()
    inner = pack.mask("inside_mouth")[: pack.body] > 0.5
    for name in ("left_eye", "right_eye"):
        points = rest.base[pack.parts[name]][np.unique(pack.part_quads[name])]
        center, radius = (points.min(0) + points.max(0)) / 2, np.ptp(points[:, 1]) / 2
        away = rest.base[: pack.body] - center
        inner |= (np.linalg.norm(away, axis=1) < 1.7 * radius) & (away[:, 2] < 0.5 * radius)
    return inner[pack.quads].all(1)


def habit(model: Morphable, people: int) -> Floats:
    """By what azimuth and elevation of fitted people are off (6, 2): a quadratic in both.

    Faces are mirrored too, so that left and right are treated alike and nothing is off to one side.
    """
    focal, angles, off = focal_from_fov(FOV), [], []
    for seed in range(FIRST_SEEN, FIRST_SEEN + people):
        rng, head = np.random.default_rng(seed), prepare(build(sample(seed, "human")), occlusion=False)
        for _ in range(4):
            camera = Camera(look_at(rng.uniform(-45, 45), rng.uniform(-22, 22), roll=rng.uniform(-12, 12)), focal)
            view = render(head, camera, 384)
            picture = over(view.rgb, view.alpha, background(rng, 384)).astype(np.float32)
            faces = find_faces(picture)
            if not faces or (marks := find_landmarks(picture, faces[0])).presence < 0.5:
                continue
            fit = model.fit(marks.points[:, :2], focal).camera
            at = np.array([azimuth_between(0, fit.azimuth), fit.elevation])
            error = np.array([azimuth_between(fit.azimuth, camera.azimuth), camera.elevation - fit.elevation])
            for side in (1, -1):
                angles.append(at * [side, 1])
                off.append(error * [side, 1])
    terms = pose_terms(*np.array(angles).T)
    return np.linalg.lstsq(terms, np.array(off), rcond=None)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the linear face that photos are fitted with.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=1200)
    parser.add_argument("--pictures", type=int, default=240)
    arguments = parser.parse_args()
    mean, shape = modes(shapes(arguments.people))
    places, spread = landmark_places(arguments.pictures)
    rows, smile = on_body(places), expressions()
    quads, hidden = load_pack().quads, hollow()
    raw = Morphable(LinearPoints(mean, shape, smile), rows, spread, quads, hidden, np.zeros((6, 2)))
    np.savez_compressed(
        arguments.output,
        mean=mean.astype(np.float32),
        shape=shape.astype(np.float16),
        expression=smile.astype(np.float16),
        spread=spread.astype(np.float32),
        quads=quads.astype(np.int16),
        hollow=hidden,
        habit=habit(raw, arguments.people // 8).astype(np.float32),
        row_data=rows.data.astype(np.float32),
        row_indices=rows.indices.astype(np.int16),
        row_offsets=rows.indptr.astype(np.int32),
    )
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
