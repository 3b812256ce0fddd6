"""The visible parts of a hat: crown, brim, cuff, band, and the cloth of hoods and head scarves."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import ellipsoid, grid, make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.hats import hat_kind
from portrait360.synth.sampling.parameters import Colour, HeadParameters, Wear
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.synth.wear.glasses import make_headphones
from portrait360.synth.wear.mantles import Mantle, mantle_meshes
from portrait360.synth.wear.shells import RINGS, SPOKES, Shell, blur
from portrait360.synth.wear.textiles import paint
from portrait360.synth.wear.wound_cloth import make_band, make_turban

INWARD = 0.5  # greatest slope of hanging cloth towards the neck


def hat_meshes(head: Head, shell: Shell | None, parameters: HeadParameters) -> list[Mesh]:
    """Return all meshes of the hat; headphones need no shell."""
    wear = parameters.wear
    if wear.hat == "headphones":
        return make_headphones(head, wear.hat_colour, wear.hat_trim)
    assert shell is not None
    hat = shell.hat
    if isinstance(shell, Mantle):
        return mantle_meshes(head, shell, wear, parameters.seed)
    if hat_kind(wear.hat) in ("headband", "crown"):
        return [_hoop_mesh(shell, wear.hat_colour if hat_kind(wear.hat) == "headband" else wear.metal)]
    if hat.hoop:
        return make_band(head, shell, wear, parameters.seed)
    if hat.wraps:
        return make_turban(head, shell, wear, parameters.seed)
    meshes = [_crown_mesh(shell, parameters)]
    if hat.brim or hat.bill:
        meshes.append(_brim_mesh(shell, wear, parameters.seed))
    if hat.cuff:
        meshes.append(_cuff_mesh(shell, wear.hat_trim))
    if hat.pompon:
        top = shell.center + shell.axes[1] * (shell.outer[0].mean() + 0.6 * hat.pompon * HEAD_HEIGHT)
        vertices, triangles = ellipsoid(top, np.full(3, hat.pompon * HEAD_HEIGHT), 14, 20)
        bumps = 1 + 0.12 * (noise(vertices, 90.0, 1) - 0.5)
        vertices = top + (vertices - top) * bumps[:, None]
        meshes.append(make_mesh(vertices, triangles, wear.hat_trim, Material.FUR, Part.ACCESSORY))
    if hat.opening is not None:
        meshes.append(_drape_mesh(head, shell, wear.hat_colour, parameters.seed))
    return meshes


def _outer_surface(
    shell: Shell, low: float = 0.0, high: float = 1.0, offset: float = 0.0, rows: int = RINGS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points `offset` outside the cover, with their shares of the angle to the rim and their turns."""
    share, turn = np.meshgrid(np.linspace(low, high, rows), np.arange(SPOKES) / SPOKES * 2 * np.pi, indexing="ij")
    radius = shell.radius(shell.outer, share, turn) + offset
    return shell.center + shell.directions(share, turn) * radius[..., None], share, turn


def _sheet_mesh(points: np.ndarray, colour: np.ndarray, material: Material) -> Mesh:
    rows, columns = points.shape[:2]
    colour = np.broadcast_to(colour, points.shape).reshape(-1, 3)
    return make_mesh(
        points.reshape(-1, 3), grid(rows, columns, closed=True)[:, ::-1], colour, material, Part.ACCESSORY
    )


def _crown_mesh(shell: Shell, parameters: HeadParameters) -> Mesh:
    hat, wear = shell.hat, parameters.wear
    points, share, turn = _outer_surface(shell)
    if hat.ribs:
        depth = 0.004 * smoothstep(0.1, 0.4, share)
        points = (
            points
            + (points - shell.center) * (depth * 6 * (np.abs(np.sin(turn * hat.ribs / 2)) - 0.6))[..., None] * 0.3
        )
    colour = np.broadcast_to(np.array(wear.hat_colour, np.float64), points.shape).copy()
    colour *= (0.92 + 0.16 * noise(points.reshape(-1, 3), 60.0, parameters.seed, 2).reshape(share.shape))[..., None]
    if hat.texture != "plain":
        place = (0.24 * share, 0.24 * turn)
        colour = paint(points, place, wear.hat_colour, wear.hat_trim, hat.texture, parameters.seed)
    if hat.ribs:
        colour *= (0.80 + 0.20 * np.abs(np.sin(turn * hat.ribs / 2)))[..., None]
    if hat.band:
        low = 1 - hat.band * HEAD_HEIGHT / shell.outer[-1].mean() / (np.pi / 2) * 1.0
        colour = np.where((share > low)[..., None], np.array(wear.hat_trim), colour)
    # the edge turns inwards to show its thickness from below
    rim = points[-1]
    inside = shell.center + (rim - shell.center) * (1 - 0.6 * hat.thick * HEAD_HEIGHT / shell.outer[-1])[:, None]
    up = shell.center + (shell.directions(np.full(SPOKES, 0.9), turn[-1])) * (shell.head[-3] + 0.002)[:, None]
    points = np.concatenate([points, inside[None], up[None]])
    colour = np.concatenate([colour, colour[-1:] * 0.8, colour[-1:] * 0.5])
    return _sheet_mesh(points, colour, hat.material)


def _brim_mesh(shell: Shell, wear: Wear, seed: int) -> Mesh:
    """Make a brim all round, or a bill at the front (at the back if it is negative)."""
    hat = shell.hat
    turn = np.arange(SPOKES) / SPOKES * 2 * np.pi
    rim = shell.center + shell.directions(np.ones(SPOKES), turn) * (shell.outer[-1] * 0.985)[:, None]
    out = shell.directions(np.ones(SPOKES), turn)
    pole = shell.axes[1]
    if hat.brim:
        width = np.full(SPOKES, hat.brim * HEAD_HEIGHT)
        t = np.linspace(0, 1, 9)[:, None, None]
        side = np.sin(turn)[:, None] ** 2
        lift = (hat.curl * side * t**2 - 0.015 * t) * HEAD_HEIGHT
        if hat.floppy:
            wave = np.sin(2 * turn + seed) + 0.7 * np.sin(3 * turn + 1.3 * seed) + 0.5 * np.sin(5 * turn + 2.1 * seed)
            lift = lift + hat.floppy * HEAD_HEIGHT * wave[:, None] * t**1.5
    else:
        away = np.abs((turn + np.pi) % (2 * np.pi) - np.pi) if hat.bill > 0 else np.abs(turn - np.pi)
        width = abs(hat.bill) * HEAD_HEIGHT * np.cos(np.clip(away / 1.12, 0, 1) * np.pi / 2) ** 0.6
        t = np.linspace(0, 1, 9)[:, None, None]
        bend = (away / 1.12)[:, None] ** 2
        lift = -(0.045 + 0.10 * bend) * t * HEAD_HEIGHT * (width > 1e-4)[:, None] + 0.012 * HEAD_HEIGHT
        forward = shell.axes[2] * np.sign(hat.bill)
        out = unit(0.35 * out + 0.65 * forward)
    top = rim + out * width[:, None] * t + pole * lift
    under = top - pole * 0.012 * HEAD_HEIGHT
    points = np.concatenate([top, under[::-1]])
    shade = np.concatenate([np.full(9, 0.95), np.full(9, 0.7)])[:, None, None]
    colour = np.array(wear.hat_colour)
    if hat.texture not in ("plain", "fur"):
        place = (0.24 * np.abs(np.linspace(-1, 1, 18))[:, None] * (hat.brim + abs(hat.bill)), 0.24 * turn)
        colour = paint(points, place, wear.hat_colour, wear.hat_trim, hat.texture, seed)
    return _sheet_mesh(points, colour * shade, Material.CLOTH)


def _cuff_mesh(shell: Shell, colour: Colour) -> Mesh:
    hat = shell.hat
    low = 1 - hat.cuff * HEAD_HEIGHT / shell.outer[-1].mean() / (np.pi / 2)
    points, share, turn = _outer_surface(shell, low, 1.02, 0.016 * HEAD_HEIGHT, 10)
    t = (share - low) / (1.02 - low)
    puff = np.maximum(np.sin(np.pi * np.clip(t, 0, 1)), 0) ** 0.5
    ribs = 0.6 + 0.4 * np.abs(np.sin(turn * hat.ribs / 2))
    points = points + shell.directions(share, turn) * (0.022 * HEAD_HEIGHT * puff * ribs)[..., None]
    inner = shell.center + (points[-1] - shell.center) * 0.93
    points = np.concatenate([points, inner[None]])
    shade = np.concatenate([0.72 + 0.28 * ribs, 0.6 * ribs[-1:]])[..., None]
    return _sheet_mesh(points, np.array(colour) * shade, Material.CLOTH)


def _hoop_mesh(shell: Shell, colour: Colour) -> Mesh:
    """Make a band around the head; the upper edge of a crown has spikes."""
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
    rise = pole * (height * HEAD_HEIGHT)[:, None]
    bulge = 0.0 if hat.spikes else 0.010 * np.sin(np.pi * t)
    outside = low + out * (0.022 * HEAD_HEIGHT) + rise * t + out * (grow * HEAD_HEIGHT * t + bulge)
    inside = (low + rise * t + out * grow * HEAD_HEIGHT * t)[::-1]
    return _sheet_mesh(np.concatenate([outside, inside])[::-1], np.array(colour), hat.material)


def _drape_mesh(head: Head, shell: Shell, colour: Colour, seed: int) -> Mesh:
    """Make cloth that hangs in folds from a hood or a head scarf over neck and shoulders."""
    turn = np.linspace(0, 2 * np.pi, 97)[:-1]
    out = np.stack([np.sin(turn), 0 * turn, np.cos(turn)], -1)
    t = np.linspace(0, 1, 24)[:, None]
    front = 0.5 + 0.5 * np.cos(turn)
    top = -0.24 - 0.26 * front**4  # at the back it starts inside the cover, at the front below the chin
    height = (top - t * (1.02 + top)) * HEAD_HEIGHT
    axis = np.stack([0 * height, height, -0.03 - 0.07 * t + 0 * turn], -1)
    ease = (0.045 + (0.065 + 0.02 * np.sin(7 * turn + 2.0 * np.sin(2 * turn))) * t) * HEAD_HEIGHT
    radius = head.field.radius(axis, np.broadcast_to(out, axis.shape), reach=0.5) + ease
    hanging_radius = _hem_radius(shell, turn) * (0.88 + 0.14 * smoothstep(0.0, 0.16, t)) - INWARD * (
        height[0] - height
    )
    radius = blur(np.maximum(radius, hanging_radius), 1.5, 1.5)
    points = axis + out * radius[..., None]
    folds = noise((points * np.array([1, 0.6, 1])).reshape(-1, 3), 11.0, seed, 2).reshape(height.shape) - 0.5
    points = points + out * (0.035 * HEAD_HEIGHT * folds * smoothstep(0, 0.3, t))[..., None]
    points = head.field.push_out(points, (0.03 + 0.06 * t + 0 * turn) * HEAD_HEIGHT)  # stay above the clothes
    shade = 0.85 + 0.3 * (folds + 0.5)
    return _sheet_mesh(points[::-1], np.array(colour) * shade[::-1][..., None], Material.CLOTH)


def _hem_radius(shell: Shell, turn: np.ndarray) -> np.ndarray:
    """Return how far out the lower end of a cover hangs, measured from the neck's axis."""
    points, _, _ = _outer_surface(shell)
    low = points[(points[..., 1] < -0.26 * HEAD_HEIGHT) & (points[..., 1] > -0.55 * HEAD_HEIGHT)] - [0, 0, -0.03]
    azimuth = np.arctan2(low[:, 0], low[:, 2])
    is_near = np.abs((azimuth - turn[:, None] + np.pi) % (2 * np.pi) - np.pi) < 0.15
    radius = np.where(is_near, np.hypot(low[:, 0], low[:, 2]), 0).max(1)
    return np.interp(turn, turn[radius > 0], radius[radius > 0], period=2 * np.pi)
