"""A hat as a shell that sits on this head: where it lies, and the hair it keeps inside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, maximum_filter1d, median_filter

from portrait360.synth.hats import HATS, HIDES_ALL_HAIR, HOOPS, Hat
from portrait360.synth.head import HEIGHT, Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.scene import F32, Mesh, Strands

RINGS, SPOKES = 26, 72
STEEPEST = -0.85  # height of a unit vector: further down an opened cover would run out along the shoulders


@dataclass(frozen=True, eq=False)
class Shell:
    """A star-shaped cover about a centre: radius over (angle from the pole, turn about it)."""

    hat: Hat
    center: F32
    axes: F32  # (3, 3) rows: across, pole, forward
    rim: F32  # (SPOKES,) angle from the pole at which it ends
    head: F32  # (RINGS, SPOKES) radius of the head
    outer: F32  # (RINGS, SPOKES) radius of the cover

    def directions(self, share: np.ndarray, turn: np.ndarray) -> F32:
        """Unit vectors at a share 0..1 of the way from the pole to the rim."""
        angle = share * np.interp(turn, *_around(self.rim))
        local = np.stack([np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn, np.sin(angle) * np.cos(turn)], -1)
        return (local @ self.axes).astype(np.float32)

    def polar(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distance, share of the way to the rim (above 1: not covered), turn."""
        local = (points - self.center) @ self.axes.T
        far = np.linalg.norm(local, axis=-1)
        turn = np.arctan2(local[..., 0], local[..., 2]) % (2 * np.pi)
        angle = np.arccos(np.clip(local[..., 1] / np.maximum(far, 1e-6), -1, 1))
        return far, angle / np.interp(turn, *_around(self.rim)), turn

    def radius(self, table: F32, share: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """A table read between its nodes."""
        u = np.clip(share, 0, 1) * (RINGS - 1)
        i = np.minimum(u.astype(int), RINGS - 2)
        v = turn / (2 * np.pi) * SPOKES
        j = v.astype(int) % SPOKES
        k = (j + 1) % SPOKES
        u, v = u - i, v - np.floor(v)
        near = table[i, j] * (1 - v) + table[i, k] * v
        return near * (1 - u) + (table[i + 1, j] * (1 - v) + table[i + 1, k] * v) * u


def _around(values: F32) -> tuple[np.ndarray, np.ndarray]:
    turn = np.arange(SPOKES + 1) / SPOKES * 2 * np.pi
    return turn, np.append(values, values[0])


def shell(head: Head, name: str) -> Shell:
    hat = HATS[name]
    front, back = hat.front * HEIGHT, hat.back * HEIGHT
    if hat.opening is None:
        pole = unit(np.array([0.0, 0.40 * HEIGHT * 2, -(front - back) * 0.75]))
        center = np.array([0, (front + back) / 2 + 0.004, -0.02])
    else:
        pole, center = unit(np.array([0, 0.35, -1.0])), np.array([0, -0.01, -0.02])
    across = np.array([1.0, 0, 0])
    axes = np.stack([across, pole, np.cross(across, pole)]).astype(np.float32)
    turn = np.arange(SPOKES) / SPOKES * 2 * np.pi
    rim = np.full(SPOKES, np.pi / 2) if hat.opening is None else _opening(hat, axes, turn)
    empty = np.zeros((RINGS, SPOKES), np.float32)
    bare = Shell(hat, center.astype(np.float32), axes, rim.astype(np.float32), empty, empty)
    share, around = np.meshgrid(np.linspace(0, 1, RINGS), turn, indexing="ij")
    far = 0.42 if hat.opening is None else 0.29  # a cover that goes below the chin shall not find the shoulders
    reach = head.field.radius(bare.center, bare.directions(share, around), reach=far)
    around_it = median_filter(reach, (1, 5), mode="wrap")
    reach = np.minimum(reach, 1.12 * around_it)  # no spike where the field has a hole, behind a large ear
    reach = np.maximum(reach, blur(reach, 1.2, 2.5))
    if _over_ears(bare):
        reach = np.maximum(reach, np.minimum(_ears(bare, head), 1.22 * reach))
    bare = replace(bare, head=reach.astype(np.float32))
    return replace(bare, outer=_profile(bare, share, around).astype(np.float32))


def _ears(bare: Shell, head: Head) -> np.ndarray:
    """How far out the ears reach (RINGS, SPOKES); the field of the head is without them."""
    points = head.body[head.mask("ears") > 0.4]
    far, share, turn = bare.polar(points)
    out = np.zeros((RINGS, SPOKES))
    inside = share < 0.93
    i = np.clip(np.round(share[inside] * (RINGS - 1)).astype(int), 0, RINGS - 1)
    j = np.round(turn[inside] / (2 * np.pi) * SPOKES).astype(int) % SPOKES
    np.maximum.at(out, (i, j), far[inside])
    wide = maximum_filter1d(maximum_filter1d(out, 9, axis=0), 9, axis=1, mode="wrap")
    return blur(wide, 3.0, 3.0)  # cloth spans the hollows about an ear


def blur(table: np.ndarray, down: float, round_: float) -> np.ndarray:
    """Smoothed along the rows of a table about a pole, and round and round along its columns."""
    table = gaussian_filter1d(table, down, axis=0, mode="nearest")
    return gaussian_filter1d(table, round_, axis=1, mode="wrap")


def _over_ears(bare: Shell) -> bool:
    """Covers that may come down over the ears."""
    return bare.hat.opening is not None or bare.hat.cuff > 0


def _opening(hat: Hat, axes: F32, turn: np.ndarray) -> np.ndarray:
    """The pole is behind: the cover reaches forward to an oval about the face and down to the chest."""
    wide, high = np.radians(hat.opening or (0, 0))
    face = np.array([0, -0.06, 1.0])
    angle = np.linspace(0.3, np.pi, 240)[:, None]
    local = np.stack([np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn, np.sin(angle) * np.cos(turn)], -1)
    world = local @ axes
    away = unit(face)
    x = np.arctan2(world[..., 0], world @ away)
    y = np.arctan2(world[..., 1] - away[1] * (world @ away), world @ away)
    open_ = (x / wide) ** 2 + (y / high) ** 2 < 1
    open_ |= world[..., 1] < STEEPEST
    limit = np.radians(hat.lowest)
    first = np.where(open_.any(0), angle[open_.argmax(0), 0], limit)
    return gaussian_filter(np.minimum(first, limit), 1.5, mode="wrap")


def _profile(shell: Shell, share: np.ndarray, turn: np.ndarray) -> np.ndarray:
    hat = shell.hat
    least = shell.head + hat.thick * HEIGHT
    if hat.opening is not None:
        ridge = 0.6 + 0.4 * smoothstep(1.0, 0.6, share)
        fold = noise(shell.directions(share, turn).reshape(-1, 3), 5.0, 3, 2).reshape(share.shape) - 0.5
        return shell.head + HEIGHT * (hat.thick * ridge + hat.folds * fold)
    angle = share * shell.rim
    wide = gaussian_filter(shell.head[-1] + hat.thick * HEIGHT, 2, mode="wrap")
    high = shell.head[0].max() + (hat.rise + hat.thick) * HEIGHT
    s, c = np.sin(angle), np.maximum(np.cos(angle), 1e-6)
    spread = wide * (1 + hat.flare * smoothstep(0.0, 0.7, c))
    crown = ((s / spread) ** hat.power + (c / high) ** hat.power) ** (-1 / hat.power)
    across, along = np.sin(turn) * s, np.cos(turn) * s
    crown -= hat.pinch * HEIGHT * np.exp(-((across / 0.22) ** 2)) * smoothstep(0.5, 0.95, c)
    if hat.pinch > 0:  # the dents of a fedora's front
        crown -= (
            0.6 * hat.pinch * HEIGHT * np.exp(-(((np.abs(across) - 0.3) / 0.16) ** 2) - ((along - 0.45) / 0.2) ** 2)
        )
    out = np.maximum(crown, least) if hat.power < 20 else crown
    if hat.folds:
        wave = np.abs(np.sin(9 * angle + 1.2 * np.sin(turn) + 0.8 * np.sin(2 * turn))) ** 0.7
        out = out + hat.folds * HEIGHT * (wave - 0.5) * smoothstep(0.0, 0.25, share)
    return out


def cover_hair(shell: Shell, strands: list[Strands], name: str) -> list[Strands]:
    """Hair under a hat: drawn in below the cover, dropped where nothing of it shows."""
    if name in HIDES_ALL_HAIR:
        return []
    out = []
    for some in strands:
        far, share, turn = shell.polar(some.points)
        under = share < 1.0
        inner = shell.radius(shell.head, share, turn)
        room = inner + (0.35 * shell.hat.thick + 0.05 * np.maximum(share - 1, 0) * 6) * HEIGHT
        if name in HOOPS:
            under = np.zeros_like(under)
            room = room + 0.5 * np.abs(share - 0.92) * HEIGHT
        squeeze = np.where(share < 1.35, np.minimum(1.0, room / np.maximum(far, 1e-6)), 1.0)
        points = shell.center + (some.points - shell.center) * squeeze[..., None]
        shown = ~under.all(1)
        if shown.any():
            normals = None if some.normals is None else some.normals[shown]
            out.append(
                Strands(
                    points[shown].astype(np.float32),
                    some.widths[shown],
                    some.albedo[shown],
                    some.part[shown],
                    some.material[shown],
                    normals,
                )
            )
    return out


def cover_meshes(shell: Shell, meshes: list[Mesh], name: str) -> list[Mesh]:
    """Buns and bands that would stand out of the hat are left away."""
    if name in HOOPS:
        return meshes
    return [mesh for mesh in meshes if (shell.polar(mesh.vertices)[1] > 1.05).all()]
