"""The proxy: a coarse but whole 3D head with the photo's own texture, seen from any camera."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, pixel_centres
from portrait360.errors import UserError
from portrait360.files import whole, writing_to
from portrait360.geometry import raster, raster_numba
from portrait360.geometry.completion import Seen, around, complete, foreground, look_up, photographed, smoothstep
from portrait360.geometry.head_map import HeadMap
from portrait360.geometry.morphable import load_morphable
from portrait360.geometry.shell import carve, fit_thickness, load_hair_model, outline, resampled, round_crown, spread
from portrait360.geometry.textured import TexturedMesh
from portrait360.images import eight_bits
from portrait360.more_photos import camera_on, together
from portrait360.portrait import Portrait

Floats = NDArray[np.floating]

FORMAT = 1  # of the file
LAYOUT = HeadMap()
MIDDLE = HeadMap(columns=128, rows=88)  # where the shell is smoothed towards the outline
SAMPLES = np.array([[8, 8], [6, 2], [14, 6], [2, 10], [10, 14]]) / 16.0  # the centre, then four that count cover
COARSER, AS_FINE = 0.2, 0.6  # photo pixels a rendered pixel: between them the photo gains over the map


@dataclass(frozen=True, eq=False)
class ProxyView:
    """The proxy seen by a camera."""

    rgb: Floats  # (s, s, 3)
    visibility: Floats  # (s, s) 1 where the colour comes from the photo
    mask: Floats  # (s, s) cover
    depth: Floats  # (s, s) along the optical axis, 0 where empty
    normals: Floats  # (s, s, 3) unit, in the world


@dataclass(frozen=True, eq=False)
class Proxy:
    """Pictures hold 8-bit values and the radius 32-bit ones, so that the file gives back exactly the same."""

    layout: HeadMap
    radius: Floats  # (rows, columns)
    colours: Floats  # (rows, columns, 3) of the whole head
    visible: Floats  # (rows, columns) 1 where the photo shows it
    photo: Floats  # (s, s, 3) the crop, its subject's colours carried outwards
    alpha: Floats  # (s, s)
    camera: Camera  # of the photo
    vertices: Floats = field(init=False, repr=False)
    triangles: NDArray[np.int32] = field(init=False, repr=False)
    _values: Floats = field(init=False, repr=False)  # of the vertices: colour, visibility, normal

    def __post_init__(self) -> None:
        vertices, triangles = self.layout.mesh(self.radius)
        values = np.concatenate([self.colours, self.visible[..., None]], -1)
        values = np.concatenate([values.reshape(-1, 4), values[:1].mean(1)])  # the crown's is its ring's
        normals = raster.vertex_normals(vertices, triangles)
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "triangles", triangles)
        object.__setattr__(self, "_values", np.concatenate([values, normals], 1).astype(np.float32))

    def save(self, folder: Path) -> None:
        """One file, whole or absent."""
        folder = Path(folder)
        layout = self.layout
        grid = np.array([layout.columns, layout.rows, layout.bend, layout.bottom, layout.cap])
        pictures = {name: eight_bits(getattr(self, name)) for name in ("colours", "visible", "photo", "alpha")}
        pose = {"cam2world": self.camera.cam2world, "lens": np.array([self.camera.focal, *self.camera.center])}
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with whole(folder / "proxy.npz") as temporary, temporary.open("wb") as file:
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
            raise UserError(f"{folder} holds no proxy; make one with `portrait360 proxy PHOTO -o {folder}`.")
        try:
            with np.load(path, allow_pickle=False) as data:
                if int(data["format"]) != FORMAT:
                    raise ValueError("another format")
                columns, rows, *rest = data["layout"].tolist()
                focal, x, y = data["lens"].tolist()
                pictures = {n: data[n].astype(np.float32) / 255 for n in ("colours", "visible", "photo", "alpha")}
                layout = HeadMap(int(columns), int(rows), *rest)
                return cls(
                    layout, data["radius"], **pictures, camera=Camera(data["cam2world"], focal, (float(x), float(y)))
                )
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"The proxy in {folder} is damaged; make it again with `portrait360 proxy`.") from error

    def render(self, camera: Camera, size: int = 256) -> ProxyView:
        """The photo where it is as fine as this camera looks, the completed colours elsewhere."""
        cover, buffers = self._rasterise(camera, size)
        found = buffers.ids >= 0
        values = raster.interpolate(buffers, self.triangles, self._values)
        normals = values[..., 4:] / np.maximum(np.linalg.norm(values[..., 4:], axis=-1, keepdims=True), 1e-9)
        places = camera.unproject(pixel_centres(size, size), np.where(found, buffers.depth, camera.radius))
        uv, _ = self.camera.project(places)
        fine = smoothstep(COARSER, AS_FINE, self._fineness(places, normals, camera))
        share = found * values[..., 3] * fine
        photo = look_up(_reduced(self.photo, size), uv)
        rgb = values[..., :3] + share[..., None] * (photo - values[..., :3])
        mask = cover * (1 - share * (1 - look_up(_reduced(self.alpha, size), uv)))
        single = np.float32
        return ProxyView(
            (rgb * found[..., None]).clip(0, 1).astype(single),
            share.astype(single),
            mask.astype(single),
            buffers.depth,
            (normals * found[..., None]).astype(single),
        )

    def textured(self) -> TexturedMesh:
        """The completed head with its map as texture, for programs that draw meshes."""
        rows, columns = self.layout.rows, self.layout.columns
        row, column = np.divmod(self.triangles.astype(np.float64), columns)
        crown = self.triangles == rows * columns
        row[crown] = -0.5
        column[crown] = column[crown.any(1)][:, 1:].mean(1)
        around = (np.ptp(column, axis=1) > columns / 2)[:, None] & (column < columns / 2)
        uv = np.stack([(column + columns * around + 0.5) / (columns + 1), (row + 0.5) / rows], -1)
        corners = self.triangles.ravel()
        return TexturedMesh(
            self.vertices[corners].astype(np.float32),
            self._values[corners, 4:],
            uv.reshape(-1, 2).astype(np.float32),
            np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
            eight_bits(np.concatenate([self.colours, self.colours[:, :1]], 1)),
        )

    def _rasterise(self, camera: Camera, size: int) -> tuple[Floats, raster.Buffers]:
        """Cover (s, s), and what the pixels see: at their centres, or at any sample where the centre is empty."""
        points = raster.homogeneous(self.vertices, camera, size, size)
        depth = np.full((size, size, len(SAMPLES)), np.inf, np.float32)
        ids = np.full(depth.shape, -1, np.int32)
        every = np.arange(len(self.triangles), dtype=np.int32)
        raster_numba.draw(points, self.triangles, every, SAMPLES, depth, ids)
        front, near = ids[..., 0].copy(), depth[..., 0].copy()
        cover = np.zeros((size, size), np.float32)
        for i in range(1, len(SAMPLES)):
            cover += ids[..., i] >= 0
            empty = front < 0
            front[empty], near[empty] = ids[..., i][empty], depth[..., i][empty]
        barycentrics = np.zeros((size, size, 3), np.float32)
        raster_numba.weights(points, self.triangles, front, barycentrics)
        barycentrics = barycentrics.clip(0, 1)  # a pixel's centre may lie beside the triangle that its samples hit
        barycentrics /= np.maximum(barycentrics.sum(-1, keepdims=True), 1e-9)
        near[front < 0] = 0
        cover = np.where(front >= 0, np.maximum(cover / (len(SAMPLES) - 1), 0.25), 0)
        return cover.astype(np.float32), raster.Buffers(front, barycentrics, near)

    def _fineness(self, places: Floats, normals: Floats, camera: Camera) -> Floats:
        """How many pixels of the photo, of the camera's own size, a pixel of the camera has for a place."""
        out = []
        for eye in (self.camera, camera):
            towards = eye.position - places
            distance = np.linalg.norm(towards, axis=-1)
            cosine = (normals * towards).sum(-1) / distance
            out.append(np.maximum(cosine, 0.02) * (eye.focal / distance) ** 2)
        return out[0] / out[1]


def _reduced(photo: Floats, size: int) -> Floats:
    if size >= photo.shape[0]:
        return photo
    return np.asarray(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def make_proxy(portrait: Portrait, others: Sequence[Portrait] = ()) -> Proxy:
    """Skin from the fit, hair and clothes grown to the matte, colours from the photo, and where it shows nothing from
    others of the same head, completed all around."""
    hair = load_hair_model().smaller(portrait.growth)
    goal = outline(portrait.alpha, portrait.known)
    skins = skin_radii(portrait, (hair.layout, MIDDLE, LAYOUT))
    bare = (hair.share[0] > 0.8) & (portrait.source == "face")
    thick = fit_thickness(hair, skins[hair.layout], portrait.camera, goal, bare)
    radius, extra, layout = thick, thick, hair.layout
    for finer, steps in ((MIDDLE, 3), (LAYOUT, 1)):
        held = resampled(bare.astype(np.float64), hair.layout, finer) > 0.5
        radius = skins[finer] + resampled(extra, layout, finer)
        radius = spread(finer, radius, portrait.camera, goal, held, steps=steps)
        extra, layout = radius - skins[finer], finer
    radius = carve(LAYOUT, round_crown(LAYOUT, radius), portrait.camera, goal)
    belief = np.stack([resampled(one, hair.layout, LAYOUT) for one in hair.kinds(thick)])
    return textured(portrait, radius, belief, others)


def to_outline(portrait: Portrait, radius: Floats) -> Floats:
    """The surface grown and cut back to where the portrait shows its end."""
    goal, nowhere = outline(portrait.alpha, portrait.known), np.zeros(radius.shape, bool)
    radius = spread(LAYOUT, radius, portrait.camera, goal, nowhere, steps=6)
    return carve(LAYOUT, round_crown(LAYOUT, radius), portrait.camera, goal)


def textured(portrait: Portrait, radius: Floats, belief: Floats, others: Sequence[Portrait] = ()) -> Proxy:
    """A surface with the photos' colours; belief (3, rows, columns) in skin, hair and cloth."""
    photos = on_surface(portrait, radius, others)
    return photos.proxy(portrait, radius, complete(LAYOUT, photos.all, belief, portrait.camera.azimuth))


@dataclass(frozen=True, eq=False)
class OnSurface:
    """What photos show of a surface."""

    clean: Floats  # (s, s, 3) the portrait's foreground
    own: Seen  # of the portrait
    all: Seen  # of the portrait and the others

    def proxy(self, portrait: Portrait, radius: Floats, colours: Floats) -> Proxy:
        colours, visible, photo, alpha = (
            eight_bits(v).astype(np.float32) / 255 for v in (colours, self.own.visible, self.clean, portrait.alpha)
        )
        return Proxy(LAYOUT, radius.astype(np.float32), colours, visible, photo, alpha, portrait.camera)


def on_surface(
    portrait: Portrait, radius: Floats, others: Sequence[Portrait] = (), *, clean: Floats | None = None
) -> OnSurface:
    """`clean`: the portrait's foreground, where it is known."""
    clean = foreground(portrait.rgb, portrait.alpha) if clean is None else clean
    own = every = photographed(LAYOUT, radius, portrait.camera, clean, portrait.alpha, portrait.known)
    surface = LAYOUT.mesh(radius)
    for other in others:
        camera, rgb = camera_on(other, portrait, *surface), foreground(other.rgb, other.alpha)
        every = together(every, photographed(LAYOUT, radius, camera, rgb, other.alpha, other.known))
    return OnSurface(clean, own, every)


def pasted(colours: Floats, seen: Seen) -> Floats:
    """The photo where it can be trusted."""
    return colours + seen.trust[..., None] * (seen.rgb - colours)


def skin_radii(portrait: Portrait, layouts: tuple[HeadMap, ...]) -> dict[HeadMap, Floats]:
    """Radius (rows, columns) of the fitted skin in several maps; where rays meet only hollows, as around them."""
    model = load_morphable()
    vertices = model.vertices(portrait.shape, portrait.expression) / portrait.growth
    return {layout: _filled(layout.unwrap(vertices, model.triangles)[0]) for layout in layouts}


def _filled(radius: Floats) -> Floats:
    """Holes (0) closed smoothly from their rims."""
    holes, out = radius <= 0, radius.copy()
    weight = (~holes).astype(np.float64)
    for sigma in (1, 2, 4, 8, 16, 32):
        total = around(weight, sigma, sigma)
        value = around(radius * weight, sigma, sigma) / np.maximum(total, 1e-9)
        now = holes & (total > 0.05)
        out[now], holes = value[now], holes & ~now
    return out
