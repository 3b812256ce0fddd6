"""What the photo shows beyond the avatar's own colours, as gains of these colours with the light divided out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.clothes.pattern import ClothPattern, find_shown_cloth, lay_pattern
from portrait360.pipeline.avatar.photo.exposure import View, blur, find_seen, log_ratio, look_up_points
from portrait360.pipeline.avatar.photo.pixels import CLOTHES
from portrait360.synth.render.renderer import render_linear
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SKIN = (Label.FACE, Label.EAR, Label.SKIN, Label.LIPS, Label.BROW)
SKIN_WIDTH, CLOTH_WIDTH = 12.0, 60.0  # photo pixels of 512: what is broader is light, or the avatar's colours know it
FEATURES = (Label.BROW, Label.LIPS)
MOST, MOST_FEATURE, MOST_CLOTH = 0.42, 0.8, 1.8  # logarithm of the gain of skin, brows and lips, and cloth
DEPTH, FACING = 0.008, (0.3, 0.7)  # canonical depth behind the first surface, cosine: what the photo shows well
CLOTH_DEPTH, CLOTH_FACING = 0.03, (0.1, 0.4)
SMEARED = (0.008, 0.035)  # photo sides from hair, glasses and cloth over which detail of the skin fades in


@dataclass(frozen=True, eq=False)
class PhotoDetail:
    """The avatar's layers as its photo's camera sees them, without strands and lamps, beside the photo."""

    view: View
    pattern: ClothPattern | None = None  # of the clothes

    def on_skin(self, points: F32, normals: F32) -> tuple[F32, Floats]:
        """Return the logarithmic gain (n, 3) of skin at points, and how far the photo shows each of them (n,)."""
        fine, inside = self._skin
        return self._read(fine, points, normals, inside, DEPTH, FACING)

    @cached_property
    def _skin(self) -> tuple[F32, F32]:
        """The gain of skin (s, s, 3) and where the photo shows it (s, s)."""
        photo, bare = self.view.photo, self.view.bare
        other = ~np.isin(photo.labels, (*SKIN, Label.EYE, Label.MOUTH))
        apart = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) / photo.size
        inside = photo.mask(SKIN, inset=2) * np.isin(bare.labels, SKIN) * smoothstep(*SMEARED, apart)
        feature = photo.mask(FEATURES, inset=0, blur=3 * photo.size / 512)[..., None]
        fine = self._find_fine(inside, 1 - 0.98 * feature[..., 0], SKIN_WIDTH)
        held = MOST + (MOST_FEATURE - MOST) * feature
        return np.asarray(np.clip(fine, -held, held), np.float32), np.asarray(inside, np.float32)

    def on_things(self, points: F32, normals: F32, labels: tuple[Label, ...]) -> tuple[F32, Floats]:
        """Return the same of what is worn; the pattern of clothes goes on where the photo does not show it."""
        photo, bare = self.view.photo, self.view.bare
        inside = photo.mask(labels, inset=1) * np.isin(bare.labels, labels)
        fine = np.clip(self._find_fine(inside, np.ones_like(inside), CLOTH_WIDTH), -MOST_CLOTH, MOST_CLOTH)
        gain, seen = self._read(fine, points, normals, inside, CLOTH_DEPTH, CLOTH_FACING)
        if self.pattern is None or labels != CLOTHES:
            return gain, seen
        uv, depth = photo.camera.project(points)
        x, y = (np.clip((uv[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
        shown = find_shown_cloth(photo, points, normals, depth - self.depth[y, x])
        laid = lay_pattern(self.pattern, points, normals, 1.0)
        both = seen[:, None] * gain + (1 - shown)[:, None] * laid
        return np.asarray(both, np.float32), np.ones_like(seen)

    @cached_property
    def depth(self) -> F32:
        """The depth of the first surface at the photo's camera (s, s), 9 where there is none."""
        return np.where(self.view.bare.alpha > 0.3, self.view.bare.depth, np.float32(9))

    def _find_fine(self, inside: Floats, plain: Floats, width: float) -> F32:
        """Return what of the logarithmic ratio (s, s, 3) of photo and layers is no change of light."""
        photo = self.view.photo
        ratio = log_ratio(photo.radiance, self.view.bare.radiance)
        ratio = ratio - np.median(ratio[inside > 0.5], 0) if (inside > 0.5).any() else ratio
        return np.asarray(ratio - blur(ratio, inside * plain, width * photo.size / 512), np.float32)

    def _read(
        self, fine: F32, points: F32, normals: F32, inside: Floats, depth: float, facing: tuple[float, float]
    ) -> tuple[F32, Floats]:
        photo, bare = self.view.photo, self.view.bare
        seen = find_seen(points, normals, self.view, bare, depth, np.asarray(inside, np.float32), facing=facing)
        detail = np.zeros_like(points)
        rows = np.flatnonzero(seen > 0)
        detail[rows] = look_up_points(fine, photo.camera.project(points[rows])[0])
        return detail, seen


def find_photo_detail(avatar: Avatar) -> PhotoDetail:
    photo, scene = avatar.picture, avatar.prepared_scene
    curves = scene.curves._replace(segments=scene.curves.segments[:0], ends=scene.curves.ends[:0])
    rig = scene.rig._replace(colours=np.zeros_like(scene.rig.colours))  # lamps cast shadows that the photo has not
    bare = render_linear(replace(scene, curves=curves, rig=rig), photo.camera, photo.size)
    return PhotoDetail(View(photo, bare, bare), avatar.projection.pattern)
