"""What is behind people in photographs and paintings, with texture: leaves, bricks, books, other people, fur.

Many kinds resemble hair, skin or shoulders on purpose, because a plain backdrop teaches a network to call every
texture hair. Each kind takes a generator and a size and returns a picture (size, size, 3), sRGB-encoded in [0, 1].
"""

from __future__ import annotations

import string
from collections.abc import Callable

import cv2
import numpy as np

from portrait360.synth.photography.fields import (
    HAIR_TONES,
    SKIN_TONES,
    Generator,
    blur,
    draw_grain,
    draw_noise,
    fill,
    make_grid,
    mix,
    pick_colour,
    pick_hue,
    pick_tone,
    resize,
    to_floats,
    to_paint,
    to_points,
)
from portrait360.synth.render.backgrounds import random_background
from portrait360.utils.array_types import F32, Bytes, Floats

Painter = Callable[[Generator, int], Floats]

FOCUS = 0.35  # share of the backgrounds that are as sharp as the person
WIDEST_BLUR = 0.045  # deviation of the widest blur, in image sides


def sample_background(rng: Generator, size: int) -> F32:
    """Return a random background, sharp or out of focus, evenly or unevenly lit."""
    names = list(BACKGROUNDS)
    weights = np.array([BACKGROUNDS[name][1] for name in names])
    paint = BACKGROUNDS[names[rng.choice(len(names), p=weights / weights.sum())]][0]
    sigma = 0.0 if rng.random() < FOCUS else float(np.exp(rng.uniform(np.log(0.002), np.log(WIDEST_BLUR)))) * size
    halve = sigma > 3  # what is blurred so far may as well be drawn at half the size
    picture = paint(rng, size // 2 if halve else size)
    picture = resize(blur(picture, sigma / 2), size, size) if halve else blur(picture, sigma)
    if rng.random() < 0.5:
        picture = _light_unevenly(rng, picture)
    return np.clip(picture, 0, 1).astype(np.float32)


def _light_unevenly(rng: Generator, picture: Floats) -> Floats:
    x, y = make_grid(len(picture))
    slope = rng.normal(0, 0.5, 2)
    return picture * (rng.uniform(0.75, 1.35) + slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None]


def paint_plain_room(rng: Generator, size: int) -> Floats:
    """Return a plain wall, a gradient, clouds or a blurred room; half the size is enough for what is so smooth."""
    half = random_background(rng, max(size // 2, 1))
    return resize(half, size, size)


def paint_foliage(rng: Generator, size: int) -> Floats:
    """Return leaves, dark behind and light in front."""
    low, high = (0.2, 0.42) if rng.random() < 0.75 else (0.02, 0.17) if rng.random() < 0.6 else (0.0, 1.0)
    canvas = fill(size, pick_hue(rng, low, high) * np.float32(0.2))
    length = rng.uniform(0.02, 0.09) * size
    count = int(np.clip(3 * (size / length) ** 2, 120, 420))
    centres, angles = rng.uniform(0, size, (count, 2)), rng.uniform(0, 360, count)
    palette = [pick_hue(rng, low, high) for _ in range(5)]
    for i in range(count):
        depth = 0.25 + 0.75 * i / count
        axes = length * rng.uniform(0.6, 1.2) * np.array([1.0, rng.uniform(0.25, 0.6)])
        colour = to_paint(palette[rng.integers(5)] * np.float32(depth * rng.uniform(0.7, 1.1)))
        centre, radii = to_points(centres[i]).tolist(), to_points(axes).tolist()
        cv2.ellipse(canvas, centre, radii, float(angles[i]), 0, 360, colour, -1, cv2.LINE_AA, 4)
    return to_floats(canvas)


def paint_bricks(rng: Generator, size: int) -> Floats:
    """Return bricks or tiles with joints, level or slanted."""
    x, y = make_grid(size)
    turn = rng.normal(0, 0.06)
    u, v = x + turn * (y - 0.5), y - turn * (x - 0.5)
    height = rng.uniform(0.04, 0.16)
    width = height * float(rng.choice([1.0, 2.0, 3.0]))
    row = np.floor(v / height)
    u = u / width + 0.5 * (row % 2) * (rng.random() < 0.6) + 8
    column = np.floor(u)
    tones = rng.normal(1, rng.uniform(0, 0.2), (32, 64)).astype(np.float32)
    tone = tones[row.astype(np.int32) % 32, column.astype(np.int32) % 64]
    base = pick_colour(rng) if rng.random() < 0.5 else pick_hue(rng, 0.0, 0.08, 0.7)
    wall = base * (tone * (0.85 + 0.3 * draw_noise(rng, size, size, size / 4, 2)))[..., None]
    edge = np.minimum(
        np.minimum(u - column, 1 - u + column) * width, np.abs((v / height - row) % 1 - 0.5) * -height + height / 2
    )
    joint = np.clip(1.5 - edge / (rng.uniform(0.02, 0.08) * height + 0.5 / size), 0, 1)
    return mix(wall, pick_colour(rng), joint)


def paint_bokeh(rng: Generator, size: int) -> Floats:
    """Return lights out of focus as discs over a dark gradient."""
    x, y = make_grid(size)
    picture = mix(pick_colour(rng) * 0.4, pick_colour(rng) * 0.4, np.clip(y + 0.3 * (x - 0.5), 0, 1))
    radius = rng.uniform(0.015, 0.08) * size
    palette = [pick_hue(rng, 0, 1) for _ in range(3)] if rng.random() < 0.5 else [pick_hue(rng, 0.02, 0.16)]
    for _ in range(3):  # discs of one layer hide, those of different layers add
        layer = np.zeros((size, size, 3), np.uint8)
        for _ in range(int(rng.integers(3, 14))):
            colour = to_paint(palette[rng.integers(len(palette))] * np.float32(rng.uniform(0.3, 0.9)))
            centre = to_points(rng.uniform(0, size, 2)).tolist()
            cv2.circle(layer, centre, int(radius * rng.uniform(0.7, 1.3) * 16), colour, -1, cv2.LINE_AA, 4)
        picture = picture + to_floats(layer)
    return np.clip(picture, 0, 1)


def paint_fabric(rng: Generator, size: int) -> Floats:
    """Return a curtain or a cloth in folds, plain or striped."""
    x, y = make_grid(size)
    angle = rng.normal(0, 0.25) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    along = y * np.cos(angle) - x * np.sin(angle)
    bent = across + rng.uniform(0.02, 0.2) * draw_noise(rng, size, size, rng.uniform(2, 5))
    folds = rng.uniform(3, 16) * 2 * np.pi
    shade = 0.5 + 0.5 * np.sin(folds * bent + rng.uniform(0, 6) + 0.8 * np.sin(0.37 * folds * bent))
    cloth = np.broadcast_to(pick_colour(rng), (size, size, 3))
    if rng.random() < 0.4:
        stripes = np.sin(folds * rng.uniform(0.5, 3) * bent) > rng.uniform(-0.5, 0.8)
        if rng.random() < 0.4:
            stripes = stripes ^ (np.sin(folds * along) > 0)
        cloth = mix(cloth, pick_colour(rng), stripes.astype(np.float32))
    depth = rng.uniform(0.3, 0.9)
    return np.clip(cloth * (1 - depth + depth * shade + rng.uniform(0, 0.15) * shade**6)[..., None], 0, 1)


def paint_books(rng: Generator, size: int) -> Floats:
    """Return shelves of books."""
    canvas = fill(size, pick_colour(rng) * np.float32(0.3))
    height = rng.uniform(0.16, 0.4) * size
    board = pick_colour(rng)
    y = -rng.uniform(0, height)
    while y < size:
        x, bottom = -rng.uniform(0, 0.05) * size, int(y + height * 0.93)
        while x < size:
            width = rng.uniform(0.012, 0.06) * size
            top = int(y + height * rng.uniform(0.08, 0.4))
            if rng.random() < 0.93:
                colour = pick_colour(rng) * np.float32(rng.uniform(0.6, 1))
                cv2.rectangle(canvas, (int(x), top), (int(x + width) - 1, bottom), to_paint(colour), -1)
                title = top + int(rng.uniform(0.2, 0.5) * (bottom - top))
                stripe = (int(x), title), (int(x + width) - 1, title + int(0.1 * height))
                cv2.rectangle(canvas, *stripe, to_paint(pick_colour(rng)), -1)
            x += width
        cv2.rectangle(canvas, (0, bottom), (size, int(y + height)), to_paint(board), -1)
        y += height
    return to_floats(canvas)


def paint_posters(rng: Generator, size: int) -> Floats:
    """Return posters, pictures or a striped wallpaper on a wall."""
    x, y = make_grid(size)
    wall = np.broadcast_to(pick_colour(rng), (size, size, 3))
    if rng.random() < 0.6:
        angle, count = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])), rng.uniform(4, 40)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * count * 2 * np.pi)
        wall = mix(wall, pick_colour(rng), np.clip(wave * 4 + rng.uniform(-2, 2), 0, 1).astype(np.float32))
    canvas = np.ascontiguousarray(np.round(np.clip(wall, 0, 1) * 255).astype(np.uint8))
    for _ in range(int(rng.integers(0, 5))):
        centre, half = rng.uniform(0, size, 2), rng.uniform(0.06, 0.28, 2) * size
        turn = rng.normal(0, 4)
        for inset in (1.0, rng.uniform(0.75, 0.98), rng.uniform(0.1, 0.7)):
            box = np.asarray(cv2.boxPoints((centre.tolist(), (2 * half * inset).tolist(), turn)), np.float32)
            cv2.fillPoly(canvas, [to_points(box)], to_paint(pick_colour(rng)), cv2.LINE_AA, 4)
    return to_floats(canvas)


def paint_text(rng: Generator, size: int) -> Floats:
    """Return lines of writing on a wall or a page."""
    canvas = fill(size, pick_colour(rng))
    letters = np.array(list(string.ascii_letters + "      .,!?0123456789"))
    ink, scale = to_paint(pick_colour(rng)), size / 256 * rng.uniform(0.3, 2.2)
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_DUPLEX]))
    thick = max(1, round(scale * rng.uniform(1, 3)))
    left, y = int(rng.uniform(-0.1, 0.2) * size), rng.uniform(0, 30) * scale
    while y < size + 20:
        text = "".join(rng.choice(letters, int(rng.integers(6, 40))))
        cv2.putText(canvas, text, (left, int(y)), font, scale, ink, thick, cv2.LINE_AA)
        y += scale * rng.uniform(28, 36)
    return to_floats(canvas)


def paint_sky(rng: Generator, size: int) -> Floats:
    """Return a sky with clouds over a horizon of hills, water or fields."""
    x, y = make_grid(size)
    dusk = rng.random() < 0.35
    zenith = pick_hue(rng, 0.55, 0.65, 0.8)
    low = pick_hue(rng, 0.0, 0.14, 0.8) if dusk else zenith * 0.4 + 0.6
    horizon = rng.uniform(0.3, 1.1)
    sky = mix(zenith, low, np.clip(y / horizon, 0, 1) ** rng.uniform(0.7, 2))
    cover = draw_noise(rng, size, size, rng.uniform(2, 7), 4)
    cloud = np.clip((cover - rng.uniform(0.4, 0.62)) * rng.uniform(3, 12), 0, 1)
    sky = mix(sky, np.float32(rng.uniform(0.7, 1)) * (0.5 * low + 0.5), cloud)
    for step in range(int(rng.integers(1, 4))):
        ridge = draw_noise(rng, 1, size, rng.uniform(2, 20), 3)[0] * rng.uniform(0, 0.2)
        land = np.clip((y - horizon - 0.08 * step + ridge[None]) * size + 0.5, 0, 1)
        ground = pick_hue(rng, 0.08, 0.45, 0.6) if rng.random() < 0.7 else 0.7 * zenith
        rough = 0.8 + 0.4 * draw_noise(rng, size, size, size / 5, 2)
        sky = mix(sky, ground * np.float32(0.8 - 0.2 * step) * rough[..., None], land)
    return np.clip(sky, 0, 1)


def paint_street(rng: Generator, size: int) -> Floats:
    """Return houses with windows above a road."""
    canvas = fill(size, pick_hue(rng, 0.5, 0.65, 0.4) if rng.random() < 0.7 else pick_colour(rng))
    ground = int(rng.uniform(0.55, 1.0) * size)
    x = -rng.uniform(0, 0.2) * size
    while x < size:
        width, top = rng.uniform(0.12, 0.45) * size, int(rng.uniform(-0.1, 0.45) * size)
        left, right = int(x), int(x + width)
        cv2.rectangle(canvas, (left, top), (right, size), to_paint(pick_colour(rng)), -1)
        step = rng.uniform(0.05, 0.13, 2) * size
        glass, share = pick_colour(rng), rng.uniform(0.35, 0.75, 2)
        for column in np.arange(left + 0.3 * step[0], right - step[0] * share[0], step[0]):
            for row in np.arange(top + 0.4 * step[1], ground, step[1]):
                corner = np.array([column, row])
                low, high = corner.astype(int).tolist(), (corner + step * share).astype(int).tolist()
                light = to_paint(glass * np.float32(rng.uniform(0.6, 1.2)))
                cv2.rectangle(canvas, low, high, light, -1)
        x += width
    cv2.rectangle(canvas, (0, ground), (size, size), to_paint(pick_colour(rng)), -1)
    for _ in range(int(rng.integers(0, 4))):  # cars, signs, people far away
        corner, extent = rng.uniform(0, 1, 2) * (size, 0.3 * size), rng.uniform(0.02, 0.2, 2) * size
        a = (int(corner[0]), int(ground - 0.1 * size + corner[1]))
        cv2.rectangle(canvas, a, (a[0] + int(extent[0]), a[1] + int(extent[1])), to_paint(pick_colour(rng)), -1)
    return to_floats(canvas)


def paint_studio(rng: Generator, size: int) -> Floats:
    """Return a paper or canvas backdrop, mottled, darker towards the corners."""
    x, y = make_grid(size)
    colour = pick_colour(rng)
    mottle = draw_noise(rng, size, size, rng.uniform(2, 6), 4) - 0.5
    distance = np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.2, 0.7))
    light = 1.1 + rng.uniform(0, 0.8) * mottle - rng.uniform(0.2, 1.1) * distance
    fine = rng.uniform(0, 0.03) * draw_grain(rng, size, size)
    return np.clip(colour * (light + fine)[..., None], 0, 1)


def paint_strokes(rng: Generator, size: int) -> Floats:
    """Return the brushed dark ground of an old portrait, or a bright modern one."""
    old = rng.random() < 0.7
    base = pick_hue(rng, 0.04, 0.3, 0.7) * np.float32(0.45) if old else pick_colour(rng)
    canvas = fill(size, base)
    field = draw_noise(rng, 32, 32, 3) * rng.uniform(2, 12)
    length, width = rng.uniform(0.03, 0.15) * size, max(1, int(rng.uniform(0.012, 0.05) * size))
    tones = [base + rng.normal(0, 0.05 if old else 0.12) + rng.normal(0, 0.02 if old else 0.08, 3) for _ in range(16)]
    for tone in tones:
        start = rng.uniform(0, size, (36, 2))
        cell = (start / size * 32).astype(int).clip(0, 31)
        angle = field[cell[:, 1], cell[:, 0]] + rng.normal(0, 0.2, 36)
        ends = start + length * np.stack([np.cos(angle), np.sin(angle)], -1)
        cv2.polylines(
            canvas, list(to_points(np.stack([start, ends], 1))), False, to_paint(tone), width, cv2.LINE_AA, 4
        )
    x, y = make_grid(size)
    glow = 1.15 - rng.uniform(0.2, 1.0) * np.hypot(x - rng.uniform(0.2, 0.8), y - 0.4)
    return np.clip(blur(to_floats(canvas), size / 256) * glow[..., None], 0, 1)


def paint_cartoon(rng: Generator, size: int) -> Floats:
    """Return flat colours: bare, rays, dots, or big shapes, with or without ink."""
    x, y = make_grid(size)
    a, b = pick_hue(rng, 0, 1), pick_hue(rng, 0, 1)
    pattern = rng.random()
    if pattern < 0.25:
        rays = np.sin(np.arctan2(y - rng.uniform(0.2, 0.9), x - 0.5) * int(rng.integers(6, 20)))
        return mix(a, b, np.clip(rays * 20, 0, 1))
    if pattern < 0.45:
        count = rng.uniform(6, 30) * 2 * np.pi
        dots = np.sin(count * x) * np.sin(count * y) + rng.uniform(-0.6, 0.3)
        return mix(a, b, np.clip(dots * 8, 0, 1))
    canvas = fill(size, a)
    ink = rng.random() < 0.5
    for _ in range(int(rng.integers(0, 9))):
        centre, reach = rng.uniform(0, size, 2), rng.uniform(0.05, 0.3) * size
        turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 12))))
        ring = centre + reach * rng.uniform(0.6, 1.2, (len(turn), 1)) * np.stack([np.cos(turn), np.sin(turn)], -1)
        cv2.fillPoly(canvas, [to_points(ring)], to_paint(pick_hue(rng, 0, 1)), cv2.LINE_AA, 4)
        if ink:
            cv2.polylines(canvas, [to_points(ring)], True, (20, 20, 20), max(1, size // 128), cv2.LINE_AA, 4)
    return to_floats(canvas)


def paint_body_wall(rng: Generator, size: int) -> Floats:
    """Return a wall in the colour of skin or hair, smooth or rough."""
    tones = SKIN_TONES if rng.random() < 0.5 else HAIR_TONES
    t = draw_noise(rng, size, size, rng.uniform(1, 40), 3)
    wall = mix(pick_tone(rng, tones), pick_tone(rng, tones), t)
    return np.clip(wall * (1 + rng.uniform(0, 0.06) * draw_grain(rng, size, size))[..., None], 0, 1)


def paint_fibres(rng: Generator, size: int) -> Floats:
    """Return grass, reeds, straw or a fur throw: what resembles hair most."""
    kind = rng.random()
    tone = (
        pick_hue(rng, 0.1, 0.38, 0.8)
        if kind < 0.4
        else pick_tone(rng, HAIR_TONES)
        if kind < 0.85
        else pick_colour(rng)
    )
    canvas = fill(size, tone * np.float32(0.3))
    length, lean = rng.uniform(0.08, 0.6) * size, rng.normal(0, 0.5) + (rng.uniform(0, 6) if kind > 0.6 else 0)
    spread, bend, width = (
        rng.uniform(0.05, 0.5),
        rng.normal(0, 0.8),
        max(1, round(rng.uniform(0.4, 2.2) * size / 256)),
    )
    s = np.linspace(0, 1, 7)
    levels = 10
    for level in range(levels):
        count = 45
        start = rng.uniform(-0.2, 1.2, (count, 1, 2)) * size
        angle = -np.pi / 2 + lean + rng.normal(0, spread, (count, 1)) + bend * s * rng.uniform(0.3, 1.5, (count, 1))
        steps = np.stack([np.cos(angle), np.sin(angle)], -1) * length / len(s)
        curves = start + np.cumsum(steps, 1)
        light = to_paint(tone * np.float32((0.35 + 0.75 * level / levels) * rng.uniform(0.85, 1.15)))
        cv2.polylines(canvas, list(to_points(curves)), False, light, width, cv2.LINE_AA, 4)
    return to_floats(canvas)


def paint_crowd(rng: Generator, size: int) -> Floats:
    """Return heads and shoulders in random colours, before a wall."""
    x, y = make_grid(size)
    wall = mix(pick_colour(rng), pick_colour(rng), y)
    canvas = np.ascontiguousarray((np.clip(wall, 0, 1) * 255).astype(np.uint8))
    for step in range(int(rng.integers(1, 7))):
        radius = rng.uniform(0.04, 0.2) * size * (0.6 + 0.1 * step)
        _draw_figure(rng, canvas, rng.uniform(0, 1, 2) * (size, 0.8 * size), radius)
    return to_floats(canvas)


def _draw_figure(rng: Generator, canvas: Bytes, at: Floats, radius: float) -> None:
    """Draw hair, shoulders, neck, face and perhaps features, in flat tones."""
    skin = pick_tone(rng, SKIN_TONES) if rng.random() < 0.75 else pick_colour(rng)
    hair = pick_tone(rng, HAIR_TONES) if rng.random() < 0.75 else pick_colour(rng)
    cloth, shade = pick_colour(rng), np.float32(0.75)

    def disc(x: float, y: float, wide: float, high: float, colour: Floats, half: bool = False) -> None:
        centre = to_points(at + radius * np.array([x, y])).tolist()
        axes = to_points(radius * np.array([wide, high])).tolist()
        cv2.ellipse(canvas, centre, axes, 0, 180 if half else 0, 360, to_paint(colour), -1, cv2.LINE_AA, 4)

    long = rng.random() < 0.5
    if long:
        disc(0, 0.5, 1.15, rng.uniform(1.3, 2.2), hair * shade)
    disc(0, 4.3, rng.uniform(1.9, 2.6), 2.7, cloth)
    disc(0, 1.2, 0.42, 0.8, skin * shade)
    disc(0, -0.1, 0.95, 1.2, hair)
    disc(rng.normal(0, 0.15), 0.12, 0.78, 1.02, skin)
    disc(0, -0.35, 0.9, rng.uniform(0.4, 1.0), hair, half=True)
    if rng.random() < 0.6:
        for side in (-0.32, 0.32):
            disc(side, 0.0, 0.13, 0.07, skin * np.float32(0.3))
            disc(side, -0.2, 0.2, 0.05, hair)
        disc(0, 0.3, 0.08, 0.2, skin * np.float32(0.85))
        disc(0, 0.65, 0.25, 0.07, skin * np.array([0.8, 0.5, 0.5], np.float32))


BACKGROUNDS: dict[str, tuple[Painter, float]] = {
    "plain_room": (paint_plain_room, 0.25),
    "foliage": (paint_foliage, 0.07),
    "bricks": (paint_bricks, 0.04),
    "bokeh": (paint_bokeh, 0.04),
    "fabric": (paint_fabric, 0.06),
    "books": (paint_books, 0.04),
    "posters": (paint_posters, 0.05),
    "text": (paint_text, 0.03),
    "sky": (paint_sky, 0.07),
    "street": (paint_street, 0.06),
    "studio": (paint_studio, 0.07),
    "strokes": (paint_strokes, 0.05),
    "cartoon": (paint_cartoon, 0.05),
    "body_wall": (paint_body_wall, 0.04),
    "fibres": (paint_fibres, 0.04),
    "crowd": (paint_crowd, 0.06),
}
