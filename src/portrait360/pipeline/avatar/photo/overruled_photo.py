"""What of its photo an avatar leaves out, once the user has said that something of it is otherwise.

Such pixels become VOID, the label of what lies beyond the photo. Nothing is fitted to them or coloured by them, and a
view shows them only as near to the photo's own direction as it shows all of the photo, whatever its labels: wholly
up to 5 degrees, hardly at 10, not at all from 16 on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.pixels import BEARD, CLOTHES, HAIR, SKIN, VOID, Photo
from portrait360.pipeline.avatar.skin.colours import HAIRLINE, SCALP, WHISKERS, skin_kinds
from portrait360.pipeline.avatar.skin.mesh import skin_sizes, soften
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Mesh, Part, Scene, Strands
from portrait360.utils.portrait_labels import Label

POOR = 0.6  # overlap of a thing with the photo's below which all of what the photo shows of it is left out
PATCH, MARGIN = 0.012, 0.014  # crop sides: half the width of the smallest patch that counts, and what goes around it
LOOKS: dict[str, tuple[Label, ...]] = {  # of what the whole look is the user's, once that is overruled
    "kind": (*SKIN, *HAIR, *BEARD, *CLOTHES),
    "statue": (*SKIN, *HAIR, *BEARD, *CLOTHES),
    "skin": tuple(label for label in SKIN if label != Label.EYE),
    "skin.lips": (Label.LIPS,),
    "eyes": (Label.EYE,),
    "facial.brow": (Label.BROW,),
    "facial.beard_colour": BEARD,
    "clothes.colour": CLOTHES,
    "clothes.second": CLOTHES,
    "clothes.pattern": CLOTHES,
    "wear.hat_": (Label.HAT,),
    "wear.glasses_colour": (Label.GLASSES,),
    "wear.metal": (Label.JEWELLERY,),
    "wear.gem": (Label.JEWELLERY,),
    **dict.fromkeys(("hair.colour", "hair.tips", "hair.grey", "hair.streaks", "hair.roots", "hair.wet"), HAIR),
}
SHAPES: dict[str, tuple[Label, ...]] = {  # of what only that is left out which contradicts the shape
    "facial.beard": BEARD,
    "wear.hat": (Label.HAT, *HAIR),  # a hat flattens the hair, too
    "wear.fit": (Label.HAT, *HAIR),
    "wear.glasses": (Label.GLASSES,),
    "wear.earrings": (Label.JEWELLERY,),
    "wear.nose_stud": (Label.JEWELLERY,),
    "wear.necklace": (Label.JEWELLERY,),
    "clothes.necklace": (Label.JEWELLERY,),
    "clothes": CLOTHES,
}
"""Both by the beginnings of places in the tree; the longest counts."""


@dataclass(frozen=True)
class Conflict:
    """What the user has said otherwise."""

    looks: frozenset[Label] = frozenset()  # labels whose whole look is overruled
    shapes: frozenset[Label] = frozenset()  # labels whose shape is
    strange: frozenset[Label] = frozenset()  # labels of what the photo shows nothing like, but whose colours it has

    def __bool__(self) -> bool:
        return bool(self.looks or self.shapes or self.strange)

    def with_hair(self, is_other: bool) -> Conflict:
        """Return the conflict with hair of another shape, or altogether other hair."""
        hair = frozenset(HAIR)
        return replace(self, shapes=self.shapes | hair, strange=self.strange | hair if is_other else self.strange)


NO_CONFLICT = Conflict()


def find_conflict(changes: Iterable[str]) -> Conflict:
    """Return what these changes of places in the tree overrule; the shape of the hair is not told by them."""
    known, looks, shapes = LOOKS | SHAPES, set[Label](), set[Label]()
    for place in changes:
        fitting = [prefix for prefix in known if place.startswith(prefix)]
        if fitting:
            longest = max(fitting, key=len)
            (looks if longest in LOOKS else shapes).update(known[longest])
    return Conflict(frozenset(looks), frozenset(shapes))


def leave_out_things(photo: Photo, shown: HeadParameters, wanted: HeadParameters) -> Photo:
    """Return the photo without beard, hat or glasses that it shows and that the user takes off."""
    things = (
        (Label.BEARD, shown.facial.beard, wanted.facial.beard),
        (Label.HAT, shown.wear.hat, wanted.wear.hat),
        (Label.GLASSES, shown.wear.glasses, wanted.wear.glasses),
    )
    gone = [label for label, before, after in things if before != "none" and after == "none"]
    return _make_void(photo, photo.shows(*gone)) if gone else photo


def leave_out_conflict(photo: Photo, scene: Scene, conflict: Conflict, *, patch: float = PATCH) -> Photo:
    """Return the photo without what contradicts a scene at the photo's camera.

    Differences in shape that are thinner than twice the width `patch` do not count.
    """
    prepared = prepare_scene(scene, occlusion=False, quality=DRAFT)
    film = render_linear(prepared, photo.camera, photo.size)
    drawn_labels = np.where(film.alpha > 0.5, film.labels, np.uint8(Label.BACKGROUND))
    wrong, known = photo.shows(*conflict.looks, *conflict.strange), photo.labels != VOID
    width = 2 * round(patch * photo.size) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    for label in sorted(conflict.shapes):
        true, drawn = photo.shows(label), (drawn_labels == label) & known
        overlap = (true & drawn).sum() / max((true | drawn).sum(), 1)
        differ = true | drawn if overlap < POOR else true ^ drawn
        if overlap >= POOR:
            differ = cv2.morphologyEx(differ.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
        wrong |= differ
    return _make_void(photo, wrong)


def _make_void(photo: Photo, mask: np.ndarray) -> Photo:
    """Return the photo with a mask, and a little around it, as if it lay beyond the photo."""
    width = 2 * max(round(MARGIN * photo.size), 1) + 1
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    return replace(photo, labels=np.where(wide, np.uint8(VOID), photo.labels))


def keep_looks(scene: Scene, built: Scene, conflict: Conflict) -> Scene:
    """Return a coloured scene whose overruled layers have the colours that they were built with."""
    meshes = [_keep_mesh(a, b, conflict) for a, b in zip(scene.meshes, built.meshes, strict=True)]
    strands = [_keep_strands(a, b, conflict) for a, b in zip(scene.strands, built.strands, strict=True)]
    return replace(scene, meshes=tuple(meshes), strands=tuple(strands))


def _keep_mesh(mesh: Mesh, built: Mesh, conflict: Conflict) -> Mesh:
    part, looks = int(mesh.part[0]), conflict.looks
    if part == Part.SKIN and len(mesh.vertices) in skin_sizes():
        if Label.FACE in looks:
            return replace(mesh, albedo=built.albedo)
        kinds, albedo = skin_kinds(mesh), mesh.albedo
        for which, label in ((SCALP, Label.HAIR), (WHISKERS, Label.BEARD)):
            if label in looks:
                share = soften((kinds == which).astype(np.float32), HAIRLINE)[:, None]
                albedo = albedo + share * (built.albedo - albedo)
        return replace(mesh, albedo=albedo)
    label = Label.CLOTHES if part == Part.CLOTHES else None if mesh.labels is None else Label(int(mesh.labels[0]))
    return replace(mesh, albedo=built.albedo) if label in looks else mesh


def _keep_strands(group: Strands, built: Strands, conflict: Conflict) -> Strands:
    labels = {Part.HAIR: Label.HAIR, Part.BEARD: Label.BEARD, Part.BROWS: Label.BROW}
    label = labels.get(Part(int(group.part[0])))
    if label == Label.BROW and conflict.looks & {Label.FACE, Label.BROW}:
        return built  # a photo's brows are on its skin, and grown ones have no width
    return replace(group, albedo=built.albedo) if label in conflict.looks else group
