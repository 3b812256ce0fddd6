"""The stage `export`: a fitted head, or another program's file, as files that anyone can open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, focal_from_fov, orbit
from portrait360.errors import UserError
from portrait360.export.mesh import read_glb, write_glb, write_obj
from portrait360.export.paths import named_path
from portrait360.export.ply import read_ply, write_ply
from portrait360.export.scene import View as SceneView
from portrait360.export.scene import write_scene
from portrait360.export.splat import read_splat, write_splat
from portrait360.export.spz import read_spz, write_spz
from portrait360.export.video import save_turntable
from portrait360.files import writing_to
from portrait360.geometry.splat_picture import picture
from portrait360.geometry.textured import TexturedMesh
from portrait360.head import Head, head_folder
from portrait360.images import over_grey, save_picture
from portrait360.portrait import FOV
from portrait360.viewer import save_viewer

Floats = NDArray[np.floating]

FORMATS = ("ply", "splat", "spz", "glb", "obj", "field", "html", "mp4", "webp", "gif", "scene", "sheet")
USUAL = ("ply", "glb", "html", "mp4", "sheet")
SPLATS_ALONE = ("ply", "splat", "spz")
MESH_ALONE = ("glb", "obj")
FILM, FRAMES = 512, 180  # pixels and frames of a turn: six seconds
CELL = 384


def open_head(path: Path) -> Head:
    """A folder with a fitted head, or one file of Gaussians or of a mesh."""
    path = Path(path)
    if path.is_dir():
        return Head.load(head_folder(path) or path)
    readers: dict[str, Callable[[Path], object]] = {".ply": read_ply, ".splat": read_splat, ".spz": read_spz}
    if path.suffix.lower() in readers:
        return Head(splats=readers[path.suffix.lower()](path))  # type: ignore[arg-type]
    if path.suffix.lower() == ".glb":
        return Head(mesh=read_glb(path))
    raise UserError(f"{path} is neither a folder with a fitted head nor a .ply, .splat, .spz or .glb file.")


def write_head(
    head: Head,
    folder: Path,
    formats: Sequence[str] = USUAL,
    *,
    path: str = "orbit",
    title: str = "portrait360",
    on_file: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Every format that the head has what it takes for; gives what was written."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UserError(f"There is no format {unknown[0]!r}; choose from {', '.join(FORMATS)}.")
    possible = [name for name in formats if lacking(head, name) is None]
    if not possible:
        needed = lacking(head, formats[0])
        raise UserError(
            f"This head has no {needed} for {', '.join(formats)}; make them with `portrait360 fit VIEWS`."
        )
    way, out = named_path(path, focal=focal_from_fov(FOV)), []
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in possible:
            out.append(_write(head, folder, name, way, title))
            on_file(name)
    return out


def lacking(head: Head, name: str) -> str | None:
    """What the format needs and the head has not."""
    if name in SPLATS_ALONE and head.splats is None:
        return "splats"
    if name in MESH_ALONE and head.mesh is None:
        return "mesh"
    if name == "field" and head.field is None:
        return "field"
    if name == "html" and head.splats is None and head.mesh is None:
        return "splats or mesh"
    return None


def _write(head: Head, folder: Path, name: str, path: Callable[[int], list[Camera]], title: str) -> Path:
    file = folder / f"head.{name}"
    if name in SPLATS_ALONE:
        assert head.splats is not None
        {"ply": write_ply, "splat": write_splat, "spz": write_spz}[name](file, head.splats)
    elif name in MESH_ALONE:
        assert head.mesh is not None
        if name == "glb":
            write_glb(file, head.mesh, "jpeg")
        else:
            write_obj(folder, head.mesh)
    elif name == "field":
        file = folder / "field.safetensors"
        Head(field=head.field).save(folder)
    elif name == "html":
        file = folder / "viewer.html"
        save_viewer(file, head.splats, head.mesh, title=title)
    elif name == "sheet":
        file = folder / "head.png"
        save_picture(file, head_sheet(head))
    elif name == "scene":
        file = folder / "scene"
        write_scene(file, _scene(head))
    else:
        file = folder / f"turntable.{name}"
        frames = FRAMES if name == "mp4" else FRAMES // 4
        cameras = path(frames)
        save_turntable(file, (shown(head, camera, FILM) for camera in cameras), frames / (FRAMES / 30))
    return file


def seen(head: Head, camera: Camera, size: int) -> tuple[Floats, Floats]:
    """Straight rgb (s, s, 3) and alpha (s, s): the splats if there are any, else the mesh, else the field."""
    if head.splats is not None:
        rgb, alpha, _ = picture(head.splats, camera, size)
    elif head.mesh is not None:
        rgb, alpha = mesh_picture(head.mesh, camera, size)
    elif head.field is not None:
        rgb, alpha, _ = head.field.picture(camera, size)
    else:
        raise UserError("This head holds nothing that could be shown.")
    return rgb, alpha


def mesh_picture(mesh: TexturedMesh, camera: Camera, size: int) -> tuple[Floats, Floats]:
    """The mesh at twice the size, reduced: no steps at its outline."""
    drawing = mesh.draw(camera, 2 * size)
    both = np.concatenate([drawing.rgb, drawing.mask[..., None]], -1).astype(np.float32)
    both = cv2.resize(both, (size, size), interpolation=cv2.INTER_AREA)
    return (both[..., :3] / np.maximum(both[..., 3:], 1e-6)).astype(np.float32), np.asarray(both[..., 3], np.float32)


def shown(head: Head, camera: Camera, size: int) -> Floats:
    return over_grey(*seen(head, camera, size))


def head_sheet(head: Head) -> Floats:
    """A row for each result that is there, from six sides and from above."""
    cameras = _around(6) + [_around(1)[0].moved(azimuth=30, elevation=35)]
    alone = [Head(field=head.field), Head(splats=head.splats), Head(mesh=head.mesh)]
    rows = [part for part in alone if part.field or part.splats or part.mesh]
    return np.concatenate([np.concatenate([shown(part, c, CELL) for c in cameras], 1) for part in rows])


def _scene(head: Head) -> Iterator[SceneView]:
    for camera in _around(36):
        yield SceneView(*seen(head, camera, FILM), camera)


def _around(count: int) -> list[Camera]:
    return orbit(count, focal=focal_from_fov(FOV))
