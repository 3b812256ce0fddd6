"""The brightness of a light, integrated by hand."""

from __future__ import annotations

import numpy as np

from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Light


def sphere_luminance(light: Light) -> float:
    """Return the mean luminance of a white Lambertian sphere, the measure of a light's brightness."""
    ambient = 0.28209479 * np.asarray(light.ambient)[0]
    return float((ambient + np.asarray(light.key_colours).sum(0) / 4) @ LUMINANCE)
