"""Give an avatar an expression and turn its head, for rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.geometry.rasterizer import vertex_normals
from portrait360.pipeline.animate.changed_photo import MOVING, PhotoOfFace, make_photo_of_face
from portrait360.pipeline.animate.moving_parts import MovingParts, Shift, find_first, find_moving_parts
from portrait360.pipeline.animate.neck import NeckField, NeckTurn, make_neck_field, neck_vector
from portrait360.pipeline.animate.openings import Openings, find_openings, find_whiteness
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.drawing.blink import DrawnEyes, find_drawn_eyes
from portrait360.pipeline.avatar.view.relief import Relief
from portrait360.pipeline.avatar.view.render import PhotoProjection, render_avatar
from portrait360.pipeline.export.avatar_glb.bust import make_neck
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.synth.render.bake import PORTRAIT, PreparedScene, renew_shadows
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.mesh_buffers import ALBEDO, AMBIENT, NORMAL, POSITION
from portrait360.synth.render.renderer import render_linear
from portrait360.utils.array_types import F32, I32, Floats
from portrait360.utils.errors import UserError

STILL = 1e-4  # weight and degrees: changes below it are none
SAME_SURFACE = 0.03  # canonical depth between a layer and the solid surface with which it moves
STRAND = 2e-4  # canonical depth by which strands lie before the skin
HIGHEST = 1.5  # weight that a unit can have: ARKit's stay below 1
SIDES = ("", "Left", "Right")
BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")
PARTED = 0.35  # least weight of jawOpen for that of tongueOut


def pose_avatar(
    avatar: Avatar, expression: Mapping[str, float], neck: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Avatar | PosedAvatar:
    """Return an avatar with another expression and a turned head; the avatar itself where nothing changes.

    Args:
        avatar: The head.
        expression: Weights of ARKit's units by name; a name without its side sets both. Units that are not named
            keep the weights of the photo.
        neck: Degrees by which the head turns to its left, looks up, and leans to its left shoulder.
    """
    puppet = make_puppet(avatar)
    weights = read_weights(expression, puppet.names, puppet.weights)
    if not np.isfinite(neck).all():
        raise UserError("The rotation of a head must be three finite angles in degrees.")
    if np.abs(weights - puppet.weights).max() < STILL and np.abs(neck).max() < STILL:
        return avatar
    return PosedAvatar(puppet, weights, NeckTurn(puppet.neck, neck_vector(*neck)))


def read_weights(expression: Mapping[str, float], names: tuple[str, ...], start: F32) -> F32:
    """Return the weights (52,) that an expression names, and those of `start` elsewhere."""
    weights = start.copy()
    for name, value in expression.items():
        places = [names.index(name + side) for side in SIDES if name + side in names]
        if not places:
            raise UserError(
                f"There is no expression unit {name!r}; use ARKit's names, such as jawOpen or mouthSmile."
            )
        if not np.isfinite(value):
            raise UserError(f"The weight of {name} must be a finite number.")
        weights[places] = np.clip(value, 0, HIGHEST)
    return restrict_mouth(weights, names, start)


def restrict_mouth(weights: F32, names: tuple[str, ...], start: F32) -> F32:
    """Return weights (52,) that a mouth can have, if the photo's (52,) are some.

    `mouthClose` closes what the jaw has opened, as ARKit means it: more would pull the lower lip over the other.
    A tongue comes out between parted teeth, not through them.
    """
    jaw, lips, tongue = (names.index(name) for name in ("jawOpen", "mouthClose", "tongueOut"))
    out = weights.copy()
    if out[tongue] > start[tongue]:
        out[jaw] = max(out[jaw], PARTED * out[tongue])
    out[lips] = min(out[lips], max(out[jaw], start[lips]))
    return out


@dataclass(frozen=True, eq=False)
class Puppet:
    """What all poses of an avatar share."""

    parts: MovingParts
    projection: PhotoProjection
    openings: Openings
    face: PhotoOfFace
    neck: NeckField
    normals: F32  # (n, 3) of the surface, from its triangles
    solid: I32  # (m, 3) triangles behind which nothing is seen
    whiteness: float  # of teeth, against those of the layers
    drawn: DrawnEyes | None  # eyes that are pixels of a drawing

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts.rig.names

    @property
    def weights(self) -> F32:
        """The photo's own expression (52,)."""
        return self.parts.rig.weights


@lru_cache(maxsize=2)
def make_puppet(avatar: Avatar) -> Puppet:
    """Find what moves on an avatar; this takes a second or two, and is kept for the last two avatars."""
    parts, scene, projection = find_moving_parts(avatar), avatar.prepared_scene, avatar.projection
    openings, skin = find_openings(avatar, parts), find_skin(avatar)
    first = find_first(avatar, skin)
    film = render_linear(scene, avatar.camera, avatar.picture.size)
    face = make_photo_of_face(avatar.picture, projection.relief, film, skin, first, openings)
    surface = scene.surface
    normals = vertex_normals(surface.values[:, POSITION], surface.triangles)
    solid = np.ascontiguousarray(surface.triangles[scene.solid])
    neck, white = make_neck_field(make_neck(parts.rig)), find_whiteness(avatar.picture, film)
    drawn = find_drawn_eyes(avatar.picture)
    return Puppet(parts, projection, openings, face, neck, normals, solid, white, drawn)


@dataclass(frozen=True, eq=False)
class PosedAvatar:
    """An avatar with an expression and a turned head; it renders as an avatar does."""

    puppet: Puppet
    weights: F32  # (52,)
    turn: NeckTurn

    def render(self, camera: Camera, size: int = 256) -> ProxyView:
        """Render a view; the camera stands where it stands to the shoulders."""
        view = render_avatar(self.projection, self.turn.to_head(camera), size, self)
        return replace(view, normals=self.turn.to_world(view.normals))

    @cached_property
    def projection(self) -> PhotoProjection:
        """The photo; drawn eyes close in it."""
        drawn, whole = self.puppet.drawn, self.puppet.projection
        blinks = [self.puppet.names.index(name) for name in BLINKS]
        closed = np.clip(self.weights[blinks], 0, 1)
        return whole if drawn is None or not closed.any() else whole.with_colours(drawn.close(closed))

    @cached_property
    def mesh_weights(self) -> F32:
        """What moves the layers (52,): drawn eyes have no lids."""
        if self.puppet.drawn is None:
            return self.weights
        of_eyes = np.array([name.startswith("eye") for name in self.puppet.names])
        return np.where(of_eyes, self.puppet.weights, self.weights)

    @cached_property
    def shift(self) -> Shift:
        return self.puppet.parts.move(self.mesh_weights)

    @property
    def scene(self) -> PreparedScene:
        """The layers where they are now."""
        return self._scene

    @cached_property
    def _scene(self) -> PreparedScene:
        return self.move_scene(self.puppet.projection.scene)

    def move_scene(self, rest: PreparedScene) -> PreparedScene:
        """Return the layers where they are now, in the light in which they have been baked at rest."""
        values, before = rest.surface.values.copy(), self.puppet.normals
        shift = self.shift.surface + self.opening[2] * self.puppet.openings.retreat
        straight = values[:, POSITION] + shift
        values[:, POSITION] = self.turn.bend(straight)
        # shoulders stay in the light as they are, though they turn in the frame of the head
        after = vertex_normals(straight, rest.surface.triangles)
        same_side = np.sign((values[:, NORMAL] * before).sum(1, keepdims=True))
        normals = values[:, NORMAL] + same_side * (after - before)
        values[:, NORMAL] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        values[:, AMBIENT] = self.puppet.openings.light(values[:, AMBIENT], self.mesh_weights, self.opening[2])
        values[:, ALBEDO] += self.opening[2] * self.puppet.openings.lips
        values[:, ALBEDO] += self.puppet.openings.calm_lids(self.mesh_weights)
        values[:, ALBEDO] *= self.puppet.openings.dim_teeth(self.shift, float(self.opening[2]))
        for row in self.puppet.parts.teeth:
            values[row.rows, ALBEDO] *= 1 + self.opening[2] * (self.puppet.whiteness - 1)
        points = self.turn.bend(rest.curves.points + self.shift.strands)
        curves = rest.curves._replace(points=np.ascontiguousarray(points, np.float32))
        moved = replace(rest, surface=rest.surface._replace(values=values), curves=curves)
        return renew_shadows(moved, PORTRAIT) if self.turn.vector.any() else moved

    @cached_property
    def opening(self) -> F32:
        """How far lids and lips (3,) show something else than in the photo."""
        return self.puppet.openings.measure_change(self.shift)

    @cached_property
    def gaze(self) -> F32:
        """How far eyeballs (3,) have turned."""
        return self.puppet.openings.measure_turn(self.shift)

    @property
    def change_map(self) -> F32:
        return self._change_map

    @cached_property
    def _change_map(self) -> F32:
        return self.puppet.face.find_changed(np.maximum(self.opening, self.gaze))

    @property
    def relief(self) -> Relief:
        face = self.puppet.face
        changed = np.maximum(face.find_changed(self.opening), face.find_turned(self.gaze))
        return face.move(self.shift, self.turn, changed)

    def find_eyes(self, rest: Floats, camera: Camera) -> Floats:
        """Return where a camera stands to what was at points (.., 3) in the photo, as if that had not moved."""
        return self.turn.find_eyes(rest, camera)

    def to_rest(self, film: Film, points: Floats, camera: Camera) -> tuple[Floats, Floats]:
        """Return where the points (s, s, 3) that a camera sees were in the photo, and where that says nothing."""
        vertices = self.scene.surface.values[:, POSITION]
        buffers = rasterizer.rasterise(vertices, self.puppet.solid, camera, len(film.depth))
        shift = rasterizer.interpolate(buffers, self.puppet.solid, self.shift.surface)
        found = (buffers.ids >= 0).astype(np.float32)
        weight = np.asarray(cv2.blur(found, (3, 3)))[..., None]
        beside = np.asarray(cv2.blur(shift, (3, 3))) / np.maximum(weight, 1e-6)
        shift = np.where(found[..., None] > 0, shift, beside)
        near = (np.abs(buffers.depth - film.depth) < SAME_SURFACE) | (found == 0)
        moves = near & np.isin(film.labels, MOVING)
        rest = self.turn.straighten(points) - shift * moves[..., None]
        before = buffers.depth - film.depth > STRAND
        changes = self.opening, self.gaze, self.puppet.openings.measure_stare(self.shift)
        lost = self.puppet.face.find_lost(film.labels, before, points, rest, *changes)
        return rest, np.maximum(lost, self.puppet.face.find_torn(film.labels, shift, rest, self.opening))
