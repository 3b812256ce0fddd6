"""What `align` and `proxy` write for one photo: its portrait or proxy, and a contact sheet to check it."""

from __future__ import annotations

from pathlib import Path

from portrait360.geometry.cameras import azimuth_between, orbit
from portrait360.pipeline.avatar.methods import build_proxy, explain_no_effect
from portrait360.pipeline.avatar.overrules import NOTHING, Overrules
from portrait360.pipeline.export.contact_sheet import contact_sheet, label_sheet, proxy_sheet, view_over_grey
from portrait360.pipeline.export.video import save_turntable
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reading.reading import describe_reading
from portrait360.pipeline.views.framing import frame_focal
from portrait360.utils.files import translate_write_errors
from portrait360.utils.images import Picture, load_picture, save_picture
from portrait360.utils.option_fields import name_flags

TURNTABLE_SIZE, TURNTABLE_FRAMES, TURNTABLE_FPS = 384, 48, 16


def align_photo(
    photo: Path, folder: Path, *, face: int | None, azimuth: float | None, elevation: float | None, size: int
) -> list[str]:
    """Write a photo's portrait and its sheet; return the lines to print."""
    picture = load_picture(photo)
    portrait = make_portrait(picture, face=face, azimuth=azimuth, elevation=elevation, size=size)
    return _write_aligned(photo, picture, portrait, folder)


def _write_aligned(photo: Path, picture: Picture, portrait: Portrait, folder: Path) -> list[str]:
    # delete the sheet of an earlier photo first: whenever this stops, the files in the folder belong together
    with translate_write_errors(folder):
        for name in ("sheet.png", "labels.png"):
            (folder / name).unlink(missing_ok=True)
        portrait.save(folder)
        save_picture(folder / "labels.png", label_sheet(portrait))
        save_picture(folder / "sheet.png", contact_sheet(picture.rotate(portrait.quarter_turns), portrait))
    camera = portrait.camera
    azimuth = azimuth_between(0, round(camera.azimuth, 1))
    angles = f"azimuth {azimuth:+.1f}, elevation {camera.elevation:+.1f}"
    lines = [f"{photo}: warning: {name_flags(warning)}" for warning in portrait.warnings]
    if portrait.reading is not None:
        lines.append(f"{photo}: read as {describe_reading(portrait.reading)}")
    lines.append(f"{photo}: {angles}, roll {camera.roll:+.1f}, estimated from the {portrait.source} -> {folder}")
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
    overrules: Overrules = NOTHING,
) -> list[str]:
    """Write a photo's portrait, proxy, sheet and turntable; return the lines to print."""
    picture = load_picture(photo)
    portrait = make_portrait(picture, face=face, azimuth=azimuth, elevation=elevation, size=size)
    with translate_write_errors(folder):
        old = ["turntable.webp", "sheet.png", "proxy/proxy.npz", "proxy/avatar.npz"]  # of an earlier photo
        for name in [*old, *(() if overrules else ("proxy/parameters.json",))]:
            (folder / name).unlink(missing_ok=True)
        lines = _write_aligned(photo, picture, portrait, folder / "portrait")
        proxy = build_proxy(portrait, method=method, overrules=overrules)
        if warning := explain_no_effect(proxy, overrules):
            lines.append(f"{photo}: warning: {name_flags(warning)}")
        proxy.save(folder / "proxy")
        save_picture(folder / "sheet.png", proxy_sheet(proxy))
        views = (
            view_over_grey(proxy.render(camera, TURNTABLE_SIZE))
            for camera in orbit(TURNTABLE_FRAMES, focal=frame_focal(proxy))
        )
        save_turntable(folder / "turntable.webp", views, fps=TURNTABLE_FPS)
    return [*lines, f"{photo}: proxy -> {folder}; open {folder / 'sheet.png'} or {folder / 'turntable.webp'}"]
