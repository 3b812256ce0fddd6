"""What people hold, wear or stand behind: hands, straps, microphones, cups, scarves, branches, picture frames.

An object hides the person and is labelled OBJECT. Hands and what is held or worn are cut out with the person, so
alpha is 1 there; it is 0 where a branch or a frame hides the person. Scarves and fur collars are CLOTHES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from portrait360.synth.photography.fields import (
    SKIN_TONES,
    Generator,
    blur,
    draw_grain,
    draw_noise,
    make_grid,
    make_pixel_grid,
    mix,
    pick_colour,
    pick_hue,
    pick_tone,
    to_floats,
    to_paint,
    to_points,
)
from portrait360.utils.array_types import Bytes, Floats
from portrait360.utils.portrait_labels import FACE_LABELS, Label


@dataclass(frozen=True, eq=False)
class Occluder:
    rgb: Floats  # (s, s, 3) sRGB-encoded in [0, 1]
    alpha: Floats  # (s, s)
    label: Label = Label.OBJECT
    is_subject: bool = True  # cut out with the person, as all objects are but branches and frames


@dataclass(frozen=True)
class Site:
    """Where the face is, in pixels, and what skin it has."""

    size: int
    centre: tuple[float, float]
    radius: float  # half the height of the face
    skin: Floats  # (3,)
    body: Floats  # (s, s) 1 on clothes and on the skin below the head


def draw_occluder(rng: Generator, rgb: Floats, labels: Bytes) -> Occluder:
    """Draw a random object before the person that the picture and its labels show."""
    name = rng.choice(list(OCCLUDERS))
    occluder = OCCLUDERS[name](rng, find_site(rng, rgb, labels))
    tidy_rgb, tidy_alpha = (np.clip(v, 0, 1).astype(np.float32) for v in (occluder.rgb, occluder.alpha))
    return Occluder(tidy_rgb, tidy_alpha, occluder.label, name not in SCENERY)


def find_site(rng: Generator, rgb: Floats, labels: Bytes) -> Site:
    """Find the face; where there is none, take the middle of the picture. Hands have its tone, or another."""
    size = len(labels)
    face = np.isin(labels, FACE_LABELS)
    body = ((labels == Label.CLOTHES) | (labels == Label.SKIN)).astype(np.float32)
    rows, columns = np.flatnonzero(face.any(1)), np.flatnonzero(face.any(0))
    if len(rows) < 0.05 * size:
        return Site(size, (0.5 * size, 0.45 * size), 0.2 * size, pick_tone(rng, SKIN_TONES), body)
    own = np.median(rgb[labels == Label.FACE].reshape(-1, 3), axis=0) if (labels == Label.FACE).any() else None
    skin = pick_tone(rng, SKIN_TONES) if own is None or rng.random() < 0.3 else own.astype(np.float32)
    centre = (float(columns.mean()), float(0.5 * (rows[0] + rows[-1])))
    return Site(size, centre, max(0.5 * float(np.ptp(rows)), 0.08 * size), skin, body)


def draw_hand_at_face(rng: Generator, site: Site) -> Occluder:
    """Draw a hand that rests on the chin, a cheek or the hair, or covers the mouth."""
    side = rng.choice([-1.0, 1.0])
    offset = np.array([side * rng.uniform(0.1, 1.1), rng.uniform(0.3, 1.2)])
    target = np.array(site.centre) + site.radius * offset
    turn = -np.pi / 2 - side * rng.uniform(-0.2, 0.9)  # the fingers point up and inwards
    return _draw_hand(rng, site, target, turn)


def draw_fingers_in_hair(rng: Generator, site: Site) -> Occluder:
    """Draw a hand at the side of the head or above it, with strands across its fingers."""
    side = rng.choice([-1.0, 1.0])
    target = np.array(site.centre) + site.radius * np.array([side * rng.uniform(0.6, 1.4), rng.uniform(-1.3, -0.2)])
    hand = _draw_hand(rng, site, target, -np.pi / 2 - side * rng.uniform(0.1, 1.2))
    x, y = make_pixel_grid(site.size, site.size)
    lean = rng.normal(0, 0.6)
    across = (x * np.cos(lean) + y * np.sin(lean)) / site.radius * rng.uniform(5, 14)
    strand = np.sin(across + 3 * draw_noise(rng, site.size, site.size, 5)) - rng.uniform(0.2, 0.8)
    near = np.hypot(x - target[0], y - target[1]) < rng.uniform(0.3, 0.7) * site.radius
    return Occluder(hand.rgb, hand.alpha * (1 - near * np.clip(3 * strand, 0, 1)))


def _draw_hand(rng: Generator, site: Site, target: Floats, turn: float) -> Occluder:
    """Draw a hand whose middle knuckle is at the target and whose fingers point where the turn says."""
    unit = site.radius * rng.uniform(0.38, 0.55)  # the length of the palm
    capsules = unit * _sample_capsules(rng)
    capsules[:, [0, 2]] *= rng.choice([-1.0, 1.0])
    axes = np.array([[-np.sin(turn), np.cos(turn)], [np.cos(turn), np.sin(turn)]])
    for i in (0, 2):
        capsules[:, i : i + 2] = capsules[:, i : i + 2] @ axes + target
    return _shade_capsules(rng, site, capsules)


def _sample_capsules(rng: Generator) -> Floats:
    """Sample a hand as capsules (x0, y0, x1, y1, r0, r1); the fingers go along y, the palm is 1 long below 0."""
    spread, curl = rng.uniform(0.03, 0.22), rng.uniform(0.45, 1.0)
    parts = [[0.0, -1.1, rng.normal(0, 0.5), -4.5, 0.33, 0.42]]
    for i, (base, length) in enumerate(zip((-0.36, -0.12, 0.12, 0.34), (0.85, 1.0, 0.95, 0.72), strict=True)):
        parts.append([0.5 * base, -1.05, base, 0.0, 0.28, 0.16])
        angle, x, y, own = spread * (i - 1.5) + rng.normal(0, 0.06), base, 0.0, curl * rng.uniform(0.8, 1.1)
        bend = rng.normal(0, 0.12)
        for share, radius in ((0.45, 0.14), (0.32, 0.125), (0.23, 0.11)):
            end = x + own * length * share * np.sin(angle), y + own * length * share * np.cos(angle)
            parts.append([x, y, *end, radius + 0.01, radius - 0.01])
            (x, y), angle = end, angle + bend
    open_thumb = rng.uniform(0.2, 1.0)
    knee = -0.45 - 0.25 * open_thumb, -0.4
    parts.append([-0.2, -0.95, *knee, 0.22, 0.17])
    parts.append([*knee, knee[0] - 0.3 * open_thumb, knee[1] + 0.5, 0.15, 0.12])
    return np.array(parts)


def _shade_capsules(rng: Generator, site: Site, capsules: Floats) -> Occluder:
    """Shade capsules as one relief: the highest wins, light comes from one side, creases are dark."""
    size = site.size
    low = np.floor((capsules[:, [0, 1]].min(0), capsules[:, [2, 3]].min(0))).min(0) - capsules[:, 4].max() - 2
    high = np.ceil((capsules[:, [0, 1]].max(0), capsules[:, [2, 3]].max(0))).max(0) + capsules[:, 4].max() + 2
    (x0, y0), (x1, y1) = np.clip(low, 0, size).astype(int), np.clip(high, 0, size).astype(int)
    rgb, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    if x1 - x0 < 3 or y1 - y0 < 3:
        return Occluder(rgb, alpha)
    x, y = (v[y0:y1, x0:x1] for v in make_pixel_grid(size, size))
    height, distance = np.zeros(x.shape, np.float32), np.full(x.shape, 1e3, np.float32)
    for ax, ay, bx, by, ra, rb in capsules.astype(np.float32):
        dx, dy = bx - ax, by - ay
        t = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + np.float32(1e-6)), 0, 1)
        radius, away = ra + (rb - ra) * t, np.hypot(x - ax - t * dx, y - ay - t * dy)
        distance = np.minimum(distance, away - radius)
        height = np.maximum(height, np.sqrt(np.maximum(radius * radius - away * away, 0)))
    height = blur(height, 0.03 * site.radius)
    slope_x, slope_y = cv2.Sobel(height, -1, 1, 0, scale=0.125), cv2.Sobel(height, -1, 0, 1, scale=0.125)
    light = rng.normal(0, 0.6), rng.uniform(-0.9, 0.2)
    lambert = (1.0 - slope_x * light[0] - slope_y * light[1]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    crease = blur(height, 0.12 * site.radius) - height
    shade = np.clip(0.35 + 0.6 * lambert - 0.9 * np.maximum(crease, 0) / (0.12 * site.radius), 0.15, 1.3)
    red = np.array([1.0, 0.82, 0.76], np.float32)  # shadows in skin are red
    tone = site.skin * shade[..., None] * mix(np.ones(3, np.float32), red, np.clip(1.2 - shade, 0, 1))
    rgb[y0:y1, x0:x1] = np.clip(tone, 0, 1)
    alpha[y0:y1, x0:x1] = np.clip(0.5 - distance, 0, 1)
    return Occluder(rgb, alpha)


def _draw_shapes(size: int) -> tuple[Bytes, Bytes]:
    return np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)


def _hold(rng: Generator, site: Site, held: Occluder, at: Floats) -> Occluder:
    """Put a hand's fingers across an object."""
    side = rng.choice([-1.0, 1.0])
    reach = np.array([side * 0.3, 0.15]) * site.radius
    hand = _draw_hand(rng, site, at + reach, np.pi / 2 + side * rng.uniform(0.9, 1.8))
    return Occluder(mix(held.rgb, hand.rgb, hand.alpha), np.maximum(held.alpha, hand.alpha))


def draw_strap(rng: Generator, site: Site) -> Occluder:
    """Draw one or two straps, of a bag or a guitar, from the shoulders downwards."""
    size = site.size
    rgb, cover = _draw_shapes(size)
    colour, width = pick_colour(rng), max(2, round(site.radius * rng.uniform(0.12, 0.4)))
    sides = (-1.0, 1.0) if rng.random() < 0.4 else (rng.choice([-1.0, 1.0]),)
    inward = rng.uniform(-0.4, 1.6)
    for side in sides:
        start = np.array(site.centre) + site.radius * np.array([side * rng.uniform(0.8, 1.5), rng.uniform(1.2, 1.6)])
        end = np.array([start[0] - side * inward * site.radius, size * 1.1])
        middle = 0.5 * (start + end) + np.array([side * 0.2 * site.radius, 0])
        t = np.linspace(0, 1, 12)[:, None]
        curve = to_points((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end)
        cv2.polylines(cover, [curve], False, 255, width, cv2.LINE_AA, 4)
        cv2.polylines(rgb, [curve], False, to_paint(colour * 0.7), width + 2, cv2.LINE_AA, 4)
        cv2.polylines(rgb, [curve], False, to_paint(colour), max(1, int(0.7 * width)), cv2.LINE_AA, 4)
    weave = 1 + 0.1 * draw_grain(rng, size, size)
    alpha = to_floats(cover) * blur(site.body, 0.6)  # hair falls over it, and it ends at the shoulder
    return Occluder(np.clip(to_floats(rgb) * weave[..., None], 0, 1), alpha)


def draw_microphone(rng: Generator, site: Site) -> Occluder:
    """Draw a microphone below the mouth, on its own or in a hand."""
    size = site.size
    rgb, cover = _draw_shapes(size)
    head = np.array(site.centre) + site.radius * np.array([rng.normal(0, 0.5), rng.uniform(0.6, 1.3)])
    lean, radius = rng.normal(0, 0.5), site.radius * rng.uniform(0.16, 0.3)
    down = np.array([np.sin(lean), np.cos(lean)])
    body = to_points(np.stack([head, head + down * site.radius * rng.uniform(1.2, 3)]))
    dark = np.float32(rng.uniform(0.03, 0.3))
    for share, light in ((1.15, 0.4), (0.8, 1.0), (0.25, 1.8)):
        width = max(1, round(radius * share))
        cv2.polylines(rgb, [body], False, to_paint(np.ones(3, np.float32) * dark * light), width, cv2.LINE_AA, 4)
    cv2.polylines(cover, [body], False, 255, max(1, round(radius * 1.15)), cv2.LINE_AA, 4)
    centre, ball = to_points(head).tolist(), int(radius * 16)
    cv2.circle(cover, centre, ball, 255, -1, cv2.LINE_AA, 4)
    foam = pick_colour(rng) if rng.random() < 0.3 else np.ones(3, np.float32) * np.float32(rng.uniform(0.08, 0.6))
    x, y = make_pixel_grid(size, size)
    away = np.hypot(x - head[0], y - head[1]) / radius
    lit = 0.7 - 0.4 * (x - head[0] + y - head[1]) / radius / 2
    mesh = 0.75 + 0.25 * np.sin(x * 1.9) * np.sin(y * 1.9)
    picture = mix(to_floats(rgb), foam * (lit * mesh)[..., None], np.clip((1 - away) * radius + 0.5, 0, 1))
    held = Occluder(np.clip(picture, 0, 1).astype(np.float32), to_floats(cover))
    return _hold(rng, site, held, head + down * site.radius * 0.7) if rng.random() < 0.6 else held


def draw_cup_or_phone(rng: Generator, site: Site) -> Occluder:
    """Draw a cup or a telephone before the chin, a cheek or an eye, in a hand."""
    size = site.size
    rgb, cover = _draw_shapes(size)
    phone = rng.random() < 0.5
    at = np.array(site.centre) + site.radius * np.array(
        [rng.normal(0, 0.7), rng.uniform(-0.1 if phone else 0.7, 1.3)]
    )
    extent = site.radius * (np.array([0.62, 1.25]) if phone else np.array([0.75, rng.uniform(0.7, 1.3)]))
    turn = rng.normal(0, 25 if phone else 6)
    colour = np.ones(3, np.float32) * np.float32(rng.uniform(0.02, 0.2)) if phone else pick_colour(rng)
    box = np.asarray(cv2.boxPoints((at.tolist(), extent.tolist(), turn)), np.float32)
    cv2.fillPoly(cover, [to_points(box)], 255, cv2.LINE_AA, 4)
    rgb[:] = np.round(colour * 255)
    if phone:
        inner = box.mean(0) + 0.93 * (box - box.mean(0))
        cv2.fillPoly(rgb, [to_points(inner)], to_paint(pick_colour(rng)), cv2.LINE_AA, 4)
        for i in range(int(rng.integers(1, 4))):
            lens = box[1] + (box[2] - box[1]) * 0.2 + (box[0] - box[1]) * (0.1 + 0.1 * i)
            cv2.circle(rgb, to_points(lens).tolist(), int(0.07 * site.radius * 16), (15, 15, 20), -1, cv2.LINE_AA, 4)
        picture = to_floats(rgb)
    else:
        for grow, light in ((0.5, 0.9), (0.42, 0.35)):
            rim = (
                to_points(0.5 * (box[1] + box[2])).tolist(),
                to_points(extent[0] * np.array([grow, 0.16 * grow])).tolist(),
            )
            cv2.ellipse(rgb, *rim, turn, 0, 360, to_paint(colour * light), -1, cv2.LINE_AA, 4)
            cv2.ellipse(cover, *rim, turn, 0, 360, 255, -1, cv2.LINE_AA, 4)
        x, _ = make_pixel_grid(size, size)
        across = (x - at[0]) / extent[0]
        picture = np.clip(to_floats(rgb) * (1.05 - 1.6 * (across + 0.15) ** 2)[..., None], 0, 1)
    held = Occluder(picture.astype(np.float32), to_floats(cover))
    return _hold(rng, site, held, at) if rng.random() < 0.7 else held


def draw_scarf(rng: Generator, site: Site) -> Occluder:
    """Draw a scarf or a collar turned up, in rolls below the chin."""
    size = site.size
    rgb, cover = _draw_shapes(size)
    colour, dark = pick_colour(rng), np.float32(rng.uniform(0.5, 0.8))
    for curve, width in _sample_collar(rng, site, int(rng.integers(2, 5))):
        cv2.polylines(cover, [curve], False, 255, width, cv2.LINE_AA, 4)
        for share in (1.0, 0.7, 0.4):
            tone = to_paint(colour * (dark + (1 - dark) * np.float32(1.2 - share)))
            cv2.polylines(rgb, [curve], False, tone, max(1, round(width * share)), cv2.LINE_AA, 4)
    picture = blur(to_floats(rgb), 0.03 * site.radius)
    if rng.random() < 0.5:
        x, y = make_grid(size)
        stripe = np.sin((x + rng.normal(0, 1) * y) * rng.uniform(40, 200)) > rng.uniform(-0.3, 0.8)
        picture = mix(picture, picture * pick_colour(rng), stripe.astype(np.float32))
    picture = picture * (1 + rng.uniform(0, 0.08) * draw_grain(rng, size, size))[..., None]
    return Occluder(np.clip(picture, 0, 1).astype(np.float32), to_floats(cover), Label.CLOTHES)


def draw_fur_collar(rng: Generator, site: Site) -> Occluder:
    """Draw a fur collar: many short hairs that are not the person's own."""
    size = site.size
    rgb, cover = _draw_shapes(size)
    colour = pick_colour(rng) if rng.random() < 0.3 else pick_hue(rng, 0.04, 0.12, 0.6)
    curves = _sample_collar(rng, site, 1)
    path = curves[0][0][:, :].astype(np.float64) / 16
    cv2.polylines(cover, [curves[0][0]], False, 255, curves[0][1], cv2.LINE_AA, 4)
    rgb[:] = np.round(np.clip(colour * 0.35, 0, 1) * 255)
    for level in range(14):
        root = path[rng.integers(len(path), size=90)] + rng.normal(0, 0.13, (90, 2)) * site.radius
        away = root - np.array(site.centre)
        away = away / np.linalg.norm(away, axis=1, keepdims=True) + rng.normal(0, 0.5, (90, 2))
        hairs = list(to_points(np.stack([root, root + away * site.radius * rng.uniform(0.1, 0.25)], 1)))
        tone = to_paint(colour * np.float32((0.4 + 0.06 * level) * rng.uniform(0.8, 1.2)))
        cv2.polylines(rgb, hairs, False, tone, 1, cv2.LINE_AA, 4)
        cv2.polylines(cover, hairs, False, 255, 1, cv2.LINE_AA, 4)
    return Occluder(to_floats(rgb), to_floats(cover), Label.CLOTHES)


def _sample_collar(rng: Generator, site: Site, count: int) -> list[tuple[np.ndarray, int]]:
    """Sample arcs below the chin, from one shoulder to the other, with their widths in pixels."""
    arcs = []
    s = np.linspace(-1, 1, 25)
    lift, wide = rng.uniform(0.95, 1.35), rng.uniform(0.85, 1.3)
    for i in range(count):
        x = wide * (1 + 0.2 * i) * s + rng.normal(0, 0.06)
        y = lift + 0.22 * i + 0.35 * (1 - s**2) + rng.normal(0, 0.08) * s
        points = np.array(site.centre) + site.radius * np.stack([x, y], -1)
        arcs.append((to_points(points), max(2, round(site.radius * rng.uniform(0.28, 0.5)))))
    return arcs[::-1]


def draw_branch(rng: Generator, site: Site) -> Occluder:
    """Draw a branch with leaves that reaches in from an edge, or a single leaf."""
    size = site.size
    rgb, cover = _draw_shapes(size)
    start = rng.uniform(0, size, 2)
    start[rng.integers(2)] = rng.choice([-0.02, 1.02]) * size
    end = np.array(site.centre) + rng.normal(0, 1.0, 2) * site.radius
    bow = rng.normal(0, 0.2) * (end - start)[::-1] * (1, -1)
    t = np.linspace(0, 1, 14)[:, None]
    curve = start + (end - start) * t + bow * (4 * t * (1 - t))
    width = max(1, round(size * rng.uniform(0.004, 0.02)))
    for canvas, tone in ((rgb, to_paint(pick_hue(rng, 0.06, 0.12, 0.6))), (cover, 255)):
        cv2.polylines(canvas, [to_points(curve)], False, tone, width, cv2.LINE_AA, 4)
    low, high = (0.2, 0.38) if rng.random() < 0.7 else (0.0, 1.0)
    length = site.radius * rng.uniform(0.2, 0.5)
    for _ in range(int(rng.integers(1, 16))):
        joint = curve[rng.integers(3, len(curve))]
        turn = rng.uniform(0, 2 * np.pi)
        centre = to_points(joint + length * np.array([np.cos(turn), np.sin(turn)])).tolist()
        axes = to_points(length * np.array([1, rng.uniform(0.25, 0.6)])).tolist()
        leaf = to_paint(pick_hue(rng, low, high))
        for canvas, tone in ((rgb, leaf), (cover, 255)):
            cv2.ellipse(canvas, centre, axes, float(np.degrees(turn)), 0, 360, tone, -1, cv2.LINE_AA, 4)
    sigma = rng.uniform(0, 0.012) * size  # close to the camera, so often out of focus
    alpha = blur(to_floats(cover), sigma)
    return Occluder(blur(to_floats(rgb), sigma) / np.maximum(alpha, 0.05)[..., None], alpha)


def draw_frame(rng: Generator, site: Site) -> Occluder:
    """Draw one to four sides of a picture frame, a window or a page's white edge."""
    x, y = make_grid(site.size)
    widths = (rng.uniform(0.015, 0.09, 4) * (rng.random(4) < 0.75)).astype(np.float32)
    depth = np.stack(
        [widths[0] - x, widths[1] - y, widths[2] - 1 + x, widths[3] - 1 + y]
    )  # inwards from the inner edge
    inside = depth.max(0)
    colour = pick_hue(rng, 0.06, 0.14, 0.8) if rng.random() < 0.5 else pick_colour(rng)
    profile = 0.75 + rng.uniform(0, 0.4) * np.sin(inside * rng.uniform(60, 200))
    bevel = np.array([0.95, 0.8, 1.05, 1.15], np.float32)[depth.argmax(0)]
    picture = np.clip(colour * (profile * bevel)[..., None], 0, 1).astype(np.float32)
    return Occluder(picture, np.clip(inside * site.size, 0, 1).astype(np.float32))


OCCLUDERS: dict[str, Callable[[Generator, Site], Occluder]] = {
    "hand_at_face": draw_hand_at_face,
    "hand_at_cheek": draw_hand_at_face,  # twice: hands are the most frequent of all
    "fingers_in_hair": draw_fingers_in_hair,
    "strap": draw_strap,
    "microphone": draw_microphone,
    "cup_or_phone": draw_cup_or_phone,
    "scarf": draw_scarf,
    "fur_collar": draw_fur_collar,
    "branch": draw_branch,
    "frame": draw_frame,
}
SCENERY = ("branch", "frame")
