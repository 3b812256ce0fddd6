"""The proxy: a coarse but complete 3D head with the photo's own texture, rendered by any camera."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry import rasterizer, rasterizer_kernels
from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.images import to_uint8

FORMAT = 1  # version of the file
LAYOUT = HeadMap()
# subpixel positions: the centre, then four that measure cover
SAMPLES = np.array([[8, 8], [6, 2], [14, 6], [2, 10], [10, 14]]) / 16.0
COARSER, AS_FINE = 0.2, 0.6  # photo pixels per rendered pixel: between them the photo fades in over the map


@dataclass(frozen=True, eq=False)
class ProxyView:
    """The proxy rendered by a camera."""

    rgb: Floats  # (s, s, 3)
    visibility: Floats  # (s, s) 1 where the colour comes from the photo
    mask: Floats  # (s, s) cover
    depth: Floats  # (s, s) along the optical axis, 0 where empty
    normals: Floats  # (s, s, 3) unit, in the world


@dataclass(frozen=True, eq=False)
class Proxy:
    """A textured head. Images hold 8-bit values and the radius 32-bit ones, so that saving loses nothing."""

    layout: HeadMap
    radius: Floats  # (rows, columns)
    colours: Floats  # (rows, columns, 3) of the whole head
    visible: Floats  # (rows, columns) 1 where the photo shows it
    photo: Floats  # (s, s, 3) the crop, with the foreground colours extended over the background
    alpha: Floats  # (s, s)
    camera: Camera  # of the photo
    vertices: Floats = field(init=False, repr=False)
    triangles: NDArray[np.int32] = field(init=False, repr=False)
    _values: Floats = field(init=False, repr=False)  # of the vertices: colour, visibility, normal

    def __post_init__(self) -> None:
        vertices, triangles = self.layout.mesh(self.radius)
        # the order in memory decides in which order means are summed, and so their last digits
        values = np.ascontiguousarray(np.concatenate([self.colours, self.visible[..., None]], -1))
        values = np.concatenate([values.reshape(-1, 4), values[:1].mean(1)])  # the crown has the mean of its ring
        normals = rasterizer.vertex_normals(vertices, triangles)
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "triangles", triangles)
        object.__setattr__(self, "_values", np.concatenate([values, normals], 1).astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write the proxy atomically to one file."""
        folder = Path(folder)
        layout = self.layout
        grid = np.array([layout.columns, layout.rows, layout.bend, layout.bottom, layout.cap])
        pictures = {name: to_uint8(getattr(self, name)) for name in ("colours", "visible", "photo", "alpha")}
        pose = {"cam2world": self.camera.cam2world, "lens": np.array([self.camera.focal, *self.camera.center])}
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / "proxy.npz") as temporary, temporary.open("wb") as file:
                np.savez_compressed(
                    file,
                    format=np.array(FORMAT),
                    layout=grid,
                    radius=self.radius.astype(np.float32),
                    **pictures,
                    **pose,
                )

    @classmethod
    def load(cls, folder: Path) -> Proxy:
        path = Path(folder) / "proxy.npz"
        if not path.is_file():
            raise UserError(f"{folder} contains no proxy; make one with `portrait360 proxy PHOTO -o {folder}`.")
        try:
            with np.load(path, allow_pickle=False) as data:
                if int(data["format"]) != FORMAT:
                    raise ValueError("another format")
                columns, rows, *parameters = data["layout"].tolist()
                focal, x, y = data["lens"].tolist()
                pictures = {n: data[n].astype(np.float32) / 255 for n in ("colours", "visible", "photo", "alpha")}
                layout = HeadMap(int(columns), int(rows), *parameters)
                return cls(
                    layout, data["radius"], **pictures, camera=Camera(data["cam2world"], focal, (float(x), float(y)))
                )
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"The proxy in {folder} is damaged; make it again with `portrait360 proxy`.") from error

    def render(self, camera: Camera, size: int = 256) -> ProxyView:
        """Render a view: the photo where it is as fine as the view, the completed colours elsewhere."""
        cover, buffers = self._rasterise(camera, size)
        covered = buffers.ids >= 0
        values = rasterizer.interpolate(buffers, self.triangles, self._values)
        normals = values[..., 4:] / np.maximum(np.linalg.norm(values[..., 4:], axis=-1, keepdims=True), 1e-9)
        points = camera.unproject(pixel_centres(size, size), np.where(covered, buffers.depth, camera.radius))
        uv, _ = self.camera.project(points)
        fine = smoothstep(COARSER, AS_FINE, self._relative_resolution(points, normals, camera))
        share = covered * values[..., 3] * fine
        photo = look_up(_downscale(self.photo, size), uv)
        rgb = values[..., :3] + share[..., None] * (photo - values[..., :3])
        mask = cover * (1 - share * (1 - look_up(_downscale(self.alpha, size), uv)))
        single = np.float32
        return ProxyView(
            (rgb * covered[..., None]).clip(0, 1).astype(single),
            share.astype(single),
            mask.astype(single),
            buffers.depth,
            (normals * covered[..., None]).astype(single),
        )

    def as_mesh(self) -> TexturedMesh:
        """Convert the completed head to a mesh with its map as texture."""
        rows, columns = self.layout.rows, self.layout.columns
        row, column = np.divmod(self.triangles.astype(np.float64), columns)
        crown = self.triangles == rows * columns
        row[crown] = -0.5
        column[crown] = column[crown.any(1)][:, 1:].mean(1)
        wraps = (np.ptp(column, axis=1) > columns / 2)[:, None] & (column < columns / 2)
        uv = np.stack([(column + columns * wraps + 0.5) / (columns + 1), (row + 0.5) / rows], -1)
        corners = self.triangles.ravel()
        return TexturedMesh(
            self.vertices[corners].astype(np.float32),
            self._values[corners, 4:],
            uv.reshape(-1, 2).astype(np.float32),
            np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
            to_uint8(np.concatenate([self.colours, self.colours[:, :1]], 1)),
        )

    def _rasterise(self, camera: Camera, size: int) -> tuple[Floats, rasterizer.Buffers]:
        """Return cover (s, s), and buffers of the pixels' centres, or of any sample where the centre is empty."""
        points = rasterizer.homogeneous(self.vertices, camera, size, size)
        depth = np.full((size, size, len(SAMPLES)), np.inf, np.float32)
        ids = np.full(depth.shape, -1, np.int32)
        triangle_ids = np.arange(len(self.triangles), dtype=np.int32)
        rasterizer_kernels.draw(points, self.triangles, triangle_ids, SAMPLES, depth, ids)
        front, near = ids[..., 0].copy(), depth[..., 0].copy()
        cover = np.zeros((size, size), np.float32)
        for i in range(1, len(SAMPLES)):
            cover += ids[..., i] >= 0
            empty = front < 0
            front[empty], near[empty] = ids[..., i][empty], depth[..., i][empty]
        barycentrics = np.zeros((size, size, 3), np.float32)
        rasterizer_kernels.weights(points, self.triangles, front, barycentrics)
        barycentrics = barycentrics.clip(0, 1)  # a pixel's centre may lie outside the triangle that its samples hit
        barycentrics /= np.maximum(barycentrics.sum(-1, keepdims=True), 1e-9)
        near[front < 0] = 0
        cover = np.where(front >= 0, np.maximum(cover / (len(SAMPLES) - 1), 0.25), 0)
        return cover.astype(np.float32), rasterizer.Buffers(front, barycentrics, near)

    def _relative_resolution(self, points: Floats, normals: Floats, camera: Camera) -> Floats:
        """Return how many pixels of the photo show the surface at a point per pixel of the camera, at equal sizes."""
        densities = []
        for view in (self.camera, camera):
            towards = view.position - points
            distance = np.linalg.norm(towards, axis=-1)
            cosine = (normals * towards).sum(-1) / distance
            densities.append(np.maximum(cosine, 0.02) * (view.focal / distance) ** 2)
        return densities[0] / densities[1]


def _downscale(photo: Floats, size: int) -> Floats:
    if size >= photo.shape[0]:
        return photo
    return np.asarray(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA), np.float32)
