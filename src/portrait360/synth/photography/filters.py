"""From a clean picture to one as cameras take it, time wears it, scanners read it and files keep it.

Labels stay as they are, so no filter moves an edge by more than a pixel: blurs are symmetric, nothing is warped. Each
filter takes a generator and a picture (h, w, 3), sRGB-encoded in [0, 1], and returns such a picture, perhaps a little
out of range; only `photograph` clips.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from portrait360.synth.photography import art_filters
from portrait360.synth.photography.fields import (
    LUMA,
    Generator,
    blur,
    draw_grain,
    draw_noise,
    make_pixel_grid,
    mix,
    pick_hue,
    resize,
    to_bytes,
    to_floats,
)
from portrait360.utils.array_types import F32, Floats

Filter = Callable[[Generator, Floats], Floats]


def photograph(rng: Generator, rgb: Floats, treatment: str | None = None) -> F32:
    """Return the picture as an ordinary photo or, less often, one in strong light, monochrome, painted or old.

    `treatment` names one of TREATMENTS instead of a random one.
    """
    if treatment is None:
        weights = np.array([share for _, share in TREATMENTS.values()])
        treatment = list(TREATMENTS)[rng.choice(len(weights), p=weights / weights.sum())]
    treat = TREATMENTS[treatment][0]
    return np.clip(treat(rng, rgb), 0, 1).astype(np.float32)


def take_photo(rng: Generator, rgb: Floats) -> Floats:
    """Change colours a little, and let lens, sensor and file do the rest."""
    rgb = adjust_light(rng, rgb, 0.25)
    rgb = adjust_colours(rng, rgb, 0.06)
    if rng.random() < 0.3:
        rgb = add_vignette(rng, rgb, 0.5)
    return finish_photo(rng, rgb)


def take_strong_photo(rng: Generator, rgb: Floats) -> Floats:
    """Take it in coloured light, against the light, in haze, or with a heavy filter."""
    rgb = adjust_light(rng, rgb, 0.45)
    names = rng.choice(list(STRONG), int(rng.integers(1, 3)), replace=False)
    for name in names:
        rgb = STRONG[name](rng, np.clip(rgb, 0, 1))
    return finish_photo(rng, rgb)


def take_monochrome(rng: Generator, rgb: Floats) -> Floats:
    return finish_photo(rng, tone_in_one_colour(rng, adjust_light(rng, rgb, 0.4)))


def make_art(rng: Generator, rgb: Floats) -> Floats:
    """Paint, draw or print it; more than half of these are blurred and compressed after that."""
    rgb = adjust_light(rng, rgb, 0.3)
    rgb = adjust_colours(rng, rgb, 0.1)
    name = rng.choice(list(ART), p=np.array(ART_WEIGHTS) / sum(ART_WEIGHTS))
    rgb = np.clip(ART[name](rng, np.clip(rgb, 0, 1)), 0, 1)
    if rng.random() < 0.3:
        rgb = tone_in_one_colour(rng, rgb)
    return compress(rng, blur(rgb, rng.uniform(0, 0.8))) if rng.random() < 0.6 else rgb


def scan_old_print(rng: Generator, rgb: Floats) -> Floats:
    """Fade it, scratch it, and scan it: half of the old prints are monochrome."""
    rgb = adjust_light(rng, rgb, 0.4)
    if rng.random() < 0.5:
        rgb = tone_in_one_colour(rng, rgb)
    rgb = add_grain(rng, blur(rgb, rng.uniform(0, 1.2)))
    for wear, share in ((fade, 0.8), (add_paper, 0.6), (scratch, 0.6), (stain, 0.35), (add_vignette, 0.3)):
        if rng.random() < share:
            rgb = wear(rng, rgb)
    return compress(rng, rgb) if rng.random() < 0.6 else rgb


def finish_photo(rng: Generator, rgb: Floats) -> Floats:
    """Blur, shrink, add noise and compress, each at times."""
    if rng.random() < 0.45:
        rgb = blur(rgb, rng.uniform(0.2, 1.0) if rng.random() < 0.8 else rng.uniform(1.0, 2.2))
    elif rng.random() < 0.12:
        rgb = shake(rng, rgb)
    if rng.random() < 0.25:
        rgb = lower_resolution(rng, rgb)
    if rng.random() < 0.25:
        rgb = add_grain(rng, rgb)
    elif rng.random() < 0.5:
        rgb = add_sensor_noise(rng, rgb)
    if rng.random() < 0.15:
        rgb = sharpen(rng, rgb)
    return compress(rng, rgb) if rng.random() < 0.65 else rgb


def adjust_light(rng: Generator, rgb: Floats, amount: float = 0.6) -> Floats:
    """Change exposure, contrast and the curve of tones."""
    rgb = np.clip(rgb, 0, 1) * np.float32(2 ** np.clip(rng.normal(0, amount), -1.2, 0.9))
    rgb = np.minimum(rgb, 1) if rng.random() < 0.5 else rgb / (1 + np.maximum(rgb - 0.6, 0))
    pivot, contrast = rng.uniform(0.3, 0.6), np.exp(rng.normal(0, 0.5 * amount))
    rgb = np.clip(pivot + (rgb - pivot) * np.float32(contrast), 0, 1)
    return np.asarray(cv2.pow(rgb.astype(np.float32), float(np.exp(rng.normal(0, 0.4 * amount)))), np.float32)


def adjust_colours(rng: Generator, rgb: Floats, amount: float = 0.2) -> Floats:
    """Change white balance, tint and saturation."""
    warmth, tint = rng.normal(0, amount, 2)
    rgb = rgb * np.exp(np.array([warmth, tint * 0.5, -warmth], np.float32))
    saturation = np.float32(np.clip(rng.normal(1.0, 3 * amount), 0.0, 2.2))
    grey = (rgb @ LUMA)[..., None]
    return grey + (rgb - grey) * saturation


def cast_colour(rng: Generator, rgb: Floats) -> Floats:
    """Tint everything, as under stage lights, neon or at dusk; shadows may get a tint of their own."""
    light = pick_hue(rng, 0, 1, 1.0)
    light = light / light.max()
    strength = np.float32(rng.uniform(0.3, 1.0))
    rgb = rgb * (1 - strength + strength * light)
    if rng.random() < 0.5:
        rgb = rgb + pick_hue(rng, 0, 1) * np.float32(0.3) * (1 - (rgb @ LUMA)[..., None]) ** 2
    return rgb


def split_light(rng: Generator, rgb: Floats) -> Floats:
    """Light the picture from two sides in two colours."""
    h, w = rgb.shape[:2]
    x, y = make_pixel_grid(h, w)
    turn = rng.uniform(0, 2 * np.pi)
    across = ((x / w - 0.5) * np.cos(turn) + (y / h - 0.5) * np.sin(turn)) * rng.uniform(1, 4)
    lights = [colour / colour.max() for colour in (pick_hue(rng, 0, 1, 1.0), pick_hue(rng, 0, 1, 1.0))]
    return rgb * mix(lights[0], lights[1], np.clip(across + 0.5, 0, 1).astype(np.float32)) * np.float32(1.3)


def add_vignette(rng: Generator, rgb: Floats, strongest: float = 1.0) -> Floats:
    h, w = rgb.shape[:2]
    x, y = make_pixel_grid(h, w)
    distance = np.hypot(x / w - rng.uniform(0.4, 0.6), y / h - rng.uniform(0.35, 0.6)) / 0.7
    fall = np.clip(1 - rng.uniform(0.2, strongest) * distance ** rng.uniform(1.5, 4), 0, 1)
    return rgb * fall.astype(np.float32)[..., None]


def leak_light(rng: Generator, rgb: Floats) -> Floats:
    """Let coloured light in from a side or a lamp, as on old film and in flares."""
    h, w = rgb.shape[:2]
    x, y = make_pixel_grid(h, w)
    at = rng.uniform(-0.2, 1.2, 2)
    at[rng.integers(2)] = rng.choice([-0.1, 1.1])
    glow = np.exp(-np.hypot(x / w - at[0], y / h - at[1]) * rng.uniform(1.2, 4)).astype(np.float32)
    colour = pick_hue(rng, -0.05, 0.15) if rng.random() < 0.6 else pick_hue(rng, 0, 1)
    light = colour * (np.float32(rng.uniform(0.4, 1.2)) * glow)[..., None]
    return 1 - (1 - np.clip(rgb, 0, 1)) * (1 - np.clip(light, 0, 1))


def add_haze(rng: Generator, rgb: Floats) -> Floats:
    """Veil the picture in bright fog or smoke."""
    veil = rng.uniform(0.15, 0.6) * (0.6 + 0.8 * draw_noise(rng, rgb.shape[0], rgb.shape[1], 3, 2))
    bright = np.float32(rng.uniform(0.5, 1)) * (1 - np.float32(0.25) * pick_hue(rng, 0, 1))
    return mix(rgb, bright, np.clip(veil, 0, 0.7).astype(np.float32))


def tone_in_one_colour(rng: Generator, rgb: Floats) -> Floats:
    """Make it black and white, sepia or blue, through a coloured filter as films differ."""
    mixer = np.clip(LUMA + rng.normal(0, 0.2, 3), 0, None)
    grey = np.clip(rgb, 0, 1) @ (mixer / max(mixer.sum(), 0.1)).astype(np.float32)
    choice = rng.random()
    if choice < 0.5:
        return np.repeat(grey[..., None], 3, 2)
    tint = pick_hue(rng, 0.06, 0.12) if choice < 0.85 else pick_hue(rng, 0.0, 1.0)
    shadow = tint * np.float32(0.2 * rng.random())
    light = 1 - (1 - tint / tint.max()) * np.float32(rng.uniform(0.1, 0.6))
    middle = np.float32(rng.uniform(0.4, 1)) * (tint / tint.max() - 1) * (4 * grey * (1 - grey))[..., None]
    return mix(shadow, light, grey) + np.float32(0.3) * middle


def shake(rng: Generator, rgb: Floats) -> Floats:
    """Blur along a line through each pixel, as a shaken camera does."""
    reach, turn = rng.uniform(1, 4) * rgb.shape[0] / 256, rng.uniform(0, np.pi)
    side = int(np.ceil(reach)) * 2 + 1
    half = reach * np.array([np.cos(turn), np.sin(turn)])
    line = np.round(16 * (side // 2 + np.stack([-half, half]))).astype(np.int32)
    kernel = np.zeros((side, side), np.uint8)
    cv2.polylines(kernel, [line], False, (255,), 1, cv2.LINE_AA, 4)
    symmetric = kernel.astype(np.float32) + kernel[::-1, ::-1]  # so that edges stay where they are
    return np.asarray(
        cv2.filter2D(rgb, -1, symmetric / symmetric.sum(), borderType=cv2.BORDER_REFLECT_101), np.float32
    )


def lower_resolution(rng: Generator, rgb: Floats) -> Floats:
    h, w = rgb.shape[:2]
    factor = rng.uniform(1.2, 2.0) if rng.random() < 0.7 else rng.uniform(2.0, 3.5)
    small = resize(rgb, round(h / factor), round(w / factor))
    if rng.random() < 0.3:
        small = compress(rng, small)
    method = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(small, (w, h), interpolation=method), np.float32)


def sharpen(rng: Generator, rgb: Floats) -> Floats:
    return rgb + np.float32(rng.uniform(0.3, 1.5)) * (rgb - blur(rgb, rng.uniform(0.7, 1.5)))


def add_grain(rng: Generator, rgb: Floats) -> Floats:
    """Add the grain of film: strongest in the middle tones, clumped, mostly without colour."""
    h, w = rgb.shape[:2]
    clump = rng.uniform(0.3, 1.1)
    grain = blur(draw_grain(rng, h, w), clump) * np.float32(1 + 2.2 * clump)
    tone = np.clip(rgb @ LUMA, 0, 1)
    weight = np.float32(rng.uniform(0.01, 0.045)) * (0.3 + 2.8 * tone * (1 - tone))
    return rgb + (grain * weight)[..., None]


def add_sensor_noise(rng: Generator, rgb: Floats) -> Floats:
    """Add noise that grows with the light, and blotches of colour."""
    h, w = rgb.shape[:2]
    strength = np.float32(rng.uniform(0.005, 0.05) ** 1.2)
    speckle = draw_grain(rng, h, w) * np.sqrt(np.clip(rgb @ LUMA, 0, 1) + np.float32(0.05))
    blotch = rng.standard_normal((h // 2 + 1, w // 2 + 1, 3), dtype=np.float32)
    blotch = cv2.resize(blotch, (w, h), interpolation=cv2.INTER_LINEAR)
    return rgb + strength * (speckle[..., None] + np.float32(0.7) * blotch)


def compress(rng: Generator, rgb: Floats) -> Floats:
    """Save and open it as JPEG."""
    quality = int(rng.integers(20, 60)) if rng.random() < 0.35 else int(rng.integers(60, 96))
    pixels = cv2.cvtColor(to_bytes(rgb), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    opened = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return to_floats(np.ascontiguousarray(opened[..., ::-1]))


def fade(rng: Generator, rgb: Floats) -> Floats:
    """Lift the blacks, dim the whites, and turn yellow, red or blue as dyes fail."""
    black = pick_hue(rng, 0, 1, 0.6) * np.float32(rng.uniform(0, 0.4))
    white = np.array([1.0, rng.uniform(0.85, 1), rng.uniform(0.6, 0.95)], np.float32) * np.float32(
        rng.uniform(0.75, 1)
    )
    return black + np.clip(rgb, 0, 1) * (white - black)


def add_paper(rng: Generator, rgb: Floats) -> Floats:
    """Let the texture of the paper or a linen print show."""
    h, w = rgb.shape[:2]
    texture = draw_noise(rng, h, w, w / rng.uniform(2, 6), 1) - 0.5
    return rgb * (1 + rng.uniform(0.03, 0.25) * texture)[..., None]


def scratch(rng: Generator, rgb: Floats) -> Floats:
    """Add dust, hairs, scratches and a fold."""
    h, w = rgb.shape[:2]
    marks = np.zeros((h, w), np.uint8)
    count = int(rng.integers(5, 80))
    marks[rng.integers(h, size=count), rng.integers(w, size=count)] = rng.integers(80, 255, count)
    for _ in range(int(rng.integers(0, 7))):
        start, turn = rng.uniform(0, 1, 2) * (w, h), rng.normal(np.pi / 2, 0.5)
        s = np.linspace(0, rng.uniform(0.02, 0.5) * h, 8)
        angle = turn + rng.normal(0, 0.004) * s
        curve = start + np.stack([s * np.cos(angle), s * np.sin(angle)], -1)
        points = np.round(curve * 16).astype(np.int32)
        cv2.polylines(marks, [points], False, int(rng.integers(60, 220)), 1, cv2.LINE_AA, 4)
    if rng.random() < 0.2:
        y = int(rng.uniform(0.2, 0.8) * h)
        cv2.line(marks, (0, y), (w, y + int(rng.normal(0, 3))), 200, 1, cv2.LINE_AA)
    tone = np.full(3, 0.95 if rng.random() < 0.7 else 0.05, np.float32)
    return mix(rgb, tone, to_floats(marks) * np.float32(rng.uniform(0.4, 1)))


def stain(rng: Generator, rgb: Floats) -> Floats:
    """Add blotches of damp and age."""
    spots = np.clip(
        (draw_noise(rng, rgb.shape[0], rgb.shape[1], rng.uniform(2, 12), 3) - rng.uniform(0.5, 0.65)) * 6, 0, 1
    )
    return rgb * (1 - np.float32(rng.uniform(0.1, 0.5)) * spots[..., None] * (1 - pick_hue(rng, 0.05, 0.12)))


STRONG: dict[str, Filter] = {
    "cast_colour": cast_colour,
    "split_light": split_light,
    "add_vignette": add_vignette,
    "leak_light": leak_light,
    "add_haze": add_haze,
    "adjust_colours": adjust_colours,
}
ART: dict[str, Filter] = {
    "oil": art_filters.paint_in_oil,
    "watercolour": art_filters.paint_in_watercolour,
    "pencil": art_filters.draw_in_pencil,
    "ink": art_filters.draw_in_ink,
    "steps": art_filters.shade_in_steps,
    "posterise": art_filters.posterise,
    "dots": art_filters.print_in_dots,
}
ART_WEIGHTS = (0.36, 0.14, 0.15, 0.07, 0.15, 0.06, 0.07)
TREATMENTS: dict[str, tuple[Filter, float]] = {
    "photo": (take_photo, 0.55),
    "strong": (take_strong_photo, 0.15),
    "monochrome": (take_monochrome, 0.08),
    "art": (make_art, 0.12),
    "scan": (scan_old_print, 0.10),
}
WEAR: dict[str, Filter] = {
    "adjust_light": adjust_light,
    "tone_in_one_colour": tone_in_one_colour,
    "shake": shake,
    "lower_resolution": lower_resolution,
    "sharpen": sharpen,
    "add_grain": add_grain,
    "add_sensor_noise": add_sensor_noise,
    "compress": compress,
    "fade": fade,
    "add_paper": add_paper,
    "scratch": scratch,
    "stain": stain,
}
FILTERS: dict[str, Filter] = STRONG | ART | WEAR | {name: treat for name, (treat, _) in TREATMENTS.items()}
