"""The outer surface of an avatar as a proxy, for what needs one radius and one colour in every direction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.avatar.avatar import Avatar, CoarseHead
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.pipeline.proxy.unwrap import unwrap_points
from portrait360.utils.array_types import Floats
from portrait360.utils.images import to_uint8

SCANS = ((0.0, 16), (35.0, 10), (-30.0, 8), (75.0, 4))  # elevation in degrees, number of cameras
SIZE, MIN_COVER = 256, 0.5  # pixels of a scan; cover from which a pixel is of the head


def unwrap_head(head: CoarseHead) -> Proxy:
    """Return a proxy of this head; a proxy is returned as it is."""
    if isinstance(head, Proxy):
        return head
    points, towards, rgb, seen = (np.concatenate(part) for part in zip(*_scan(head), strict=True))
    unwrapped = unwrap_points(LAYOUT, points, towards, [*rgb.T, seen], outermost=True)
    colours, visible, photo, alpha = (
        to_uint8(values).astype(np.float32) / 255
        for values in (unwrapped.values[..., :3], unwrapped.values[..., 3], head.photo, head.alpha)
    )
    return Proxy(LAYOUT, unwrapped.radius.astype(np.float32), colours, visible, photo, alpha, head.camera)


def _scan(avatar: Avatar) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
    """Yield points, unit directions to the camera, colours and visibility, for one camera after another."""
    for elevation, count in SCANS:
        for i in range(count):
            camera = Camera(look_at(360 * i / count, elevation), avatar.camera.focal)
            view = avatar.render(camera, SIZE)
            solid = (view.mask > MIN_COVER) & (view.depth > 0)
            points = camera.unproject(pixel_centres(SIZE, SIZE), view.depth)[solid]
            towards = camera.position - points
            yield (
                points,
                towards / np.linalg.norm(towards, axis=1, keepdims=True),
                view.rgb[solid],
                view.visibility[solid],
            )
