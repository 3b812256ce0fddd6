"""A head as Python gives it: of a run, or of a file of any program. It renders, moves, and is written again."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.geometry.volumes.radiance_field import RadianceField
from portrait360.models.presets import PRESETS
from portrait360.pipeline.animate.lighting import Studio, make_studio, parse_light, read_environment
from portrait360.pipeline.animate.pose import pose_avatar
from portrait360.pipeline.avatar import NAME
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export import AVATAR_FORMATS, DEFAULT_FORMATS, FORMATS, find_format
from portrait360.pipeline.export.avatar_files import write_avatar_file
from portrait360.pipeline.export.avatar_glb.file import write_avatar_glb
from portrait360.pipeline.export.avatar_splats.build import splats_from_avatar
from portrait360.pipeline.export.html_viewer import save_viewer
from portrait360.pipeline.export.splat_options import SplatFileOptions
from portrait360.pipeline.export.writer import (
    missing_result,
    open_head,
    render_head,
    write_head,
)
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reconstruction.head import Head, head_folder
from portrait360.pipeline.run import MESH, PAGE, SPLATS, read_record
from portrait360.pipeline.views.framing import frame_focal
from portrait360.utils.errors import UserError
from portrait360.utils.files import translate_write_errors
from portrait360.utils.images import to_uint8

Place = Camera | tuple[float, float]
LightWish = tuple[float, float, float] | str | Path
FILMS = {"mp4", "webp", "gif"}
NOTEBOOK_HEIGHT = 640  # pixels of the page in a notebook
LARGEST = 4096  # pixels along a side of a render


class LoadedHead:
    """A head that `make` made, or one of a file.

    >>> head = load_head("out")
    >>> head.render((30, 10), 512, expression={"jawOpen": 0.5}).save("open.png")
    >>> head.export("head.spz")
    """

    def __init__(
        self, folder: Path | None, avatar: Avatar | None, fitted: Head, splats: GaussianSplats | None = None
    ) -> None:
        self.folder, self.avatar, self.fitted = folder, avatar, fitted
        self._studio: tuple[LightWish, Studio] | None = None
        if splats is not None:
            self.__dict__["splats"] = splats

    def without_folder(self) -> LoadedHead:
        """Return the same head, for when its folder is deleted."""
        return LoadedHead(None, self.avatar, self.fitted, self.__dict__.get("splats"))

    def __repr__(self) -> str:
        parts = ["an avatar with 52 expressions"] * (self.avatar is not None)
        parts += [f"{len(self.fitted.splats):,} fitted splats"] if self.fitted.splats else []
        parts += [f"a fitted mesh of {len(self.fitted.mesh.triangles):,} faces"] if self.fitted.mesh else []
        parts += ["a radiance field"] * (self.fitted.field is not None)
        place = "" if self.folder is None else f" in {self.folder}"
        return f"<head{place}: {', '.join(parts)}>"

    @property
    def field(self) -> RadianceField | None:
        return self.fitted.field

    @property
    def mesh(self) -> TexturedMesh | None:
        """The mesh that was fitted to views; an avatar's is written by `export("head.glb")`."""
        return self.fitted.mesh

    @property
    def focal(self) -> float:
        """The focal length, in picture sides, at which the head fills a picture."""
        return focal_from_fov(FOV) if self.avatar is None else frame_focal(self.avatar)

    @cached_property
    def splats(self) -> GaussianSplats | None:
        """Those of the avatar, which its run wrote or which are made now; else those that were fitted."""
        if self.avatar is None:
            return self.fitted.splats
        files = read_record(self.folder).get("stages", {}).get("splats", {}).get("files", {}) if self.folder else {}
        for name in SPLATS:
            if self.folder and name in files and (self.folder / name).is_file():
                return open_head(self.folder / name).splats
        return splats_from_avatar(self.avatar)

    def render(
        self,
        camera: Place = (0.0, 0.0),
        size: int = 512,
        *,
        expression: Mapping[str, float] | None = None,
        light: LightWish | None = None,
    ) -> Image.Image:
        """Return a picture with transparency.

        Args:
            camera: A `Camera`, or degrees of azimuth (90 is the subject's left) and elevation.
            size: Pixels along a side.
            expression: Weights of ARKit's units by name, such as {"jawOpen": 0.5, "mouthSmile": 1}; units that are
                not named stay as in the photo.
            light: A lamp, as degrees of azimuth and elevation and its warmth from -1 to 1; or the path of a panorama
                (.hdr). Default: the light of the photo.
        """
        if not 1 <= size <= LARGEST:
            raise UserError(f"A picture of {size} pixels cannot be rendered; choose 1 to {LARGEST}.")
        place = camera if isinstance(camera, Camera) else Camera(look_at(*camera), self.focal)
        if self.avatar is None:
            if expression or light is not None:
                raise UserError("This head was fitted to views; only an avatar has expressions and can be lit.")
            rgb, alpha = render_head(self.fitted, place, size)
        else:
            posed = pose_avatar(self.avatar, expression) if expression else self.avatar
            view = (posed if light is None else self._find_studio(light).light(posed)).render(place, size)
            rgb, alpha = view.rgb, view.mask
        return Image.fromarray(to_uint8(np.dstack([rgb, alpha])), "RGBA")

    def export(self, path: str | Path, /, **options: Any) -> Path:
        """Write the head as the file's ending says, and return its path.

        .glb is the avatar with its expressions, or a fitted mesh; .usdz and .stl are the avatar; .ply, .spz, .splat
        and .splats.glb are splats; .html is the page; .obj, .mp4, .webp and .gif are as of the command `export`.
        `options` are those of `write`.
        """
        path = Path(path)
        name = find_format(path)
        if name is None:
            raise UserError(
                f"{path.name} does not have the extension of a head file; choose from {', '.join(FORMATS)}."
            )
        if name == "obj":
            return self.write(path.parent, (name,), **options)[0]  # three files that name one another
        with translate_write_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
                (written,) = self.write(Path(folder), (name,), **options)
                return written.replace(path)

    def write(
        self,
        folder: Path,
        formats: Sequence[str] = DEFAULT_FORMATS,
        *,
        title: str = "portrait360",
        path: str = "orbit",
        detail: float = 1.0,
        unlit: bool = False,
        splat_options: SplatFileOptions = SplatFileOptions(),  # noqa: B008 (frozen)
        on_file: Callable[[str], None] = lambda name: None,
    ) -> list[Path]:
        """Write all formats that the head has, under their usual names, and return the paths of the files.

        `detail` is that of an avatar's .glb, .usdz and .stl, and `unlit` that of its .glb; `path` is the camera path
        of films.
        """
        own = ("glb", "html", *AVATAR_FORMATS) if self.avatar is not None else ()
        others = [name for name in formats if name not in own]
        files = []
        if others or not formats:
            chosen: dict[str, Any] = {"path": path, "title": title, "splat_options": splat_options}
            chosen |= {"focal": self.focal} if FILMS & {*others} else {}
            files += write_head(self._as_head(others), folder, others, **chosen, on_file=on_file)
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in [name for name in own if name in formats]:
                files.append(self._write_avatar(folder, name, title, detail, unlit=unlit))
                on_file(name)
        return files

    def missing(self, name: str) -> str | None:
        """Return the result that the format `name` needs and the head lacks, or None."""
        if self.avatar is not None and name in ("glb", "html", *AVATAR_FORMATS):
            return None
        return missing_result(self._as_head([name]), name)

    def show(self) -> Any:
        """Open the head's page in the browser; in a notebook, return it as a frame."""
        page = self.folder / PAGE if self.folder else None
        if page is None or not page.is_file():
            page = self.export(Path(tempfile.mkdtemp(prefix="portrait360-")) / PAGE)
        if _in_notebook():
            text = escape(page.read_text(encoding="utf-8"), quote=True)
            frame = f'<iframe srcdoc="{text}" width="100%" height="{NOTEBOOK_HEIGHT}" style="border:0"'
            frame += ' sandbox="allow-scripts allow-downloads" allow="fullscreen"></iframe>'
            return import_module("IPython.display").HTML(frame)
        webbrowser.open(page.resolve().as_uri())
        return None

    def _find_studio(self, light: LightWish) -> Studio:
        """Return the avatar's layers in a light; those of the last light are kept."""
        assert self.avatar is not None
        if self._studio is None or self._studio[0] != light:
            lamp = isinstance(light, tuple | list)
            wanted = parse_light(",".join(map(str, light))) if lamp else read_environment(Path(str(light)))
            self._studio = light, make_studio(self.avatar, wanted)
        return self._studio[1]

    def _as_head(self, formats: Sequence[str]) -> Head:
        """Return results for these formats; splats of an avatar are only made where they are needed."""
        needs = self.avatar is None or any(name not in ("field", "obj") for name in formats)
        return Head(self.fitted.field, self.splats if needs else None, self.fitted.mesh)

    def _write_avatar(self, folder: Path, name: str, title: str, detail: float, *, unlit: bool) -> Path:
        assert self.avatar is not None
        mesh = folder / MESH
        if name == "glb":
            write_avatar_glb(mesh, self.avatar, detail=detail, unlit=unlit)
            return mesh
        if name in AVATAR_FORMATS:
            return write_avatar_file(folder, self.avatar, name, detail=detail)
        portrait = None
        if self.folder and (self.folder / "portrait").is_dir():
            portrait = Portrait.load(self.folder / "portrait")
        with tempfile.TemporaryDirectory(prefix="portrait360-") as temporary:
            write_avatar_glb(Path(temporary) / MESH, self.avatar, detail=detail)
            glb = (Path(temporary) / MESH).read_bytes()
        save_viewer(folder / PAGE, splats=self.splats, glb=glb, portrait=portrait, title=title)
        return folder / PAGE


def load_head(path: str | Path) -> LoadedHead:
    """Load the head of a run's folder, of a folder with a fitted head, or of one .ply, .splat, .spz or .glb file."""
    path = Path(path)
    if not path.is_dir():
        return LoadedHead(None, None, open_head(path))
    avatar = Avatar.load(path / "proxy") if _is_avatar_run(path) else None
    found = head_folder(path) or path
    fitted = Head.load(found) if avatar is None or any(found.glob("*.safetensors")) and found != path else Head()
    return LoadedHead(path, avatar, fitted)


def _is_avatar_run(folder: Path) -> bool:
    """Return whether a folder's head is its avatar, and not one that was fitted to views of published networks."""
    preset = PRESETS.get(str(read_record(folder).get("preset", "small")))
    return (folder / "proxy" / NAME).is_file() and (preset is None or preset.steps is None)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"
