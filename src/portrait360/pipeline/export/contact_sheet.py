"""Contact sheets and turntables, with which to check the results of a stage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from portrait360.geometry.cameras import orbit
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.export.video import save_turntable
from portrait360.pipeline.export.writer import render_over_grey
from portrait360.pipeline.portrait.matting import downscale, picture_over_grey
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.pipeline.reading.overlay import draw_labels, draw_legend
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.views.framing import frame_focal
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.array_types import Floats
from portrait360.utils.images import Picture, over_grey

CELL = 512  # pixels along the side of an image
SHIFT = 4  # fractional bits of the coordinates of OpenCV's lines
DETECTED_COLOUR, FITTED_COLOUR = (0.1, 0.9, 0.2), (1.0, 0.25, 0.1)
SQUARE_COLOUR = (1.0, 0.85, 0.1)


def proxy_sheet(proxy: CoarseHead, size: int = 384) -> Floats:
    """Show the photo, the proxy at its camera, the photo's share in it, and normals; below, twelve azimuths."""
    photo, alpha = (
        np.asarray(cv2.resize(v, (size, size), interpolation=cv2.INTER_AREA), np.float32)
        for v in (proxy.photo, proxy.alpha)
    )
    front = proxy.render(proxy.camera, size)
    views = [proxy.render(camera, size) for camera in orbit(12, focal=frame_focal(proxy))]
    visibility = np.repeat(front.visibility[..., None], 3, -1)
    normals = front.normals @ proxy.camera.cam2world[:3, :3] * [0.5, -0.5, -0.5] + 0.5
    top_row = [over_grey(photo, alpha), view_over_grey(front), visibility, normals * (front.mask[..., None] > 0)]
    cells = [*map(view_over_grey, views)]
    rows = [np.concatenate(cells[i : i + 4], 1) for i in range(0, 12, 4)]
    return np.clip(np.concatenate([np.concatenate(top_row, 1), *rows]), 0, 1).astype(np.float32)


def run_sheet(views: ViewSet, head: Head | None, size: int = 320) -> Floats:
    """Show the photo, and around it the head from twelve sides and twice from above; without a head, some views."""
    if head is None:
        count = 14 if len(views.views) >= 14 else min(len(views.views), 8)
        indices = [i * len(views.views) // count for i in range(count)]
        cells = [_fit_to_cell(over_grey(view.rgb, view.alpha), size) for view in (views.views[i] for i in indices)]
        cells += [np.full((size, size, 3), 0.5, np.float32)] * (8 - len(cells))
    else:
        focal = views.views[0].camera.focal
        cameras = orbit(12, focal=focal) + [orbit(1, elevation=30, start=a, focal=focal)[0] for a in (30, 210)]
        cells = [render_over_grey(head, camera, size) for camera in cameras]
    assert views.reference is not None
    photo = _fit_to_cell(_show_photo(views.reference), 2 * size)
    right = [np.concatenate(cells[i : i + 4], 1) for i in (0, 4)]
    rows = [np.concatenate([photo, np.concatenate(right)], 1)]
    rows += [np.concatenate(cells[8:], 1)] if len(cells) > 8 else []
    return np.clip(np.concatenate(rows), 0, 1).astype(np.float32)


def _show_photo(photo: View) -> Floats:
    """Return the subject over grey, without what has been added beyond the photo's edges."""
    return over_grey(photo.rgb, photo.alpha if photo.known_mask is None else photo.alpha * photo.known_mask)


def save_view_turntable(path: Path, views: ViewSet, seconds: float = 6.0) -> None:
    """Write a turntable of the views themselves, for a run without a fitted head."""
    frames = [over_grey(view.rgb, view.alpha) for view in views.views]
    save_turntable(path, frames, max(len(frames) / seconds, 1))


def _fit_to_cell(picture: Floats, size: int) -> Floats:
    interpolation = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=interpolation), np.float32)


def view_over_grey(view: ProxyView) -> Floats:
    return over_grey(view.rgb, view.mask)


def label_sheet(portrait: Portrait) -> Floats:
    """Show the crop, the labels of its pixels over it, and what each colour means."""
    labels = portrait.labels
    if labels is None:
        return portrait.rgb
    return np.concatenate([portrait.rgb, draw_labels(portrait.rgb, labels), draw_legend(len(labels), labels)], 1)


def contact_sheet(picture: Picture, portrait: Portrait) -> Floats:
    """Show the photo with crop square and landmarks, the crop, its matte, and the head on a checkerboard.

    For a portrait with a fitted face, also show detected and fitted landmarks, and a wireframe of the skin.
    """
    crop, alpha, known_mask = (
        cv2.resize(values, (CELL, CELL), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(CELL, CELL, -1)
        for values in (portrait.rgb, portrait.alpha, portrait.inside_photo)
    )
    checks = 0.55 + 0.15 * ((np.indices((CELL, CELL)) // 16).sum(0) % 2)[..., None]
    matte = alpha * np.ones(3) * (0.6 + 0.4 * known_mask) + (1 - known_mask) * [0.15, 0.0, 0.0]
    cells = [_draw_photo(picture, portrait), crop, matte, crop * alpha + checks * (1 - alpha)]
    if portrait.source == "face":
        cells += [_draw_landmarks(crop, portrait), _draw_wireframe(crop, portrait)]
    half = len(cells) // 2
    rows = [np.concatenate(row, 1) for row in (cells[:half], cells[half:])]
    return np.clip(np.concatenate(rows), 0, 1).astype(np.float32)


def _draw_photo(picture: Picture, portrait: Portrait) -> Floats:
    """Draw the whole photo with the crop square, and a margin where the square extends beyond the photo."""
    rgb, _ = downscale(picture_over_grey(picture), 2 * CELL)
    height, width = picture.rgb.shape[:2]
    low = np.minimum(portrait.corner, 0)
    high = np.maximum(np.add(portrait.corner, portrait.side), [width, height])
    scale = CELL / float((high - low).max())
    shift = -low * scale
    step = scale * np.array([width / rgb.shape[1], height / rgb.shape[0]])
    by_centers = np.c_[np.diag(step), shift + step / 2 - 0.5]  # OpenCV counts from the first pixel's centre
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (0.2, 0.2, 0.2)}
    cell = np.asarray(cv2.warpAffine(rgb, by_centers, (CELL, CELL), flags=cv2.INTER_LINEAR, **border), np.float32)
    corners = np.add(portrait.corner, portrait.side * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))
    _draw_lines(cell, [corners * scale + shift], SQUARE_COLOUR, 2)
    if portrait.landmarks is not None:
        points = (portrait.landmarks * portrait.side + portrait.corner) * scale + shift
        _draw_dots(cell, points, DETECTED_COLOUR, 1)
    return cell


def _draw_landmarks(crop: Floats, portrait: Portrait) -> Floats:
    """Draw the detected landmarks (green) and the same points of the fitted head (red)."""
    cell, model = crop.copy(), load_morphable()
    fitted = model.landmarks.at(portrait.shape, portrait.expression)
    assert portrait.landmarks is not None
    _draw_dots(cell, portrait.landmarks * CELL, DETECTED_COLOUR, 1.6)
    _draw_dots(cell, _project_points(portrait, fitted) * CELL, FITTED_COLOUR, 1.2)
    return cell


def _draw_wireframe(crop: Floats, portrait: Portrait) -> Floats:
    cell, model = crop.copy(), load_morphable()
    skin = model.skin.at(portrait.shape, portrait.expression)
    corners = skin[model.quads[~model.hollow]]
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    to_camera = portrait.camera.position - corners.mean(1)
    facing = (normal * to_camera).sum(1) > 0
    _draw_lines(cell, list(_project_points(portrait, corners[facing]) * CELL), FITTED_COLOUR, 1)
    return crop * 0.5 + cell * 0.5


def _project_points(portrait: Portrait, points: Floats) -> Floats:
    """Project points of the fitted head to sides of the crop; if the crop grew after the fit, the head is smaller."""
    return portrait.camera.project(points / portrait.crop_scale)[0]


def _draw_lines(cell: Floats, shapes: list[Floats], colour: tuple[float, float, float], width: int) -> None:
    polygons = [np.round((shape - 0.5) * 2**SHIFT).astype(np.int32) for shape in shapes]
    cv2.polylines(cell, polygons, True, colour, width, cv2.LINE_AA, SHIFT)


def _draw_dots(cell: Floats, points: Floats, colour: tuple[float, float, float], radius: float) -> None:
    for x, y in np.round((points - 0.5) * 2**SHIFT).astype(int):
        cv2.circle(cell, (int(x), int(y)), round(radius * 2**SHIFT), colour, -1, cv2.LINE_AA, SHIFT)
