"""How large a head appears in its views."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from portrait360.geometry.cameras import orbit
from portrait360.geometry.canonical_frame import FRAME_MARGIN, HEAD_HEIGHT, RADIUS, SHOULDER_HEIGHT
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.utils.parallel.threads import map_in_threads

SHARE = 0.7  # of the picture's height, from the chin to the top of the hair, as in the papers
CLOSEST = 1.5  # times the focal length of the portrait
SIDES, SIZE = 8, 64  # views from which the head's reach is read, and their pixels
_known: WeakKeyDictionary[CoarseHead, float] = WeakKeyDictionary()  # several stages of a run ask for one head


def frame_focal(head: CoarseHead) -> float:
    """Return the focal length at which the head fills views, and nothing above its shoulders leaves them.

    The published networks have a focal length of their own.
    """
    if head not in _known:
        _known[head] = _find_focal(head)
    return _known[head]


def _find_focal(head: CoarseHead) -> float:
    focal = head.camera.focal
    top, wide = 0.0, 0.0
    shoulders = 0.5 - SHOULDER_HEIGHT * focal / RADIUS  # picture row, in sides
    for view in map_in_threads(lambda camera: head.render(camera, SIZE), orbit(SIDES, focal=focal)):
        rows, columns = np.nonzero(view.mask > 0.5)
        above = (rows + 0.5) / SIZE < shoulders
        if above.any():
            top = max(top, 0.5 - rows[above].min() / SIZE)
            wide = max(wide, float(np.abs((columns[above] + 0.5) / SIZE - 0.5).max()) + 0.5 / SIZE)
    height = top + HEAD_HEIGHT / 2 * focal / RADIUS  # the chin lies as low in all heads
    zoom = min(SHARE / height, FRAME_MARGIN / max(top, wide, 1e-3))
    return focal * float(np.clip(zoom, 1.0, CLOSEST))
