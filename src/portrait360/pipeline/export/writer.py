"""The stage `export`: write a fitted head, or the file of another program, in common formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera, focal_from_fov, orbit
from portrait360.geometry.canonical_frame import FOV
from portrait360.geometry.gaussians.flat_gaussians import draw_over_grey, find_covariances, flatten
from portrait360.geometry.gaussians.rasterizer import render_image
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.pipeline.export import AVATAR_FORMATS, DEFAULT_FORMATS, SPLAT_FORMATS, check_formats, check_head
from portrait360.pipeline.export.camera_paths import parse_path
from portrait360.pipeline.export.html_viewer import save_viewer
from portrait360.pipeline.export.khr_splats import holds_splats, read_khr_splats, write_khr_splats
from portrait360.pipeline.export.mesh import pack_glb, read_glb, write_glb, write_obj
from portrait360.pipeline.export.nerfstudio_scene import View as SceneView
from portrait360.pipeline.export.nerfstudio_scene import write_scene
from portrait360.pipeline.export.ply import read_ply, write_ply
from portrait360.pipeline.export.splat import read_splat, write_splat
from portrait360.pipeline.export.splat_options import SplatFileOptions
from portrait360.pipeline.export.spz import read_spz, write_spz
from portrait360.pipeline.export.video import save_turntable
from portrait360.pipeline.reconstruction.head import Head, head_folder
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import translate_write_errors
from portrait360.utils.images import over_grey, save_picture
from portrait360.utils.parallel.threads import map_in_threads

MESH_FORMATS = ("glb", "obj")
FILM, FRAMES, SECONDS = 448, 144, 6  # pixels, frames and seconds of a turntable
CELL = 384  # pixels of an image in the contact sheet


def open_head(path: Path) -> Head:
    """Load a head from the folder of a fitted head, or from one file of Gaussians or of a mesh."""
    path = Path(path)
    check_head(path)
    if path.is_dir():
        return Head.load(head_folder(path) or path)
    if path.suffix.lower() == ".glb":
        return Head(splats=read_khr_splats(path)) if holds_splats(path) else Head(mesh=read_glb(path))
    readers: dict[str, Callable[[Path], GaussianSplats]] = {".ply": read_ply, ".splat": read_splat, ".spz": read_spz}
    return Head(splats=readers[path.suffix.lower()](path))


def write_head(
    head: Head,
    folder: Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    *,
    path: str = "orbit",
    title: str = "portrait360",
    focal: float | None = None,
    splat_options: SplatFileOptions = SplatFileOptions(),  # noqa: B008 (frozen)
    on_file: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Write all formats for which the head has the results, and return the paths of the files.

    `path` is the camera path of turntables and `focal` their focal length, and `on_file` is called with the name of
    each format written.
    """
    check_formats(formats)
    possible = [name for name in formats if missing_result(head, name) is None]
    if not possible:
        missing = missing_result(head, formats[0])
        raise UserError(f"This head has no {missing} for {', '.join(formats)}; {explain_missing(str(missing))}.")
    camera_path, files = parse_path(path, focal=focal or focal_from_fov(FOV)), []
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in possible:
            files.append(_write(head, folder, name, camera_path, title, splat_options))
            on_file(name)
    return files


def missing_result(head: Head, name: str) -> str | None:
    """Return the result that the format `name` needs and the head lacks, or None."""
    if name in SPLAT_FORMATS and head.splats is None:
        return "splats"
    if name in MESH_FORMATS and head.mesh is None:
        return "mesh"
    if name == "field" and head.field is None:
        return "field"
    if name in AVATAR_FORMATS:
        return "avatar"
    if name == "html" and head.splats is None and head.mesh is None:
        return "splats or mesh"
    return None


def explain_missing(result: str) -> str:
    """Return how a head gets the result that it lacks."""
    if result == "avatar":
        return "`portrait360 make PHOTO -o DIR` makes one from a photo with a face"
    return "make it with `portrait360 fit VIEWS`"


def write_splat_file(file: Path, splats: GaussianSplats, name: str, options: SplatFileOptions) -> None:
    """Write Gaussians in one of SPLAT_FORMATS."""
    splats = splats if options.sh_degree else splats.without_slopes()
    if name == "ply":
        write_ply(file, splats, sh_degree=options.sh_degree, up=options.up)
    elif name == "splat":
        write_splat(file, splats, up=options.up)
    elif name == "spz":
        write_spz(file, splats, version=options.spz_version)
    else:
        write_khr_splats(file, splats)


def _write(
    head: Head,
    folder: Path,
    name: str,
    camera_path: Callable[[int], list[Camera]],
    title: str,
    splat_options: SplatFileOptions,
) -> Path:
    file = folder / f"head.{name}"
    if name in SPLAT_FORMATS:
        assert head.splats is not None
        write_splat_file(file, head.splats, name, splat_options)
    elif name in MESH_FORMATS:
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
        mesh = None if head.mesh is None else pack_glb(head.mesh, "jpeg")
        save_viewer(file, splats=head.splats, glb=mesh, title=title)
    elif name == "sheet":
        file = folder / "head.png"
        save_picture(file, render_sheet(head))
    elif name == "scene":
        file = folder / "scene"
        write_scene(file, _scene_views(head))
    else:
        file = folder / f"turntable.{name}"
        frames = FRAMES if name == "mp4" else FRAMES // 4
        cameras = camera_path(frames)
        save_turntable(file, draw_frames(head, cameras, FILM), frames / SECONDS)
    return file


def render_head(head: Head, camera: Camera, size: int) -> tuple[Floats, Floats]:
    """Render straight rgb (s, s, 3) and alpha (s, s) from the splats, or else the mesh, or else the field."""
    if head.splats is not None:
        rgb, alpha, _ = render_image(head.splats, camera, size)
    elif head.mesh is not None:
        rgb, alpha = render_mesh(head.mesh, camera, size)
    elif head.field is not None:
        rgb, alpha, _ = head.field.render_image(camera, size)
    else:
        raise UserError("This head is empty; fit it again with `portrait360 fit VIEWS`.")
    return rgb, alpha


def render_mesh(mesh: TexturedMesh, camera: Camera, size: int) -> tuple[Floats, Floats]:
    """Render straight rgb and alpha of a mesh with anti-aliasing: at twice the size, then downscaled."""
    drawing = mesh.draw(camera, 2 * size)
    rgba = np.concatenate([drawing.rgb, drawing.mask[..., None]], -1).astype(np.float32)
    rgba = cv2.resize(rgba, (size, size), interpolation=cv2.INTER_AREA)
    return (rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-6)).astype(np.float32), np.asarray(rgba[..., 3], np.float32)


def draw_frames(head: Head, cameras: Sequence[Camera], size: int) -> Iterator[Floats]:
    """Yield the head over grey from many cameras, as `render_over_grey` does, but faster."""
    if head.splats is None:
        yield from (render_over_grey(head, camera, size) for camera in cameras)
        return
    splats, covariances = head.splats, find_covariances(head.splats)

    def draw_frame(camera: Camera) -> Floats:
        return draw_over_grey(flatten(splats, covariances, camera, size), splats.find_colours(camera))

    yield from map_in_threads(draw_frame, cameras, lone_first=False)


def render_over_grey(head: Head, camera: Camera, size: int) -> Floats:
    return over_grey(*render_head(head, camera, size))


def render_sheet(head: Head) -> Floats:
    """Render one row for each result of the head, from six sides and from above."""
    cameras = _orbit(6) + [_orbit(1)[0].orbit_to(azimuth=30, elevation=35)]
    parts = [Head(field=head.field), Head(splats=head.splats), Head(mesh=head.mesh)]
    rows = [part for part in parts if part.field or part.splats or part.mesh]
    return np.concatenate([np.concatenate([render_over_grey(part, c, CELL) for c in cameras], 1) for part in rows])


def _scene_views(head: Head) -> Iterator[SceneView]:
    for camera in _orbit(36):
        yield SceneView(*render_head(head, camera, FILM), camera)


def _orbit(count: int) -> list[Camera]:
    return orbit(count, focal=focal_from_fov(FOV))
