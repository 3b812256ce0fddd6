"""The bare head: blended, stylised, posed, subdivided; with its eyes, landmarks and distance field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head import fantasy_shape, toon_shape
from portrait360.synth.head.average_head import load_average_head, to_head_heights
from portrait360.synth.head.distance_field import DistanceField, distance_field
from portrait360.synth.head.scan_shape import scan_offset, soften_macros
from portrait360.synth.head_pack import HeadPack, load_pack, macro_weights
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import HeadParameters, Pose
from portrait360.utils.array_types import F32, I32

PIVOT = np.array([0.0, -0.5, -0.1], np.float32)  # the point about which the head rotates on the neck, in head heights


@dataclass(frozen=True, eq=False)
class Eyeball:
    center: F32  # (3,)
    radii: F32  # (3,) not all equal for toons
    side: int  # 1 for the subject's left eye, -1 for the right


@dataclass(frozen=True, eq=False)
class Head:
    pack: HeadPack
    level: int
    base: F32  # (n, 3) every part of the pack, canonical
    body: F32  # (m, 3) the subdivided skin
    normals: F32  # (m, 3)
    rest: F32  # (m, 3) the same vertices on the average head, in head heights, for placing features
    triangles: I32
    eyes: tuple[Eyeball, Eyeball]  # left, right
    field: DistanceField  # distance to the skin, ears excluded
    landmarks: dict[str, F32]

    def mask(self, name: str) -> F32:
        return self.pack.mask(name, self.level)

    def part(self, name: str) -> tuple[F32, I32]:
        """Return the vertices and triangles of a part."""
        quads = self.pack.part_quads[name]
        return self.base[self.pack.parts[name]], np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def make_head(parameters: HeadParameters, level: int = 1) -> Head:
    """Make the head of these parameters at subdivision level 1 or 2."""
    pack, average = load_pack(), load_average_head()
    shape = soften_macros(parameters.shape)
    weights = macro_weights(shape.gender, shape.age, shape.muscle, shape.weight, shape.origin)
    for name, w in shape.morphs.items():
        weights[name] = weights.get(name, 0.0) + w
    neutral = pack.blend(weights)
    expression = {f"unit/{name}": w for name, w in shape.expression.items()}
    vertices = to_head_heights(pack, pack.blend(weights | expression), neutral)
    neutral = to_head_heights(pack, neutral, neutral)
    shapes = [vertices, neutral]
    if shape.scan:
        offset = scan_offset(shape.scan, neutral, shape.age)
        shapes = [v + offset for v in shapes]
    if parameters.toon is not None:
        shapes = [toon_shape.restyle(v, average.base, pack, parameters.toon) for v in shapes]
    elif parameters.fantasy is not None:
        shapes = [fantasy_shape.restyle(v, average.base, pack, parameters.fantasy) for v in shapes]
    elif parameters.animal is not None:
        shapes = [fantasy_shape.thicken_neck(v, average.base, 1.0) for v in shapes]
    vertices = to_head_heights(pack, shapes[0], shapes[1])
    return assemble_head(pack, HEAD_HEIGHT * turn_shoulders(vertices, average.base, parameters.pose), level)


def assemble_head(pack: HeadPack, posed_vertices: F32, level: int = 1) -> Head:
    """Make a head of the vertices (n, 3) of all parts of the pack, which are in the canonical frame and posed."""
    body = pack.subdivide(posed_vertices[: pack.body], level)
    triangles = pack.subdivision(level).triangles
    normals = vertex_normals(body, triangles)
    return Head(
        pack=pack,
        level=level,
        base=posed_vertices,
        body=body,
        normals=normals,
        rest=load_average_head().fine[level],
        triangles=triangles,
        eyes=(_eyeball(pack, posed_vertices, "left_eye", 1), _eyeball(pack, posed_vertices, "right_eye", -1)),
        field=_skin_field(pack, posed_vertices),
        landmarks={name: body[i] for name, i in pack.landmarks.items()},
    )


def head_share(rest: F32) -> F32:
    """Return 1 on the head, 0 on the shoulders, and a smooth ramp along the neck."""
    return smoothstep(-0.88, -0.46, rest[:, 1] + 0.5 * np.maximum(rest[:, 2], 0))


def turn_shoulders(vertices: F32, rest: F32, pose: Pose) -> F32:
    """Apply the pose by rotating the body under the head in the opposite direction; the face keeps its direction."""
    vector = -np.radians([pose.nod, pose.turn, pose.tilt]).astype(np.float32)
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return vertices
    axis = vector / angle
    theta = (angle * (1 - head_share(rest)))[:, None]
    arm = vertices - PIVOT
    rotated = (
        arm * np.cos(theta) + np.cross(axis, arm) * np.sin(theta) + axis * (arm @ axis)[:, None] * (1 - np.cos(theta))
    )
    return (PIVOT + rotated).astype(np.float32)


def _eyeball(pack: HeadPack, vertices: F32, name: str, side: int) -> Eyeball:
    points = vertices[pack.parts[name]]
    points = points[np.unique(pack.part_quads[name])]
    low, high = points.min(0), points.max(0)
    radii = (high - low) / 2
    radii[2] = radii[:2].mean()
    center = (low + high) / 2
    center[2] = high[2] - radii[2] * 1.06  # the cornea bulges out of the sphere
    return Eyeball(center.astype(np.float32), radii.astype(np.float32), side)


@lru_cache(maxsize=1)
def _outer_skin_rows() -> np.ndarray:
    """Return the vertices (level 1) of the outer skin, without ears, mouth and eye sockets."""
    pack, average = load_pack(), load_average_head()
    fine = average.fine[1]
    exclude = (pack.mask("ears") > 0.08) | (pack.mask("inside_mouth") > 0.25)
    x, y, z = fine.T
    exclude |= (np.abs(x) > 0.335) & (np.abs(y + 0.1) < 0.3) & (np.abs(z) < 0.25)  # skin moved by pointed ears
    for name in ("left_eye", "right_eye"):
        points = average.base[pack.parts[name]][np.unique(pack.part_quads[name])]
        center, radius = (points.min(0) + points.max(0)) / 2, np.ptp(points[:, 1]) / 2
        exclude |= (np.linalg.norm(fine - center, axis=1) < 1.7 * radius) & (fine[:, 2] < center[2] + 0.4 * radius)
    return np.where(~exclude)[0]


def _skin_field(pack: HeadPack, vertices: F32) -> DistanceField:
    body = pack.subdivide(vertices[: pack.body])
    normals = vertex_normals(body, pack.subdivision(1).triangles)
    rows = _outer_skin_rows()
    return distance_field(body[rows], normals[rows])
