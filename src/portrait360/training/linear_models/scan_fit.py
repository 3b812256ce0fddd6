"""Learn what a fit of scanned shapes needs besides them: where landmarks lie on them, and how expressions move them.

    python -m portrait360.training.linear_models.scan_fit DATA_DIR -o FILE [--people 128]

DATA_DIR holds ICT-FaceKit as for `scan_shapes`, with `expression` (57, n, 3) and `expression_names` besides. The
landmark network runs on rendered people of scanned shapes: on their noses, it puts points of the bridge lower than
on the flat noses of the face model. The units of the face model lift lips, but do not draw them back over the teeth
as those of the scans do; what is kept of them is the difference in depth.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.portrait.face_detection import find_landmarks
from portrait360.pipeline.portrait.morphable_model import Morphable, load_morphable
from portrait360.synth.build import build
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head.scan_shape import replace_morphs, sample_scan_shape
from portrait360.synth.head_pack import load_pack
from portrait360.synth.noise import smoothstep
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.morphs import expression_weights
from portrait360.synth.sampling.parameters import HeadParameters, Pose
from portrait360.synth.sampling.sampler import sample
from portrait360.training.linear_models.face_model import SKIN_POINTS, on_body, plain
from portrait360.training.linear_models.pose_samples import FOCAL, face_from_landmarks
from portrait360.training.linear_models.scan_registration import SKIN, Scans, bend, load_scans, register
from portrait360.utils.array_types import F64, Floats

FIRST, SIDE, FINE_SIDE = 700_000, 320, 768  # first seed; sides of the pictures, and in which places are looked up
YOUNGEST = 0.5  # on MakeHuman's age axis: the scans are of adults
TURN, TILT = 6.0, (2.0, 6.0)  # spread of the azimuth, mean and spread of the elevation, degrees
EXPRESSIONS = ("neutral", "smile", "grin")
SLIDING = 0.015  # head heights: landmarks that stray further keep their place, since they mark an outline
EDGES = 0.1  # share of lips or lids at a landmark from which it belongs to them
STIFFNESS = 0.05  # resistance of expressions to bending, against 1 a covered vertex
UNITS = (  # of those whose depth the face model lacks
    "mouthSmile", "mouthUpperUp", "mouthLowerDown", "mouthDimple", "mouthStretch", "mouthFrown", "cheekSquint",
)  # fmt: skip


def measure_places(people: int) -> tuple[Floats, Floats]:
    """Return each landmark's median place (468, 3) on the average head and its spread (468), in head heights."""
    places = np.array([found for seed in range(people) if (found := _locate_landmarks(seed)) is not None])
    points = load_morphable().landmarks.mean
    twin = KDTree(points).query(points * [-1, 1, 1])[1]
    both = np.concatenate([places, places[:, twin] * [-1, 1, 1]])
    median = np.nanmedian(both, 0)
    median = (median + median[twin] * [-1, 1, 1]) / 2
    return median, np.nanmedian(np.linalg.norm(both - median, axis=-1), 0)


def _locate_landmarks(seed: int) -> Floats | None:
    """Detect the landmarks of a rendered person of a scanned shape and locate them on the average head."""
    rng = np.random.default_rng([seed, 77])
    person = sample_scanned_person(seed, rng)
    scene = build(person)
    camera = Camera(look_at(rng.normal(0, TURN), rng.normal(*TILT)), FOCAL)
    view = render(prepare_scene(scene, occlusion=False), camera, SIDE)
    picture = composite_over(view.rgb, view.alpha, random_background(rng, SIDE)).astype(np.float32)
    marks = find_landmarks(picture, face_from_landmarks(scene, camera), passes=2)
    if marks.presence < 0.5:
        return None
    return look_up_places(make_head(person).body, camera, marks.points[:SKIN_POINTS, :2] / SIDE)


def sample_scanned_person(seed: int, rng: np.random.Generator) -> HeadParameters:
    """Sample an adult with a scanned shape, short hair, and one of a few expressions."""
    person = plain(sample(FIRST + seed, "human"))
    scan = sample_scan_shape(rng)
    name = EXPRESSIONS[seed % len(EXPRESSIONS)]
    expression = expression_weights(name, float(rng.uniform(0.5, 1)), load_pack().units)
    shape = replace(replace_morphs(person.shape, scan), expression=expression, age=max(person.shape.age, YOUNGEST))
    return replace(person, shape=shape, pose=Pose(gaze=person.pose.gaze))


def look_up_places(body: Floats, camera: Camera, points: Floats) -> Floats:
    """Return where picture points (n, 2) of a body lie on the average head (n, 3), in head heights; NaN off it."""
    triangles, rest = load_pack().subdivision(1).triangles, load_average_head().fine[1]
    buffers = rasterizer.rasterise(body, triangles, camera, FINE_SIDE)
    places = rasterizer.interpolate(buffers, triangles, rest)
    places[buffers.ids < 0] = np.nan
    x, y = np.clip(np.floor(points * FINE_SIDE).astype(int), 0, FINE_SIDE - 1).T
    return places[y, x]


def choose_places(model: Morphable, places: Floats, spread: Floats) -> tuple[sp.csr_matrix, Floats]:
    """Return the matrix (468, n) to the landmarks and their spread.

    Those that slide keep the place that the face model gives them, and those on lips and lids, whose edges meet.
    """
    pack = load_pack()
    edges = np.maximum(pack.mask("lips"), pack.mask("eyelids"))[: pack.body]
    keep = (spread > SLIDING) | (model.rows @ edges > EDGES)
    old, new = (sp.diags(share.astype(float)) for share in (keep, ~keep))
    return sp.csr_matrix(old @ model.rows + new @ on_body(places)), np.where(keep, model.spread, spread)


def measure_depths(data: Path) -> F64:
    """Return how far each unit moves skin (52, n) forward on scans, beyond what the face model's does; canonical."""
    with np.load(data / "ict_face_kit.npz") as file:
        names, offsets = [str(name) for name in file["expression_names"]], file["expression"][:, :SKIN].astype(float)
    scans = load_scans(data)
    found = register(Scans(scans.neutral, offsets, scans.triangles, scans.landmarks))
    model, units = load_morphable().skin.expression, load_pack().units
    x, y, z = load_average_head().base[: load_pack().body].T
    near = smoothstep(-0.10, -0.20, y) * smoothstep(0.12, 0.25, z) * smoothstep(-0.62, -0.50, y)
    depths = np.zeros((len(units), len(x)))
    for i, unit in enumerate(units):
        if unit.startswith(UNITS):
            moves = found.identity[names.index(unit.replace("Left", "_L").replace("Right", "_R"))]
            depths[i] = near * (HEAD_HEIGHT * bend(moves, found.cover, STIFFNESS) - model[i])[:, 2]
    return depths


def save(rows: sp.csr_matrix, spread: Floats, depths: F64, file: Path) -> None:
    """Write what was learnt; one byte a number is enough for depths."""
    moving = np.flatnonzero(np.abs(depths).max(0) > 1e-5)
    step = np.abs(depths).max() / 127
    np.savez_compressed(
        file,
        row_data=rows.data.astype(np.float32),
        row_indices=rows.indices.astype(np.int16),
        row_offsets=rows.indptr.astype(np.int32),
        spread=spread.astype(np.float32),
        depth_rows=moving.astype(np.int16),
        depth=np.round(depths[:, moving] / step).astype(np.int8),
        depth_step=np.float32(step),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn landmarks and expressions on scanned heads.")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=128)
    args = parser.parse_args()
    rows, spread = choose_places(load_morphable(), *measure_places(args.people))
    save(rows, spread, measure_depths(args.data), args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
