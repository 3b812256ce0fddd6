"""Contact sheets and turntables: what one looks at to see whether a stage has done well."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import azimuth_between, orbit
from portrait360.completer import find_proxy
from portrait360.export.head import shown as head_shown
from portrait360.export.video import save_turntable
from portrait360.files import writing_to
from portrait360.geometry.morphable import load_morphable
from portrait360.head import Head
from portrait360.images import Picture, load_picture, over_grey, save_picture
from portrait360.portrait import Portrait, make_portrait
from portrait360.proxy import Proxy, ProxyView
from portrait360.subject import reduced, shown
from portrait360.view_sheet import ViewSheet

Floats = NDArray[np.floating]

CELL = 512  # pixels a picture
TURN, TURNS, TURN_FPS = 384, 48, 16  # pixels and pictures of a turntable, pictures a second
SHIFT = 4  # bits of a pixel's fraction that OpenCV's lines take
FOUND, FITTED = (0.1, 0.9, 0.2), (1.0, 0.25, 0.1)
SQUARE = (1.0, 0.85, 0.1)


def align_photo(
    photo: Path, folder: Path, *, face: int | None, azimuth: float | None, elevation: float | None, size: int
) -> list[str]:
    """Write a photo's portrait and its sheet; gives the lines that tell the user."""
    picture = load_picture(photo)
    portrait = make_portrait(picture, face=face, azimuth=azimuth, elevation=elevation, size=size)
    return _write_aligned(photo, picture, portrait, folder)


def _write_aligned(photo: Path, picture: Picture, portrait: Portrait, folder: Path) -> list[str]:
    """The sheet of an earlier photo goes first: whenever the work is stopped, what lies there belongs together."""
    with writing_to(folder):
        (folder / "sheet.png").unlink(missing_ok=True)
        portrait.save(folder)
        save_picture(folder / "sheet.png", contact_sheet(picture.turned(portrait.quarters), portrait))
    camera = portrait.camera
    azimuth = azimuth_between(0, round(camera.azimuth, 1))
    angles = f"azimuth {azimuth:+.1f}, elevation {camera.elevation:+.1f}"
    lines = [f"{photo}: {note}" for note in portrait.notes]
    lines.append(f"{photo}: {angles}, roll {camera.roll:+.1f}, by its {portrait.source} -> {folder}")
    return lines


def proxy_photo(
    photo: Path,
    folder: Path,
    *,
    face: int | None,
    azimuth: float | None,
    elevation: float | None,
    size: int,
    method: str,
) -> list[str]:
    """Write a photo's portrait and proxy, its sheet and its turntable; gives the lines that tell the user."""
    picture = load_picture(photo)
    portrait = make_portrait(picture, face=face, azimuth=azimuth, elevation=elevation, size=size)
    with writing_to(folder):
        for old in ("turntable.webp", "sheet.png", "proxy/proxy.npz"):  # of an earlier photo
            (folder / old).unlink(missing_ok=True)
        lines = _write_aligned(photo, picture, portrait, folder / "portrait")
        proxy = find_proxy(portrait, method=method)
        proxy.save(folder / "proxy")
        save_picture(folder / "sheet.png", proxy_sheet(proxy))
        views = (on_grey(proxy.render(camera, TURN)) for camera in orbit(TURNS, focal=proxy.camera.focal))
        save_turntable(folder / "turntable.webp", views, fps=TURN_FPS)
    return [*lines, f"{photo}: proxy -> {folder}, to look at: {folder / 'sheet.png'}, {folder / 'turntable.webp'}"]


def proxy_sheet(proxy: Proxy, size: int = 384) -> Floats:
    """The photo, the proxy at the photo's camera, what comes from the photo, normals; below, twelve azimuths."""
    photo, alpha = (
        np.asarray(cv2.resize(v, (size, size), interpolation=cv2.INTER_AREA), np.float32)
        for v in (proxy.photo, proxy.alpha)
    )
    own = proxy.render(proxy.camera, size)
    views = [proxy.render(camera, size) for camera in orbit(12, focal=proxy.camera.focal)]
    seen = np.repeat(own.visibility[..., None], 3, -1)
    normals = own.normals @ proxy.camera.cam2world[:3, :3] * [0.5, -0.5, -0.5] + 0.5
    first = [over_grey(photo, alpha), on_grey(own), seen, normals * (own.mask[..., None] > 0)]
    cells = [*map(on_grey, views)]
    rows = [np.concatenate(cells[i : i + 4], 1) for i in range(0, 12, 4)]
    return np.clip(np.concatenate([np.concatenate(first, 1), *rows]), 0, 1).astype(np.float32)


def run_sheet(views: ViewSheet, head: Head | None, size: int = 320) -> Floats:
    """The photo, and around it the head from twelve sides and twice from above; without a head, some of the views."""
    if head is None:
        count = 14 if len(views.views) >= 14 else min(len(views.views), 8)
        some = [i * len(views.views) // count for i in range(count)]
        cells = [_fitted(over_grey(view.rgb, view.alpha), size) for view in (views.views[i] for i in some)]
        cells += [np.full((size, size, 3), 0.5, np.float32)] * (8 - len(cells))
    else:
        focal = views.views[0].camera.focal
        cameras = orbit(12, focal=focal) + [orbit(1, elevation=30, start=a, focal=focal)[0] for a in (30, 210)]
        cells = [head_shown(head, camera, size) for camera in cameras]
    assert views.reference is not None
    photo = _fitted(over_grey(views.reference.rgb, views.reference.alpha), 2 * size)
    right = [np.concatenate(cells[i : i + 4], 1) for i in (0, 4)]
    rows = [np.concatenate([photo, np.concatenate(right)], 1)]
    rows += [np.concatenate(cells[8:], 1)] if len(cells) > 8 else []
    return np.clip(np.concatenate(rows), 0, 1).astype(np.float32)


def run_film(path: Path, views: ViewSheet, seconds: float = 6.0) -> None:
    """The views in their order, without a fitted head between them."""
    frames = [over_grey(view.rgb, view.alpha) for view in views.views]
    save_turntable(path, frames, max(len(frames) / seconds, 1))


def _fitted(picture: Floats, size: int) -> Floats:
    way = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=way), np.float32)


def on_grey(view: ProxyView) -> Floats:
    return over_grey(view.rgb, view.mask)


def contact_sheet(picture: Picture, portrait: Portrait) -> Floats:
    """Photo with square and landmarks, crop, matte, on checks; landmarks found and fitted, wireframe of the skin."""
    crop, alpha, known = (
        cv2.resize(values, (CELL, CELL), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(CELL, CELL, -1)
        for values in (portrait.rgb, portrait.alpha, portrait.known)
    )
    checks = 0.55 + 0.15 * ((np.indices((CELL, CELL)) // 16).sum(0) % 2)[..., None]
    matte = alpha * np.ones(3) * (0.6 + 0.4 * known) + (1 - known) * [0.15, 0.0, 0.0]
    cells = [_photo(picture, portrait), crop, matte, crop * alpha + checks * (1 - alpha)]
    if portrait.source == "face":
        cells += [_landmarks(crop, portrait), _wireframe(crop, portrait)]
    half = len(cells) // 2
    rows = [np.concatenate(row, 1) for row in (cells[:half], cells[half:])]
    return np.clip(np.concatenate(rows), 0, 1).astype(np.float32)


def _photo(picture: Picture, portrait: Portrait) -> Floats:
    """The whole photo, and its surroundings where the square leaves it."""
    rgb, _ = reduced(shown(picture), 2 * CELL)
    height, width = picture.rgb.shape[:2]
    low = np.minimum(portrait.corner, 0)
    high = np.maximum(np.add(portrait.corner, portrait.side), [width, height])
    scale = CELL / float((high - low).max())
    shift = -low * scale
    step = scale * np.array([width / rgb.shape[1], height / rgb.shape[0]])
    by_centers = np.c_[np.diag(step), shift + step / 2 - 0.5]  # OpenCV counts from the first pixel's centre
    around = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (0.2, 0.2, 0.2)}
    cell = np.asarray(cv2.warpAffine(rgb, by_centers, (CELL, CELL), flags=cv2.INTER_LINEAR, **around), np.float32)
    corners = np.add(portrait.corner, portrait.side * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))
    _lines(cell, [corners * scale + shift], SQUARE, 2)
    if portrait.landmarks is not None:
        _dots(cell, (portrait.landmarks * portrait.side + portrait.corner) * scale + shift, FOUND, 1)
    return cell


def _landmarks(crop: Floats, portrait: Portrait) -> Floats:
    """What the network found (green), and where the fitted head has the same points (red)."""
    cell, model = crop.copy(), load_morphable()
    fitted = model.landmarks.at(portrait.shape, portrait.expression)
    assert portrait.landmarks is not None
    _dots(cell, portrait.landmarks * CELL, FOUND, 1.6)
    _dots(cell, _seen(portrait, fitted) * CELL, FITTED, 1.2)
    return cell


def _wireframe(crop: Floats, portrait: Portrait) -> Floats:
    cell, model = crop.copy(), load_morphable()
    skin = model.skin.at(portrait.shape, portrait.expression)
    corners = skin[model.quads[~model.hollow]]
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    towards = portrait.camera.position - corners.mean(1)
    facing = (normal * towards).sum(1) > 0
    _lines(cell, list(_seen(portrait, corners[facing]) * CELL), FITTED, 1)
    return crop * 0.5 + cell * 0.5


def _seen(portrait: Portrait, points: Floats) -> Floats:
    """Points of the fitted head in sides of the crop; where that grew since the fit the head is as much smaller."""
    return portrait.camera.project(points / portrait.growth)[0]


def _lines(cell: Floats, shapes: list[Floats], colour: tuple[float, float, float], width: int) -> None:
    places = [np.round((shape - 0.5) * 2**SHIFT).astype(np.int32) for shape in shapes]
    cv2.polylines(cell, places, True, colour, width, cv2.LINE_AA, SHIFT)


def _dots(cell: Floats, points: Floats, colour: tuple[float, float, float], radius: float) -> None:
    for x, y in np.round((points - 0.5) * 2**SHIFT).astype(int):
        cv2.circle(cell, (int(x), int(y)), round(radius * 2**SHIFT), colour, -1, cv2.LINE_AA, SHIFT)
