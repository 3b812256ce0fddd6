"""Hats, hoods and scarves over the head: shells that sit on it, and that keep the hair inside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from portrait360.synth.glasses import headphones
from portrait360.synth.head import HEIGHT, Head
from portrait360.synth.meshes import ellipsoid, grid, make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.parameters import Colour, HeadParameters
from portrait360.synth.scene import F32, Material, Mesh, Part, Strands

RINGS, SPOKES = 26, 72


@dataclass(frozen=True)
class Hat:
    """Heights and lengths in head heights."""

    front: float = 0.23  # the rim at the forehead
    back: float = -0.02  # and behind
    thick: float = 0.030
    rise: float = 0.04  # of the top over the crown of the head
    power: float = 2.3  # of the crown's profile: 2 a dome .. 10 a cylinder
    flare: float = 0.0  # the crown widens (+) or narrows (-) upwards
    brim: float = 0.0
    curl: float = 0.0  # of the brim at the sides
    bill: float = 0.0
    cuff: float = 0.0  # turned-up height
    band: float = 0.0  # height of a ribbon
    ribs: int = 0
    pinch: float = 0.0
    opening: tuple[float, float] | None = None  # half width and height of a face opening, in degrees
    lowest: float = 180.0  # degrees from the pole at which an opened cover ends
    material: Material = Material.CLOTH
    folds: float = 0.0
    spikes: int = 0
    pompon: float = 0.0


HATS: dict[str, Hat] = {
    "beanie": Hat(front=0.20, back=-0.12, thick=0.035, rise=0.06, cuff=0.12, ribs=44),
    "slouch": Hat(front=0.22, back=-0.10, thick=0.032, rise=0.14, power=2.0, ribs=36, folds=0.02),
    "bobble": Hat(front=0.20, back=-0.12, thick=0.036, rise=0.06, cuff=0.13, ribs=40, pompon=0.085),
    "cap": Hat(front=0.235, back=-0.02, thick=0.026, rise=0.05, power=2.5, bill=0.30),
    "visor_back": Hat(front=0.215, back=0.0, thick=0.026, rise=0.045, power=2.5, bill=-0.28),
    "fedora": Hat(front=0.235, back=0.03, thick=0.028, rise=0.14, power=4.5, flare=-0.06, brim=0.21, curl=0.05, band=0.09, pinch=0.06),
    "sun_hat": Hat(front=0.235, back=0.02, thick=0.030, rise=0.08, power=2.8, brim=0.34, curl=-0.08, band=0.07),
    "bowler": Hat(front=0.235, back=0.03, thick=0.028, rise=0.11, power=2.6, brim=0.13, curl=0.07, band=0.06),
    "top_hat": Hat(front=0.245, back=0.04, thick=0.028, rise=0.32, power=14, flare=0.04, brim=0.16, curl=0.06, band=0.10),
    "beret": Hat(front=0.25, back=0.02, thick=0.050, rise=0.05, power=2.6, flare=0.30),
    "helmet": Hat(front=0.22, back=-0.14, thick=0.075, rise=0.09, power=2.2, material=Material.PLASTIC, band=0.05),
    "knight": Hat(front=0.20, back=-0.22, thick=0.055, rise=0.08, power=2.0, material=Material.METAL, band=0.06, pinch=-0.03),
    "turban": Hat(front=0.24, back=-0.06, thick=0.095, rise=0.10, power=2.4, folds=0.05),
    "headband": Hat(front=0.25, back=0.02, thick=0.030, band=0.09),
    "crown": Hat(front=0.33, back=0.14, thick=0.040, band=0.09, spikes=8, material=Material.METAL),
    "hood": Hat(opening=(50, 66), thick=0.10, lowest=152, folds=0.03),
    "hijab": Hat(opening=(40, 54), thick=0.042, lowest=158, folds=0.012),
}  # fmt: skip
PLAIN = ("none", "headphones", *HATS)  # every name that Wear.hat may have
HIDES_ALL_HAIR = ("hijab",)
HOOPS = ("headband", "crown")  # the hair above them shows


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
        local = np.stack(
            [np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn, np.sin(angle) * np.cos(turn)], -1
        )
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
    bare = Shell(
        hat, center.astype(np.float32), axes, rim.astype(np.float32), *(np.zeros((RINGS, SPOKES)),) * 2
    )
    share, around = np.meshgrid(np.linspace(0, 1, RINGS), turn, indexing="ij")
    reach = head.field.radius(bare.center, bare.directions(share, around), reach=0.42)
    smooth = gaussian_filter(np.concatenate([reach] * 3, 1), (1.2, 2.5), mode="nearest")[
        :, SPOKES : 2 * SPOKES
    ]
    reach = np.maximum(reach, smooth)
    if _over_ears(bare):
        reach = np.maximum(reach, np.minimum(_ears(bare, head), 1.22 * reach))
    bare = replace(bare, head=reach.astype(np.float32))
    return replace(bare, outer=_profile(bare, share, around).astype(np.float32))


def _ears(bare: Shell, head: Head) -> np.ndarray:
    """How far out the ears reach (RINGS, SPOKES); the field of the head is without them."""
    points = head.body[head.mask("ears") > 0.4]
    far, share, turn = bare.polar(points)
    out = np.zeros((RINGS, SPOKES))
    inside = share < 1.02
    i = np.clip(np.round(share[inside] * (RINGS - 1)).astype(int), 0, RINGS - 1)
    j = np.round(turn[inside] / (2 * np.pi) * SPOKES).astype(int) % SPOKES
    np.maximum.at(out, (i, j), far[inside])
    wide = maximum_filter(out, (5, 5), mode=("nearest", "wrap"))
    return gaussian_filter(wide, (1.0, 1.0), mode=("nearest", "wrap"))


def _over_ears(bare: Shell) -> bool:
    """Covers that may come down over the ears."""
    return bare.hat.opening is not None or bare.hat.cuff > 0


def _opening(hat: Hat, axes: F32, turn: np.ndarray) -> np.ndarray:
    """The pole is behind: the cover reaches forward to an oval about the face and down to the chest."""
    wide, high = np.radians(hat.opening or (0, 0))
    face = np.array([0, -0.06, 1.0])
    angle = np.linspace(0.3, np.pi, 240)[:, None]
    local = np.stack(
        [np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn, np.sin(angle) * np.cos(turn)], -1
    )
    world = local @ axes
    away = unit(face)
    x = np.arctan2(world[..., 0], world @ away)
    y = np.arctan2(world[..., 1] - away[1] * (world @ away), world @ away)
    open_ = (x / wide) ** 2 + (y / high) ** 2 < 1
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
            0.6
            * hat.pinch
            * HEIGHT
            * np.exp(-(((np.abs(across) - 0.3) / 0.16) ** 2) - ((along - 0.45) / 0.2) ** 2)
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
                )  # fmt: skip
            )
    return out


def cover_meshes(shell: Shell, meshes: list[Mesh], name: str) -> list[Mesh]:
    """Buns and bands that would stand out of the hat are left away."""
    if name in HOOPS:
        return meshes
    return [mesh for mesh in meshes if (shell.polar(mesh.vertices)[1] > 1.05).all()]


def hat_meshes(head: Head, shell_: Shell | None, parameters: HeadParameters) -> list[Mesh]:
    wear = parameters.wear
    if wear.hat == "headphones":
        return headphones(head, wear.hat_colour, wear.hat_trim)
    assert shell_ is not None
    hat = shell_.hat
    if wear.hat in HOOPS:
        return [_hoop(shell_, wear.hat_colour if wear.hat == "headband" else wear.metal)]
    meshes = [_crown(shell_, parameters)]
    if hat.brim or hat.bill:
        meshes.append(_brim(shell_, wear.hat_colour))
    if hat.cuff:
        meshes.append(_cuff(shell_, wear.hat_trim))
    if hat.pompon:
        top = shell_.center + shell_.axes[1] * (shell_.outer[0].mean() + 0.6 * hat.pompon * HEIGHT)
        vertices, triangles = ellipsoid(top, np.full(3, hat.pompon * HEIGHT), 14, 20)
        bumps = 1 + 0.12 * (noise(vertices, 90.0, 1) - 0.5)
        vertices = top + (vertices - top) * bumps[:, None]
        meshes.append(make_mesh(vertices, triangles, wear.hat_trim, Material.FUR, Part.ACCESSORY))
    if wear.hat in ("hijab", "hood"):
        meshes += _drape(head, shell_, wear.hat_colour, parameters.seed)
    return meshes


def _surface(
    shell: Shell, low: float = 0.0, high: float = 1.0, more: float = 0.0, rows: int = RINGS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    share, turn = np.meshgrid(
        np.linspace(low, high, rows), np.arange(SPOKES) / SPOKES * 2 * np.pi, indexing="ij"
    )
    far = shell.radius(shell.outer, share, turn) + more
    return shell.center + shell.directions(share, turn) * far[..., None], share, turn


def _cloth(points: np.ndarray, colour: np.ndarray, material: Material) -> Mesh:
    rows, columns = points.shape[:2]
    colour = np.broadcast_to(colour, points.shape).reshape(-1, 3)
    return make_mesh(
        points.reshape(-1, 3), grid(rows, columns, closed=True)[:, ::-1], colour, material, Part.ACCESSORY
    )


def _crown(shell: Shell, parameters: HeadParameters) -> Mesh:
    hat, wear = shell.hat, parameters.wear
    points, share, turn = _surface(shell)
    if hat.ribs:
        depth = 0.004 * smoothstep(0.1, 0.4, share)
        points = (
            points
            + (points - shell.center)
            * (depth * 6 * (np.abs(np.sin(turn * hat.ribs / 2)) - 0.6))[..., None]
            * 0.3
        )
    colour = np.broadcast_to(np.array(wear.hat_colour, np.float64), points.shape).copy()
    colour *= (0.92 + 0.16 * noise(points.reshape(-1, 3), 60.0, parameters.seed, 2).reshape(share.shape))[
        ..., None
    ]
    if hat.ribs:
        colour *= (0.80 + 0.20 * np.abs(np.sin(turn * hat.ribs / 2)))[..., None]
    if hat.band:
        low = 1 - hat.band * HEIGHT / shell.outer[-1].mean() / (np.pi / 2) * 1.0
        colour = np.where((share > low)[..., None], np.array(wear.hat_trim), colour)
    # the edge turns inwards, so that it has thickness when seen from below
    rim = points[-1]
    inside = shell.center + (rim - shell.center) * (1 - 0.6 * hat.thick * HEIGHT / shell.outer[-1])[:, None]
    up = shell.center + (shell.directions(np.full(SPOKES, 0.9), turn[-1])) * (shell.head[-3] + 0.002)[:, None]
    points = np.concatenate([points, inside[None], up[None]])
    colour = np.concatenate([colour, colour[-1:] * 0.8, colour[-1:] * 0.5])
    return _cloth(points, colour, hat.material)


def _brim(shell: Shell, colour: Colour) -> Mesh:
    """A brim all round, or a bill in front (behind where it is negative)."""
    hat = shell.hat
    turn = np.arange(SPOKES) / SPOKES * 2 * np.pi
    rim = shell.center + shell.directions(np.ones(SPOKES), turn) * (shell.outer[-1] * 0.985)[:, None]
    out = shell.directions(np.ones(SPOKES), turn)
    pole = shell.axes[1]
    if hat.brim:
        width = np.full(SPOKES, hat.brim * HEIGHT)
        t = np.linspace(0, 1, 9)[:, None, None]
        side = np.sin(turn)[:, None] ** 2
        lift = (hat.curl * side * t**2 - 0.015 * t) * HEIGHT
    else:
        away = np.abs((turn + np.pi) % (2 * np.pi) - np.pi) if hat.bill > 0 else np.abs(turn - np.pi)
        width = abs(hat.bill) * HEIGHT * np.cos(np.clip(away / 1.12, 0, 1) * np.pi / 2) ** 0.6
        t = np.linspace(0, 1, 9)[:, None, None]
        bend = (away / 1.12)[:, None] ** 2
        lift = -(0.045 + 0.10 * bend) * t * HEIGHT * (width > 1e-4)[:, None] + 0.012 * HEIGHT
        forward = shell.axes[2] * np.sign(hat.bill)
        out = unit(0.35 * out + 0.65 * forward)
    top = rim + out * width[:, None] * t + pole * lift
    under = top - pole * 0.012 * HEIGHT
    points = np.concatenate([top, under[::-1]])
    shade = np.concatenate([np.full(9, 0.95), np.full(9, 0.7)])[:, None, None]
    return _cloth(points, np.array(colour) * shade, Material.CLOTH)


def _cuff(shell: Shell, colour: Colour) -> Mesh:
    hat = shell.hat
    low = 1 - hat.cuff * HEIGHT / shell.outer[-1].mean() / (np.pi / 2)
    points, share, turn = _surface(shell, low, 1.02, 0.016 * HEIGHT, 10)
    t = (share - low) / (1.02 - low)
    puff = np.maximum(np.sin(np.pi * np.clip(t, 0, 1)), 0) ** 0.5
    ribs = 0.6 + 0.4 * np.abs(np.sin(turn * hat.ribs / 2))
    points = points + shell.directions(share, turn) * (0.022 * HEIGHT * puff * ribs)[..., None]
    inner = shell.center + (points[-1] - shell.center) * 0.93
    points = np.concatenate([points, inner[None]])
    shade = np.concatenate([0.72 + 0.28 * ribs, 0.6 * ribs[-1:]])[..., None]
    return _cloth(points, np.array(colour) * shade, Material.CLOTH)


def _hoop(shell: Shell, colour: Colour) -> Mesh:
    """A band round the head; a crown's upper edge rises in points."""
    hat = shell.hat
    turn = np.arange(SPOKES) / SPOKES * 2 * np.pi
    out = shell.directions(np.ones(SPOKES), turn)
    pole = shell.axes[1]
    height = np.full(SPOKES, hat.band)
    if hat.spikes:
        height = hat.band + 0.13 * np.abs(np.sin(turn * hat.spikes / 2)) ** 1.2
    low = shell.center + out * (shell.head[-1] + 0.010)[:, None] - pole * 0.01
    grow = 0.05 if hat.spikes else -0.03
    t = np.linspace(0, 1, 8)[:, None, None]
    rise = pole * (height * HEIGHT)[:, None]
    bulge = 0.0 if hat.spikes else 0.010 * np.sin(np.pi * t)
    outside = low + out * (0.022 * HEIGHT) + rise * t + out * (grow * HEIGHT * t + bulge)
    inside = (low + rise * t + out * grow * HEIGHT * t)[::-1]
    return _cloth(np.concatenate([outside, inside])[::-1], np.array(colour), hat.material)


def _drape(head: Head, shell: Shell, colour: Colour, seed: int) -> list[Mesh]:
    """Cloth that falls from a hood or a head scarf over neck and shoulders, in folds."""
    turn = np.linspace(0, 2 * np.pi, 97)[:-1]
    out = np.stack([np.sin(turn), 0 * turn, np.cos(turn)], -1)
    t = np.linspace(0, 1, 18)[:, None]
    front = 0.5 + 0.5 * np.cos(turn)
    height = (-0.40 - 0.10 * front - t * (0.42 - 0.02 * front)) * HEIGHT
    axis = np.stack([0 * height, height, -0.03 - 0.07 * t + 0 * turn], -1)
    ease = 0.045 + (0.065 + 0.02 * np.sin(7 * turn + 2.0 * np.sin(2 * turn))) * t
    reach = head.field.radius(axis, np.broadcast_to(out, axis.shape), reach=0.5)
    reach = gaussian_filter(reach, (1.0, 1.5), mode=("nearest", "wrap"))
    points = axis + out * (reach + ease * HEIGHT)[..., None]
    folds = noise((points * np.array([1, 0.6, 1])).reshape(-1, 3), 11.0, seed, 2).reshape(height.shape) - 0.5
    points = points + out * (0.035 * HEIGHT * folds * smoothstep(0, 0.3, t))[..., None]
    shade = 0.85 + 0.3 * (folds + 0.5)
    return [_cloth(points[::-1], np.array(colour) * shade[::-1][..., None], Material.CLOTH)]
