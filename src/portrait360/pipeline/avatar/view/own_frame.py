"""The photo's own frame of glasses as a cutout that stands before the face, as far round as a photo's relief does.

A fitted frame never quite has the shape of the photo's, and where one takes over from the other the glasses change.
Only a frame that is darker than the face, and that is seen all along the rims of the fitted one, can be cut out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.relief import SIDE, connect, fill
from portrait360.pipeline.avatar.worn.glasses_fit import DIM
from portrait360.pipeline.avatar.worn.glasses_photo import find_front, make_disc
from portrait360.pipeline.avatar.worn.rims import find_rims
from portrait360.synth.meshes import unit
from portrait360.synth.render.bake import PreparedScene
from portrait360.synth.scene import Mesh
from portrait360.synth.wear.glasses import trace_rim
from portrait360.utils.array_types import F32, F64, I32, Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

FROM, END = (1.0, 4.0), (41.0, 45.0)  # degrees from the photo's direction from which it is cut out, and to which
FACING = 0.42, 0.47  # cosine to what lies before the head below which a flat frame is seen to have no depth
WIDEST, BRIDGE = 13.0, 8.0  # pixels of 512: what is wider is no line of a frame; around its bridge
BAND = (1.2, 5.0)  # its rims lie within this many times their thickness, and pixels of 512, around those lines
DARKEST = 0.8  # quantile of how much darker its pixels are than what lies around, from which they have its colour
SHARE = (0.3, 0.75)  # of that darkness over which pixels become its own
CONTRAST = 0.6  # logarithm by which it must be darker than the face
GAPS = 2.0  # pixels of 512 of gaps that are closed
SEEN, WHOLE = 0.5, 0.75  # share of darkness from which a rim is seen, and share of both rims that must be
BEHIND = 0.025  # canonical depth by which it may lie behind what is drawn there: its bridge on a nose
MARGIN = 2  # vertices around it


@dataclass(frozen=True, eq=False)
class OwnFrame:
    """A frame, cut out of its photo."""

    vertices: F64  # (n, 3)
    triangles: I32  # (t, 3)
    uv: F32  # (n, 2) of the photo
    picture: F32  # (s, s, 4) its colours, times its alpha, and that
    bare: PreparedScene  # the layers without rims and bridge
    camera: Camera  # the photo's

    def measure_share(self, camera: Camera) -> float:
        """Return how far a camera sees it as the photo did, and not edge-on: 0 where the layers' frame is shown."""
        away = unit(camera.position)
        turned = np.degrees(np.arccos(np.clip(away @ unit(self.camera.position), -1, 1)))
        return float((1 - smoothstep(*END, turned)) * smoothstep(*FACING, away[2]))

    def lay_over(
        self, rgb: Floats, alpha: Floats, depth: Floats, angle: Floats, camera: Camera
    ) -> tuple[Floats, Floats]:
        """Return a view (s, s, 3) and its alpha with the frame before it, but not right at the photo's camera."""
        buffers = rasterizer.rasterise(self.vertices, self.triangles, camera, len(alpha))
        uv = rasterizer.interpolate(buffers, self.triangles, self.uv)
        before = (buffers.depth > 0) & ((depth <= 0) | (buffers.depth < depth + BEHIND))
        share = (
            cv2.GaussianBlur(before.astype(np.float32), (0, 0), 0.7) * (buffers.depth > 0) * smoothstep(*FROM, angle)
        )
        shown = look_up(self.picture, uv.astype(np.float32)) * share[..., None]
        hides = shown[..., 3]
        return rgb * (1 - hides[..., None]) + shown[..., :3], alpha + hides * (1 - alpha)


def cut_out_frame(
    photo: Photo, bare: Photo, meshes: Sequence[Mesh], prepared: PreparedScene, thick: float
) -> OwnFrame | None:
    """Return the frame of a photo, of which `bare` is without it, as the meshes of a scene wear it; None if unclear.

    Its rims are `thick` pixels of 512 at most.
    """
    parts = find_front(meshes)
    if len(parts) != 3 or prepared.outline > 0:
        return None
    matte = find_matte(photo, bare, parts, thick)
    if matte is None:
        return None
    colour = np.clip(bare.rgb + (photo.rgb - bare.rgb) / np.maximum(matte, 0.05)[..., None], 0, 1)
    picture = np.dstack([colour * matte[..., None], matte]).astype(np.float32)
    drawn = np.max([rasterizer.rasterise(m.vertices, m.triangles, photo.camera, SIDE).depth for m in parts], 0)
    wide = cv2.dilate(cv2.resize(matte, (SIDE, SIDE), interpolation=cv2.INTER_AREA), make_disc(MARGIN)) > 0
    cells = connect(wide[:-1, :-1] & wide[1:, 1:] & wide[:-1, 1:] & wide[1:, :-1])
    used, numbers = np.unique(cells, return_inverse=True)
    uv = np.stack(np.unravel_index(used, (SIDE, SIDE))[::-1], -1) / (SIDE - 1)
    vertices = photo.camera.unproject(uv, fill(drawn, drawn > 0).ravel()[used])
    triangles = numbers.reshape(cells.shape).astype(np.int32)
    kept = replace(prepared, solid=prepared.solid[~_find_rows(meshes, parts)[prepared.solid]])
    return OwnFrame(vertices.astype(np.float64), triangles, uv.astype(np.float32), picture, kept, photo.camera)


def find_matte(photo: Photo, bare: Photo, parts: Sequence[Mesh], thick: float) -> F32 | None:
    """Return how much of each pixel (s, s) is a dark frame with fitted rims and bridge; None if that is unclear."""
    scale, worn = photo.size / 512, photo.shows(Label.GLASSES)
    if not worn.any():
        return None
    light, beneath = (np.log(np.maximum(p.radiance, 0).mean(-1) + DIM).astype(np.float32) for p in (photo, bare))
    around = cv2.morphologyEx(light, cv2.MORPH_CLOSE, make_disc(0.5 * WIDEST * scale))
    own = float(np.median(light[worn & (around - light >= np.quantile((around - light)[worn], DARKEST))]))
    # a bridge that is wider than lines has no skin beside it
    dark, wide = ((a - light) / np.maximum(a - own, CONTRAST) for a in (around, beneath))
    lines = cv2.GaussianBlur(dark, (0, 0), max(0.25 * thick, 1.0) * scale)
    found = find_rims(lines, [trace_rim(mesh) for mesh in parts[:2]], photo.camera)
    rims = [photo.camera.project(rim)[0] * photo.size for rim in found]
    if (look_up(lines, (np.concatenate(rims) / photo.size)[None].astype(np.float32)) > SEEN).mean() < WHOLE:
        return None
    band, bridge = _draw_bands(rims, parts, photo, max(round((BAND[0] * thick + BAND[1]) * scale), 1))
    share = np.maximum(smoothstep(*SHARE, dark) * (band | bridge), smoothstep(*SHARE, wide) * (bridge & worn))
    return np.asarray(
        cv2.morphologyEx(share.astype(np.float32), cv2.MORPH_CLOSE, make_disc(GAPS * scale)), np.float32
    )


def _draw_bands(rims: Sequence[F64], parts: Sequence[Mesh], photo: Photo, width: int) -> tuple[Bools, Bools]:
    """Return where rims (k, 2), pixels, and what is between them may lie (s, s)."""
    band, scale = np.zeros((photo.size, photo.size), np.uint8), photo.size / 512
    drawn = rasterizer.rasterise(parts[2].vertices, parts[2].triangles, photo.camera, photo.size).ids >= 0
    bridge = cv2.dilate(drawn.astype(np.uint8), make_disc(BRIDGE * scale))
    middle = parts[2].vertices[:, 0].mean()
    inner = [int(np.abs(trace_rim(mesh)[:, 0] - middle).argmin()) for mesh in parts[:2]]
    first, last = (np.round(rim[row]).astype(int).tolist() for rim, row in zip(rims, inner, strict=True))
    cv2.line(bridge, first, last, 1, width + round(BRIDGE * scale))
    cv2.polylines(band, [np.round(rim).astype(np.int32) for rim in rims], True, 1, width)
    return band > 0, bridge > 0


def _find_rows(meshes: Sequence[Mesh], parts: Sequence[Mesh]) -> Bools:
    """Return which triangles of all meshes are those of the parts."""
    return np.concatenate([np.full(len(mesh.triangles), any(mesh is part for part in parts)) for mesh in meshes])
