"""Cloth wound about the head: turbans, bands with hanging ends, and wreaths."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.strands import resample
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import grid, make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Colour, Wear
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.synth.wear.balls import ball
from portrait360.synth.wear.shells import Shell
from portrait360.synth.wear.textiles import paint

ROWS, COLUMNS = 90, 192
SPAN = np.pi / 2  # angle from the pole to the rim of a wound cover


def make_turban(head: Head, shell: Shell, wear: Wear, seed: int) -> list[Mesh]:
    """Make cloth wound about the head, the ends that hang from it, and a knot at the front if it has one."""
    hat = shell.hat
    share, turn = np.meshgrid(np.linspace(0, 1, ROWS), np.arange(COLUMNS) / COLUMNS * 2 * np.pi, indexing="ij")
    phase = _wind(share, turn, hat.winding, hat.wraps, seed)
    within = phase - np.floor(phase)
    layer = 0.5 + 0.5 * np.sin(12.9898 * np.floor(phase) + 78.233 + seed)
    ridge = np.sin(np.pi * within) ** 0.55 * (0.75 + 0.5 * layer)
    towards = shell.directions(share, turn)
    along = np.stack([1.6 * phase, np.sin(turn) * 1.1, np.cos(turn) * 1.1], -1)
    crumple = noise(along.reshape(-1, 3), 3.2, seed + 81, 2).reshape(share.shape) - 0.5
    wrinkle = noise((along * np.array([2.2, 0.5, 0.5])).reshape(-1, 3), 5.0, seed + 82).reshape(share.shape) - 0.5
    depth = min(0.030, 0.075 / max(hat.wraps, 1.0)) if hat.thick > 0.03 else 0.008
    radius = shell.radius(shell.outer, share, turn) + HEAD_HEIGHT * (
        depth * (ridge - 0.6) + 0.6 * depth * crumple + 0.35 * depth * wrinkle
    )
    points = shell.center + towards * radius[..., None]
    colour = paint(points, (0.14 * phase, 0.22 * turn), wear.hat_colour, wear.hat_trim, hat.texture, seed)
    is_top = (share < hat.crown)[..., None]
    colour = np.where(is_top, paint(points, (share, turn), wear.hat_trim, wear.hat_trim, "plain", seed), colour)
    colour = colour * (0.90 + 0.2 * layer)[..., None] * (0.48 + 0.52 * smoothstep(0.0, 0.75, ridge))[..., None]
    points, colour = _turn_in(shell, points, colour)
    meshes = [_sheet(points, colour, closed=True)]
    if hat.winding == "knot":
        meshes.append(_knot(shell, 0.0, 0.86, 0.10 if hat.thick > 0.03 else 0.05, wear.hat_colour, seed))
    tail_colour = wear.hat_trim if hat.crown else wear.hat_colour
    return [*meshes, *hang_tails(head, shell, wear, tail_colour, seed)]


def _wind(share: np.ndarray, turn: np.ndarray, winding: str, wraps: float, seed: int) -> np.ndarray:
    """Return how many layers lie above a place, counted from the crown."""
    aside = np.abs((turn + np.pi) % (2 * np.pi) - np.pi) / np.pi  # 0 at the front, 1 at the back
    bend = 0.22 * np.sin(turn + seed) + 0.12 * np.sin(2 * turn + 1.7 * seed)
    if winding == "cross":
        lean = np.sin(turn) * 0.08 * wraps
        return wraps * share + 0.32 * wraps * np.sqrt(aside**2 + 0.004) * smoothstep(0.05, 0.5, share) + bend + lean
    if winding == "knot":
        return wraps * share + 2.4 * np.arctan2(share - 0.86, 2 * aside + 0.05) + bend
    return wraps * share + turn / (2 * np.pi) + bend * smoothstep(0.0, 0.4, share)


def _turn_in(shell: Shell, points: np.ndarray, colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add the inner side of the lower edge."""
    turn = np.arange(points.shape[1]) / points.shape[1] * 2 * np.pi
    full = np.ones(len(turn))
    edge = shell.center + (points[-1] - shell.center) * 0.955
    above = shell.directions(0.9 * full, turn) * (shell.radius(shell.head, 0.9 * full, turn) + 0.002)[:, None]
    inner = np.stack([edge, shell.center + above])
    return np.concatenate([points, inner]), np.concatenate([colour, colour[-1:] * 0.7, colour[-1:] * 0.4])


def _sheet(points: np.ndarray, colour: np.ndarray, *, closed: bool = False, opacity: float = 1.0) -> Mesh:
    triangles = grid(*points.shape[:2], closed=closed)[:, ::-1]
    shade = np.broadcast_to(colour, points.shape).reshape(-1, 3)
    return make_mesh(points.reshape(-1, 3), triangles, shade, Material.CLOTH, Part.ACCESSORY, opacity=opacity)


def _knot(shell: Shell, turn: float, share: float, size: float, colour: Colour, seed: int) -> Mesh:
    """Make a knot of cloth on the cover; its size is in head heights."""
    s, a = np.array([share]), np.array([turn])
    out = shell.directions(s, a)[0]
    center = shell.center + out * (shell.radius(shell.outer, s, a)[0] + 0.25 * size * HEAD_HEIGHT)
    vertices, triangles = ball(np.zeros(3), np.ones(3), 22, 30)
    angle = np.arctan2(vertices[:, 0], vertices[:, 1])
    groove = 1 + 0.10 * np.cos(5 * angle + 3 * vertices[:, 2]) + 0.25 * (noise(vertices, 3.0, seed + 83, 2) - 0.5)
    vertices = vertices * groove[:, None] * np.array([0.8, 0.62, 0.55]) * size * HEAD_HEIGHT
    across = unit(np.cross([0.0, 1.0, 0.0], out))
    basis = np.stack([across, np.cross(out, across), out])
    shade = smoothstep(0.85, 1.05, groove)[:, None] * 0.4 + 0.6
    return make_mesh(center + vertices @ basis, triangles, np.array(colour) * shade, Material.CLOTH, Part.ACCESSORY)


def hang_tails(head: Head, shell: Shell, wear: Wear, colour: Colour, seed: int) -> list[Mesh]:
    """Make the ends of the cloth: they leave the cover and fall over neck and shoulders."""
    hat = shell.hat
    if not hat.tails:
        return []
    turn = np.radians(hat.tail_turn)
    share = 0.30 if hat.crown else 0.93 if hat.hoop else 0.95
    meshes = [_knot(shell, turn, share, 0.9 * hat.tail_width, colour, seed + 1)]
    spread = np.linspace(-0.16, 0.16, len(hat.tails)) if len(hat.tails) > 1 else [0.0]
    for number, (length, aside) in enumerate(zip(hat.tails, spread, strict=True)):
        path = _fall(head, shell, turn + aside, share, length * HEAD_HEIGHT)
        meshes.append(_pleat(path, hat.tail_width * HEAD_HEIGHT, colour, wear, hat.crown > 0, seed + number))
    return meshes


def _fall(head: Head, shell: Shell, turn: float, share: float, length: float) -> np.ndarray:
    """Return the path (k, 3) of cloth that falls from a place on the cover."""
    s, a = np.array([share]), np.array([turn])
    out = shell.directions(s, a)[0]
    start = shell.center + out * (shell.radius(shell.outer, s, a)[0] + 0.004)
    level = unit(out * np.array([1.0, 0.0, 1.0]))
    lift = 0.35 * length * max(0.0, float(out[1]))
    beyond = start + level * 0.06 * HEAD_HEIGHT + np.array([0.0, 0.2 * lift, 0.0])
    low = beyond + level * 0.10 * HEAD_HEIGHT - np.array([0.0, 0.45 * length, 0.0])
    path = resample([start, beyond, low, low - np.array([0.0, 0.55 * length, 0.0])], 40)
    for _ in range(3):
        distance, place, round_ = shell.polar(path)
        lack = np.where(place < 1.05, shell.radius(shell.outer, place, round_) + 0.012 - distance, 0)
        path = path + unit(path - shell.center) * np.maximum(lack, 0)[:, None]
        path = head.field.push_out(path, 0.07 * HEAD_HEIGHT)
        path[1:-1] = 0.5 * path[1:-1] + 0.25 * (path[2:] + path[:-2])
    return path


def _pleat(path: np.ndarray, width: float, colour: Colour, wear: Wear, striped: bool, seed: int) -> Mesh:
    """Make a strip along a path, gathered at its start, with folds along it and, if wanted, stripes at its end."""
    t = np.linspace(0, 1, len(path))[:, None]
    tangent = unit(np.gradient(path, axis=0))
    out = unit((path - np.array([0, 0, -0.03])) * np.array([1.0, 0.0, 1.0]))
    across = unit(np.cross(tangent, out))
    over = np.cross(across, tangent)
    angle = np.arange(36) / 36 * 2 * np.pi
    rng = np.random.default_rng([seed, 84])
    ripple = 0.35 * np.cos(3 * angle + rng.uniform(0, 6) + 0.8 * np.sin(4 * t)) + 0.2 * np.cos(7 * angle + 5 * t)
    wide = width * (0.34 + 0.66 * smoothstep(0.0, 0.7, t)) * (0.55 + 0.1 * np.sin(5 * t + rng.uniform(0, 6)))
    thick = wide * (0.34 - 0.16 * t)
    reach = 1 + ripple * smoothstep(0, 0.15, t)
    points = path[:, None] + (wide * np.cos(angle))[..., None] * across[:, None]
    points = points + (thick * np.sin(angle) * reach)[..., None] * over[:, None]
    shade = np.broadcast_to((0.72 + 0.5 * (ripple + 0.3))[..., None], points.shape)
    base = np.broadcast_to(np.array(colour), points.shape)
    if striped:
        is_stripe = ((t > 0.74) & (t < 0.79)) | ((t > 0.86) & (t < 0.93))
        base = np.where(is_stripe[..., None], np.array(wear.hat_colour), base)
    return _sheet(points, base * np.clip(shade, 0.45, 1.15), closed=True)


def make_band(head: Head, shell: Shell, wear: Wear, seed: int) -> list[Mesh]:
    """Make a soft band, or a wreath of leaves, that lies about the head; with its hanging ends."""
    hat = shell.hat
    if hat.leaves:
        return [_make_wreath(shell, wear.hat_colour, seed)]
    low = 1 - hat.band * HEAD_HEIGHT / float(shell.head[-1].mean()) / SPAN
    share, turn = np.meshgrid(np.linspace(low, 1, 26), np.arange(COLUMNS) / COLUMNS * 2 * np.pi, indexing="ij")
    t = (share - low) / (1 - low)
    waves = np.sin(2 * np.pi * (2.0 * t + 0.25 * np.sin(turn + seed) + 0.2 * np.sin(2 * turn)))
    puff = np.sin(np.pi * np.clip(t, 0.02, 0.98)) ** 0.4
    fold = 0.0 if hat.texture == "wool" or hat.band < 0.05 else 0.10 * hat.band
    out = hat.thick * (0.35 + 0.65 * puff) + fold * waves
    radius = shell.radius(shell.head, share, turn) + HEAD_HEIGHT * out
    points = shell.center + shell.directions(share, turn) * radius[..., None]
    shade = 1.0 if fold == 0 else (0.72 + 0.28 * smoothstep(-1, 0.4, waves))[..., None]
    colour = (
        paint(points, (0.2 * t * hat.band, 0.2 * turn), wear.hat_colour, wear.hat_trim, hat.texture, seed) * shade
    )
    return [_sheet(points, colour, closed=True), *hang_tails(head, shell, wear, wear.hat_colour, seed)]


def _make_wreath(shell: Shell, colour: Colour, seed: int) -> Mesh:
    """Make pairs of leaves that point to the front from both sides."""
    count, rng = shell.hat.leaves, np.random.default_rng([seed, 85])
    side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    back = np.pi * (0.06 + 0.92 * (np.arange(count) // 2) / (count // 2))  # from the front to the back
    turn = (side * back) % (2 * np.pi)
    share = 0.93 + 0.05 * rng.normal(0, 1, count).clip(-1.3, 1.3)
    t, w = np.linspace(0, 1, 7)[None, :, None], np.linspace(-1, 1, 5)[None, None]
    rise = rng.normal(0.05, 0.08, (count, 1, 1))
    long, wide = rng.uniform(0.28, 0.40, (count, 1, 1)), rng.uniform(0.07, 0.11, (count, 1, 1))
    shape = np.sin(np.pi * np.clip(t, 0.03, 0.97)) ** 0.8
    turns = turn[:, None, None] - side[:, None, None] * long * t
    shares = share[:, None, None] - rise * t + wide * w * shape
    curl = shell.hat.thick * (0.4 + 0.9 * t + rng.uniform(0, 0.5, (count, 1, 1))) - 0.03 * np.abs(w) * shape
    radius = shell.radius(shell.head, np.clip(shares, 0, 1), turns % (2 * np.pi)) + curl * HEAD_HEIGHT
    points = shell.center + shell.directions(shares, turns % (2 * np.pi)) * radius[..., None]
    outwards = np.where(side[:, None, None] > 0, grid(7, 5)[None, :, ::-1], grid(7, 5)[None])  # one side is mirrored
    triangles = outwards + (np.arange(count) * 35)[:, None, None]
    shade = (0.75 + 0.5 * rng.random((count, 1, 1))) * (0.75 + 0.25 * np.abs(w)) + 0 * t
    return make_mesh(
        points.reshape(-1, 3),
        triangles.reshape(-1, 3),
        (shade[..., None] * np.array(colour)).reshape(-1, 3),
        Material.CLOTH,
        Part.ACCESSORY,
    )
