"""A frame that stands before the face is as thick as the photo's all along its rims, and has its colours there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.pipeline.avatar.worn.frame_look import even_line
from portrait360.pipeline.avatar.worn.glasses_photo import find_front, is_glasses, mark_bent_frames, mark_frames
from portrait360.pipeline.avatar.worn.rims import bend_rims
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.parameters import GlassesFit, HeadParameters, Wear
from portrait360.synth.scene import Mesh, Scene
from portrait360.synth.wear.glasses import RIM_ANGLES, RIM_SIDES, trace_rim
from portrait360.utils.array_types import F64
from portrait360.utils.portrait_labels import Label
from tests.fixtures.glasses import dress, photograph

DARK, BLUE = (0.01, 0.01, 0.012), (0.02, 0.15, 0.7)
BROWLINE = Wear(glasses="thick_round", glasses_fit=GlassesFit(rim=-0.006, upper=0.02), glasses_colour=DARK)
EVEN = Wear(glasses="thick_round", glasses_colour=DARK)
UPPER, LOWER = np.sin(RIM_ANGLES) > 0.7, np.sin(RIM_ANGLES) < -0.5


def paint_lower_half(scene: Scene) -> Scene:
    rims = find_front(scene.meshes)[:2]

    def paint(mesh: Mesh) -> Mesh:
        low = mesh.vertices[:, 1] < mesh.vertices[:, 1].mean()
        return replace(mesh, albedo=np.where(low[:, None], np.array(BLUE), mesh.albedo).astype(np.float32))

    return replace(scene, meshes=tuple(paint(m) if any(m is rim for rim in rims) else m for m in scene.meshes))


def measure_radii(mesh: Mesh) -> F64:
    rings = mesh.vertices.reshape(-1, RIM_SIDES, 3)[:-1]
    return np.linalg.norm(rings - trace_rim(mesh)[:, None], axis=-1).mean(1)


def test_browlines_are_heavy_and_dark_above_and_fine_and_coloured_below(head: Head) -> None:
    photo, parameters = photograph(paint_lower_half(dress(head, BROWLINE))), HeadParameters(wear=EVEN)
    fitted = dress(head, EVEN)
    bent = bend_rims(fitted, mark_frames(photo, head, parameters), parameters)
    assert bent is not fitted
    for mesh in find_front(bent.meshes)[:2]:
        radii, albedo = measure_radii(mesh), mesh.albedo.reshape(-1, RIM_SIDES, 3)[:-1, 0]
        assert np.median(radii[UPPER]) > 1.3 * np.median(radii[LOWER])
        assert np.median(albedo[UPPER][:, 2]) < 0.3 * np.median(albedo[LOWER][:, 2])
        assert np.median(albedo[LOWER][:, 2]) > 2 * np.median(albedo[LOWER][:, 0])
    temples = [m for m in bent.meshes if is_glasses(m) and np.ptp(m.vertices[:, 2]) > np.ptp(m.vertices[:, 0])]
    assert temples and all(m.albedo.max() < 0.2 for m in temples)  # they go on from the upper rims


def test_what_is_frame_at_bent_rims_is_marked_and_what_is_marked_stays(head: Head) -> None:
    worn, parameters = dress(head, BROWLINE), HeadParameters(wear=BROWLINE)
    photo, naked = photograph(worn), photograph(dress(head, Wear()))
    true = np.abs(photo.radiance - naked.radiance).max(-1) > 0.05
    marked = mark_bent_frames(photo, worn, parameters).shows(Label.GLASSES)
    assert (marked & true).sum() > 0.5 * true.sum()
    kept = replace(photo, labels=np.full_like(photo.labels, Label.GLASSES))
    assert mark_bent_frames(kept, worn, parameters).shows(Label.GLASSES).all()
    assert mark_bent_frames(photo, dress(head, Wear()), HeadParameters()) is photo


def test_a_closed_line_has_no_seam_when_it_is_made_even() -> None:
    values = np.sin(RIM_ANGLES)[:, None]
    np.testing.assert_allclose(np.roll(even_line(values, 2.0), 9, 0), even_line(np.roll(values, 9, 0), 2.0))
