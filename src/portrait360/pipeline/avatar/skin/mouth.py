"""Teeth of an avatar: two rows close behind the lips, as far as their corners, tooth by tooth.

Those of the generator are one smooth band each, at a fixed place in the skull. From the side one sees past them into
a mouth whose lips a photo has moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from portrait360.synth.meshes import grid, make_mesh, with_label
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

MILLIMETRE = 0.54 / 230  # canonical
BEHIND = 1.0 * MILLIMETRE  # gap between the lips' inner edge and the teeth
MOVE = (-0.010, 0.030)  # by which teeth may come forward
SHOWN = 2.5 * MILLIMETRE  # of the lower teeth above the lower lip, at most
FLATTEST = 0.3  # height of teeth that have been moved into the jaw, of their own
OVERBITE = 1.5 * MILLIMETRE  # of the upper teeth over the lower ones
ROOM = 1.12  # half-width of the arch per half-width of the mouth
FRONT = 0.65  # share of the mouth's width over which its lips tell where the teeth are
NEAREST = 0.1  # quantile of the places that the lips leave to the arch
FEWEST = 12  # vertices of the lips' inner edge
UPPER = (8.6, 6.7, 7.6, 7.0, 6.8, 10.0), (10.0, 9.0, 9.8, 8.4, 7.8, 7.2)  # widths and heights from the middle, mm
LOWER = (5.4, 6.0, 6.9, 7.0, 7.1, 10.5), (8.8, 9.0, 9.8, 8.6, 8.0, 7.2)
ACROSS = np.array([-1, -0.94, -0.85, -0.6, -0.3, 0, 0.3, 0.6, 0.85, 0.94])  # columns of a tooth
UP = np.array([0.5, 0.0, 0.05, 0.2, 0.45, 0.7, 0.92, 1.0, 1.06, 1.3, 1.8])  # its rows: back, edge, front, gum
BACK = np.array([4.5, 1.2, *np.zeros(9)])  # mm behind the front
CHEEK, DEEP = (
    (0.45, 0.85),
    np.array([0.30, 0.22, 0.20]),
)  # half-widths of the arch; light that cheeks leave there
ENAMEL, GUM = np.array([0.74, 0.68, 0.58]), np.array([0.40, 0.145, 0.14])
DIMMEST = 0.6  # of that, of teeth in an open mouth


@dataclass(frozen=True)
class Arch:
    """The curve on which teeth stand: x = x0 + width sin a, z = front - depth (1 - cos a)."""

    middle: float
    front: float
    width: float
    depth: float

    def place(self, angle: Floats) -> tuple[F64, F64, F64, F64]:
        """Return x and z at these angles, and the x and z of the direction outward."""
        x, z = self.middle + self.width * np.sin(angle), self.front - self.depth * (1 - np.cos(angle))
        outward = np.stack([self.depth * np.sin(angle), self.width * np.cos(angle)])
        outward = outward / np.linalg.norm(outward, axis=0)
        return x, z, outward[0], outward[1]


def seat_teeth(meshes: Iterable[Mesh]) -> list[Mesh]:
    """Return the meshes with the two rows of teeth rebuilt behind the lips; as they are where there are none."""
    meshes = list(meshes)
    rows = [i for i, mesh in enumerate(meshes) if is_teeth(mesh)]
    rim = next((find_rim(mesh) for mesh in meshes if mesh.part[0] == Part.SKIN and not is_teeth(mesh)), None)
    if len(rows) != 2 or rim is None or len(rim) < FEWEST:
        return meshes
    upper, lower = sorted(rows, key=lambda i: -float(meshes[i].vertices[:, 1].mean()))
    above = lies_above(rim)
    arch = fit_arch(rim[above], meshes[upper].vertices)
    below = fit_arch(rim[~above], meshes[lower].vertices)
    below = replace(below, front=min(below.front, arch.front - OVERBITE))
    middle = np.abs(rim[:, 0] - below.middle) < FRONT * np.ptp(rim[:, 0]) / 2
    # lower teeth go with the jaw, as their lip does
    shown = float(rim[~above & middle, 1].min(initial=np.inf)) + SHOWN
    top, edge = float(meshes[upper].vertices[:, 1].min()), float(meshes[lower].vertices[:, 1].max())
    meshes[upper] = make_row(arch, UPPER, top, 1.0)
    meshes[lower] = make_row(below, LOWER, min(edge, shown), -1.0, moved=max(edge - shown, 0))
    return meshes


def lies_above(rim: Floats) -> Bools:
    """Return which vertices of the rim are the upper lip's."""
    across = (rim[:, 0] - rim[:, 0].mean()) / np.ptp(rim[:, 0])
    rows = np.stack([np.ones_like(across), across, across**2], 1)
    return np.asarray(rim[:, 1] > rows @ np.linalg.lstsq(rows, rim[:, 1], rcond=None)[0])


def is_teeth(mesh: Mesh) -> bool:
    """Return whether a mesh is a row of teeth: of the generator, whose material is that of eyes, or of an avatar."""
    is_mouth = mesh.labels is not None and len(mesh.labels) > 0 and bool((mesh.labels == Label.MOUTH).all())
    return is_mouth and mesh.material[0] in (Material.ENAMEL, Material.EYE)


def find_rim(skin: Mesh) -> Floats:
    """Return the vertices (k, 3) between the lips and the lining of the mouth."""
    return skin.vertices[find_rim_rows(skin)]


def find_rim_rows(skin: Mesh) -> NDArray[np.integer]:
    """Return the indices (k,) of the vertices between the lips and the lining of the mouth."""
    if skin.labels is None:
        return np.zeros(0, np.int64)
    lips, lining = (np.unique(skin.triangles[skin.labels == label]) for label in (Label.LIPS, Label.MOUTH))
    return np.intersect1d(lips, lining)


def fit_arch(rim: Floats, teeth: Floats) -> Arch:
    """Return the arch of the generator's `teeth`, brought as close behind the `rim` of the lips as it fits."""
    low, high = np.quantile(rim[:, 0], (0.01, 0.99))
    middle, half = (low + high) / 2, (high - low) / 2
    width = max(float(np.ptp(teeth[:, 0])) / 2, ROOM * half)
    depth, front = float(np.ptp(teeth[:, 2])), float(teeth[:, 2].max())
    before = rim[np.abs(rim[:, 0] - middle) < FRONT * half]
    recess = depth * (1 - np.sqrt(1 - ((before[:, 0] - middle) / width) ** 2))
    place = float(np.quantile(before[:, 2] + recess, NEAREST)) - BEHIND
    return Arch(float(middle), front + float(np.clip(place - front, *MOVE)), width, depth)


def make_row(
    arch: Arch, teeth: tuple[tuple[float, ...], tuple[float, ...]], edge: float, side: float, moved: float = 0.0
) -> Mesh:
    """Make a row of teeth with gums; `edge` is the height of its biting edge, `side` 1 for the upper jaw, else -1.

    Where it was `moved` into the jaw it is flatter, so that its gums end where they did.
    """
    widths, heights = (np.array([*values[::-1], *values]) * MILLIMETRE for values in teeth)
    start = np.cumsum([0, *widths[:-1]]) - widths.sum() / 2
    within = np.append(np.tile(ACROSS, len(widths)), 1.0)  # -1 to 1 over each tooth
    index = np.append(np.repeat(np.arange(len(widths)), len(ACROSS)), len(widths) - 1)
    along = start[index] + (within + 1) / 2 * widths[index]
    x, z, outward_x, outward_z = arch.place(_angles(arch, along))
    gap = np.abs(within) ** 6  # 1 between two teeth
    height = heights[index] * (1 - 0.16 * within**2)
    height = height * max(1 - moved / (UP[-1] * float(heights.max())), FLATTEST)
    up = UP[:, None] * height + 0.9 * MILLIMETRE * gap * smoothstep(0.3, 0.0, UP)[:, None]
    bulge = MILLIMETRE * (1.1 * np.sqrt(1 - 0.9 * within**2) - 0.5 - 0.5 * gap)
    is_tooth = smoothstep(1.04, 0.96, UP)[:, None]
    out = is_tooth * bulge - MILLIMETRE * (BACK[:, None] + 0.9 * (1 - np.minimum(UP, 1))[:, None] ** 2)
    points = np.stack([x + out * outward_x, edge + side * up, z + out * outward_z], -1)
    shade = (1 - 0.35 * np.exp(-(((1 - np.abs(within)) / 0.10) ** 2))) * (1 - 0.14 * np.minimum(UP, 1))[:, None]
    back = smoothstep(*CHEEK, np.abs(x - arch.middle) / arch.width)[..., None]
    colour = (GUM + is_tooth[..., None] * (ENAMEL * shade[..., None] - GUM)) * (1 - back * (1 - DEEP))
    triangles = grid(len(UP), len(within))
    triangles = triangles if side > 0 else triangles[:, ::-1]
    mesh = make_mesh(points.reshape(-1, 3), triangles, colour.reshape(-1, 3), Material.ENAMEL, Part.SKIN)
    return with_label([mesh], Label.MOUTH)[0]


def light_teeth(albedo: F32) -> F32:
    """Return the albedo of teeth (n, 3) in an open mouth; lips that are barely parted may leave them dark."""
    if len(albedo) == 0:
        return albedo
    brightest, least = np.quantile(albedo, 0.99, axis=0), DIMMEST * ENAMEL
    if brightest @ LUMINANCE >= least @ LUMINANCE:
        return albedo
    return np.asarray(albedo * (least / np.maximum(brightest, 1e-4)), np.float32)


def _angles(arch: Arch, along: Floats) -> F64:
    """Return the angles of the arch at these distances along it from its middle; teeth beyond its end close up."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 721)
    x, z, _, _ = arch.place(angle)
    length = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(z))))
    length = length - length[len(length) // 2]
    scale = min(1.0, 0.98 * length[-1] / float(np.abs(along).max()))
    return np.asarray(np.interp(along * scale, length, angle), np.float64)
