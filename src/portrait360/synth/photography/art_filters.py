"""Turn a photo into a painting, a drawing or a print, in place: edges stay where they are, within a pixel.

Each filter takes a generator and a picture (h, w, 3), sRGB-encoded in [0, 1], and returns such a picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.synth.photography.fields import (
    LUMA,
    Generator,
    blur,
    draw_grain,
    draw_noise,
    make_pixel_grid,
    mix,
    pick_hue,
)
from portrait360.utils.array_types import Floats


def paint_in_oil(rng: Generator, rgb: Floats) -> Floats:
    """Smear the picture along its contours, and light the relief of the brush's bristles."""
    h, w = rgb.shape[:2]
    smooth = flatten(rgb, int(rng.integers(1, 4)))
    tangent = find_tangents(rng, smooth)
    length = rng.uniform(2, 6) * h / 256
    bristles = draw_grain(rng, h, w)
    smeared = smear(np.dstack([smooth, bristles]), tangent, length)
    relief = blur(np.asarray(smeared[..., 3], np.float32), 0.6)
    bump = cv2.Sobel(relief, -1, 1, 0) + cv2.Sobel(relief, -1, 0, 1)
    painted = smeared[..., :3] + rng.uniform(0.0, 0.03) * bump[..., None]
    levels = rng.uniform(8, 24)  # a palette
    painted = mix(painted, np.round(painted * levels) / levels, np.full((h, w), 0.5, np.float32))
    if rng.random() < 0.5:
        painted = lay_on_canvas(rng, painted)
    return age_varnish(rng, painted) if rng.random() < 0.35 else painted


def flatten(rgb: Floats, radius: int) -> Floats:
    """Take the mean of the calmest of the four quadrants around each pixel (Kuwahara): patches with sharp edges."""
    side = 2 * radius
    padded = cv2.copyMakeBorder(rgb, side, side, side, side, cv2.BORDER_REFLECT_101)
    grey = padded @ LUMA
    mean = cv2.boxFilter(np.dstack([padded, grey * grey]), -1, (radius + 1, radius + 1), anchor=(0, 0))
    variance = mean[..., 3] - (mean[..., :3] @ LUMA) ** 2
    h, w = rgb.shape[:2]
    best, least = np.zeros_like(rgb), np.full((h, w), np.inf, np.float32)
    for dy in (0, radius):
        for dx in (0, radius):
            y, x = side - radius + dy, side - radius + dx
            calm = variance[y : y + h, x : x + w] < least
            least = np.where(calm, variance[y : y + h, x : x + w], least)
            best = np.where(calm[..., None], mean[y : y + h, x : x + w, :3], best)
    return best


def find_tangents(rng: Generator, rgb: Floats) -> Floats:
    """Find the unit directions (h, w, 2) along contours; where there are none, swirl at random."""
    grey = rgb @ LUMA
    gx, gy = (np.asarray(cv2.Sobel(grey, -1, *axis), np.float32) for axis in ((1, 0), (0, 1)))
    tensor = blur(np.dstack([gx * gx - gy * gy, 2 * gx * gy]), 2.0)
    swirl = 2 * np.pi * draw_noise(rng, *_sides(grey), 4)
    tensor += 2e-3 * np.dstack([np.cos(swirl), np.sin(swirl)])
    angle = 0.5 * np.arctan2(tensor[..., 1], tensor[..., 0]) + np.float32(np.pi / 2)
    return np.dstack([np.cos(angle), np.sin(angle)])


def _sides(picture: Floats) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]


def smear(picture: Floats, tangents: Floats, length: float) -> Floats:
    """Average the picture along its tangents, up to `length` pixels to each side."""
    x, y = make_pixel_grid(*picture.shape[:2])
    total = picture.copy()
    for step in (-1.0, -0.66, -0.33, 0.33, 0.66, 1.0):
        map_x, map_y = (g + np.float32(step * length) * tangents[..., i] for i, g in enumerate((x, y)))
        total += cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return total / 7


def lay_on_canvas(rng: Generator, rgb: Floats) -> Floats:
    """Let the weave of a canvas show."""
    x, y = make_pixel_grid(*rgb.shape[:2])
    pitch = np.float32(2 * np.pi / rng.uniform(2.2, 5))
    uneven = 2 * draw_noise(rng, *_sides(rgb), 12)
    weave = np.sin(pitch * x + uneven) * np.sin(pitch * y + uneven)
    return rgb * (1 + rng.uniform(0.03, 0.14) * weave)[..., None]


def age_varnish(rng: Generator, rgb: Floats) -> Floats:
    """Yellow and darken the picture, and crack it."""
    varnish = np.array([1.0, rng.uniform(0.82, 0.95), rng.uniform(0.5, 0.8)], np.float32)
    return crack(rng, rgb * varnish * np.float32(rng.uniform(0.75, 1)))


def crack(rng: Generator, rgb: Floats) -> Floats:
    """Draw craquelure: the borders between random cells."""
    h, w = rgb.shape[:2]
    seeds = np.ones((h, w), np.uint8)
    count = int(rng.uniform(60, 600))
    seeds[rng.integers(h, size=count), rng.integers(w, size=count)] = 0
    _, cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, cv2.DIST_MASK_5)
    edge = np.zeros((h, w), np.float32)
    edge[:-1] += cells[1:] != cells[:-1]
    edge[:, :-1] += cells[:, 1:] != cells[:, :-1]
    patchy = np.clip(3 * draw_noise(rng, h, w, 4) - 1, 0, 1)
    return rgb * (1 - rng.uniform(0.1, 0.5) * np.minimum(blur(edge, 0.5), 1) * patchy)[..., None]


def paint_in_watercolour(rng: Generator, rgb: Floats) -> Floats:
    """Thin the colours, let pigment gather at edges, and let the paper show."""
    h, w = rgb.shape[:2]
    wash = flatten(rgb, int(rng.integers(2, 4)))
    wash = 1 - (1 - wash) * (rng.uniform(0.5, 1.0) + 0.5 * (draw_noise(rng, h, w, 6, 3) - 0.5))[..., None]
    edges = np.abs(blur(wash, 1.2 * h / 256) - wash).sum(-1)
    paper = draw_noise(rng, h, w, w / 2.5, 1) - 0.5
    wash = wash * (1 - np.minimum(rng.uniform(0.3, 1.2) * edges, 0.4) + rng.uniform(0.03, 0.2) * paper)[..., None]
    return lift_to_paper(rng, wash) if rng.random() < 0.4 else wash


def lift_to_paper(rng: Generator, rgb: Floats) -> Floats:
    """Leave the sheet white towards its rim."""
    h, w = rgb.shape[:2]
    x, y = make_pixel_grid(h, w)
    rim = np.minimum(np.minimum(x, w - 1 - x) / w, np.minimum(y, h - 1 - y) / h)
    bare = np.clip(1 - (rim + 0.08 * draw_noise(rng, h, w, 8, 2) - 0.04) / rng.uniform(0.02, 0.12), 0, 1)
    return mix(rgb, np.array([0.96, 0.95, 0.92], np.float32), bare)


def draw_in_pencil(rng: Generator, rgb: Floats) -> Floats:
    """Draw with graphite, chalk or coloured pencils: contours, tone in strokes, grain of the paper."""
    h, w = rgb.shape[:2]
    grey = rgb @ LUMA
    contour = np.clip(grey / np.maximum(blur(grey, rng.uniform(1.5, 5) * h / 256), 0.02), 0, 1) ** rng.uniform(1, 4)
    if rng.random() < 0.4:  # strokes follow the form, as hair is drawn
        strokes = smear(draw_grain(rng, h, w), find_tangents(rng, rgb), 5 * h / 256)
    else:
        x, y = make_pixel_grid(h, w)
        turn, pitch = rng.normal(0.8, 0.3), rng.uniform(0.8, 2.0)
        strokes = np.sin((x * np.cos(turn) + y * np.sin(turn)) * pitch + 5 * draw_noise(rng, h, w, 9)) * 0.5
    tooth = draw_grain(rng, h, w) * np.float32(rng.uniform(0.05, 0.25))
    dark = (1 - grey) * rng.uniform(0.4, 1.0)
    tone = 1 - np.clip(dark * (1 + rng.uniform(0.2, 0.9) * strokes + tooth), 0, 1)
    sheet = np.clip(contour * tone, 0, 1)
    paper = np.array([1.0, rng.uniform(0.93, 1), rng.uniform(0.82, 1)], np.float32) * np.float32(rng.uniform(0.8, 1))
    if rng.random() < 0.35:
        return mix(rgb * 0.7, paper, np.sqrt(sheet))  # coloured pencils
    ink = np.array([0.12, 0.11, 0.11], np.float32) if rng.random() < 0.7 else 0.5 * pick_hue(rng, 0.0, 0.1)
    return mix(ink, paper, sheet)


def draw_in_ink(rng: Generator, rgb: Floats) -> Floats:
    """Draw black lines where brightness falls off, over white paper, flat colours or black shadows."""
    h = rgb.shape[0]
    grey = rgb @ LUMA
    lines = find_lines(rng, grey, h / 256)
    if rng.random() < 0.5:
        shadow = np.clip((blur(grey, 0.7) - rng.uniform(0.12, 0.4)) * 12 + 0.5, 0, 1)
        return np.repeat((lines * shadow)[..., None], 3, 2)
    base = flatten(rgb, 2)
    faint = mix(base, np.ones(3, np.float32), np.full(grey.shape, rng.uniform(0, 0.8), np.float32))
    return faint * lines[..., None]


def find_lines(rng: Generator, grey: Floats, scale: float) -> Floats:
    """Return 0 on the dark side of edges and 1 elsewhere, with soft steps."""
    fine = rng.uniform(0.6, 1.1) * scale
    falling = blur(grey, 1.6 * fine) - blur(grey, fine)
    return 1 - np.clip((falling - rng.uniform(0.004, 0.015)) * rng.uniform(30, 90), 0, 1)


def shade_in_steps(rng: Generator, rgb: Floats) -> Floats:
    """Shade in a few flat steps of light, as cartoons are, often with outlines."""
    flat = flatten(rgb, int(rng.integers(1, 4)))
    light = flat.max(-1) + np.float32(1e-3)
    count = rng.uniform(2.5, 6)
    scaled = light * count
    step = np.floor(scaled) + np.clip((scaled % 1 - 0.5) * 6 + 0.5, 0, 1)
    flat = flat * ((step + 0.15) / (count * light))[..., None]
    grey = flat.mean(-1, keepdims=True)
    flat = grey + (flat - grey) * rng.uniform(1.0, 1.7)
    if rng.random() < 0.6:
        flat = flat * find_lines(rng, rgb @ LUMA, rgb.shape[0] / 256)[..., None]
    return flat


def posterise(rng: Generator, rgb: Floats) -> Floats:
    """Keep a few levels of each colour."""
    count = np.float32(rng.uniform(2.6, 6))
    scaled = blur(rgb, 0.5) * count
    step = np.floor(scaled) + np.clip((scaled % 1 - 0.5) * rng.uniform(3, 10) + 0.5, 0, 1)
    return step / count


def print_in_dots(rng: Generator, rgb: Floats) -> Floats:
    """Print in dots of one ink or of three, as newspapers and comics do."""
    h, w = rgb.shape[:2]
    x, y = make_pixel_grid(h, w)
    pitch = rng.uniform(2.4, 4.2) * h / 256
    colours = rgb if rng.random() < 0.6 else np.repeat((rgb @ LUMA)[..., None], 3, 2)
    dots = np.empty_like(rgb)
    for channel, turn in enumerate(np.radians([15.0, 75.0, 45.0]) if colours is rgb else [0.78] * 3):
        u, v = (x * np.cos(turn) + y * np.sin(turn)) / pitch, (y * np.cos(turn) - x * np.sin(turn)) / pitch
        screen = 0.5 + 0.25 * (np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v))
        dots[..., channel] = np.clip((colours[..., channel] - screen) * 3 + 0.5, 0, 1)
    return mix(rgb if colours is rgb else colours, dots, np.full((h, w), rng.uniform(0.4, 0.9), np.float32))
