"""How large a head appears in its views."""

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import orbit
from portrait360.geometry.canonical_frame import HEAD_HEIGHT, RADIUS, SHOULDER_HEIGHT
from portrait360.pipeline.views.framing import CLOSEST, SHARE, frame_focal


@pytest.mark.parametrize("size", [0.8, 1.0, 1.3])
def test_a_head_fills_the_picture_and_nothing_leaves_it(proxy, size):
    head = replace(proxy, radius=proxy.radius * size)
    focal = frame_focal(head)
    assert 1 <= focal / head.camera.focal <= CLOSEST
    shoulders = int(96 * (0.5 - SHOULDER_HEIGHT * focal / RADIUS))
    masks = [head.render(camera, 96).mask[:shoulders] > 0.5 for camera in orbit(5, focal=focal)]
    if size <= 1:  # the portrait itself is framed so that nothing leaves it
        assert not any(mask[0].any() or mask[:, [0, -1]].any() for mask in masks)
    top = max(0.5 - np.nonzero(mask)[0].min() / 96 for mask in masks)
    wide = max(np.abs(np.nonzero(mask)[1] / 96 - 0.5).max() for mask in masks)
    share = top + HEAD_HEIGHT / 2 * focal / RADIUS
    assert share < SHARE + 0.03 or focal == head.camera.focal
    bounds = np.isclose(focal / head.camera.focal, [1, CLOSEST]).any(), share > SHARE - 0.03, max(top, wide) > 0.45
    assert any(bounds), "it could be larger"
