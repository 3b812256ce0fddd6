"""Take the frames of glasses off a photo: near its direction they are its own, further round a frame before the face.

A frame that is painted on the skin is seen to be so from aside, and its lines are stains on the layers beneath.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.person import GLASSES_SHARE, SURE_GLASSES, share_of_face
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.worn.glasses_fit import DIM, find_glasses, fit_dark_lenses, shows_dark_lenses
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import with_label
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.sampling.parameters import Colour, HeadParameters, Wear
from portrait360.synth.scene import Material, Mesh, Scene
from portrait360.synth.wear.glasses import (
    CLEAR_FRAME,
    THICK_FRAME,
    WIRE_FRAME,
    find_frame,
    fit_frame,
    make_glasses,
    trace_rim,
)
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import SKIN_LABELS, Label

LIKELY, SURER = 0.33, 0.5  # the reader's probability of glasses from which a photo is searched for them: the
# search takes seconds, so it must be higher where no pixels are called glasses
EVIDENCE, READ = (
    0.06,
    0.1,
)  # what must speak for glasses: their lines, and this times the reader's probability above half
THICK = 0.0125  # head heights from which a rim is not a wire, which is as thin above as below
REFLECTS = 0.8  # albedo of a frame per unit of what a photo shows of it
LESS, ALBEDO = 0.3, (0.003, 0.85)  # of its albedo with which a frame is rendered a second time, and limits of albedos
SLACK, BRIDGE = 6.0, 14.0  # pixels of 512 by which the photo's frame may lie beside the fitted one, and its bridge
LINE, THICKER = 9.0, 2.0  # pixels of 512, and thicknesses of a frame: what is narrower is a line
DISTINCT = 0.08  # logarithm by which it differs from what lies beside it
MIDDLE = 0.85  # quantile of how much the pixels of a frame differ from which they are its middle
BESIDE, CLEARLY = 10.0, 0.7  # pixels of 512 along rims, and quantile of its lines, that tell if a frame is dark
AROUND = 3.0  # pixels from which what lies beneath is taken
OWN = (10.0, 13.0)  # degrees from the photo's direction over which its frame gives way to that of the layers
CLEAR = 0.5  # opacity of a lens below which the photo shows what lies behind it


def choose_glasses(head: Head, photo: Photo, wear: Wear, answers: dict[str, float]) -> Wear:
    """Return what is worn, with glasses as the photo shows them; `answers` holds the reader's probabilities."""
    if is_dark(wear.glasses) and not shows_dark_lenses(head, photo):
        wear = replace(wear, glasses=CLEAR_FRAME)
    if is_dark(wear.glasses):
        return replace(wear, glasses_fit=fit_dark_lenses(head, photo, wear.glasses) or wear.glasses_fit)
    likely = 1 - answers.get("none", 1.0)
    labelled = photo.shows(Label.GLASSES).any()
    if wear.glasses == "none" and likely < (LIKELY if labelled else SURER):
        return wear
    found = find_glasses(head, photo)
    # so many pixels are as good as a sure answer, which a reader seldom gives for a face that is far turned
    likely = max(likely, SURE_GLASSES * (share_of_face(photo, Label.GLASSES) > GLASSES_SHARE))
    if found.rating + READ * (likely - 0.5) < EVIDENCE:
        return wear
    kind = WIRE_FRAME if found.rim < THICK else THICK_FRAME
    found = replace(found, upper=found.rim) if kind == WIRE_FRAME else found
    worn = replace(wear, glasses=kind, glasses_fit=found.fit(kind))
    colour = find_frame_colour(head, photo, worn)
    return wear if colour is None else replace(worn, glasses_colour=colour)


def find_frame_colour(head: Head, photo: Photo, wear: Wear) -> Colour | None:
    """Return the albedo of a frame as it is worn: of its dark lines, or of its bright ones, whichever the rims have.

    None where the photo shows no lines.
    """
    parameters = HeadParameters(wear=wear)
    meshes = with_label(make_glasses(head, parameters), Label.GLASSES)
    shown = find_frame_pixels(meshes, photo, parameters)
    rims = [trace_rim(mesh) for mesh in find_front(meshes)[:2]]
    places = [np.round(photo.camera.project(rim)[0] * photo.size).astype(np.int32) for rim in rims]
    band = np.zeros(shown.shape, np.uint8)
    cv2.polylines(band, places, True, 1, max(round(BESIDE * photo.size / 512), 1))
    along = shown & (band > 0)
    if not along.any():
        return None
    kinds = split_lines(photo, measure_thickness(photo, parameters))
    lines = max(kinds, key=lambda lines: float(np.quantile(lines[along], CLEARLY)))
    sure = shown & (lines >= np.quantile(lines[shown], MIDDLE))
    r, g, b = (float(v) for v in np.clip(REFLECTS * np.median(photo.radiance[sure], 0), *ALBEDO))
    return r, g, b


def is_dark(kind: str) -> bool:
    """Return whether glasses hide the eyes."""
    return kind != "none" and find_frame(kind).opacity > CLEAR


def mark_frames(photo: Photo, head: Head, parameters: HeadParameters) -> Photo:
    """Return the photo in which only the frame is labelled as glasses, not what is seen through the lenses."""
    kind = parameters.wear.glasses
    if kind == "none" or is_dark(kind):
        return photo
    labels = np.where(photo.shows(Label.GLASSES), np.uint8(Label.FACE), photo.labels)
    photo = replace(photo, labels=labels)
    labels[find_frame_pixels(make_glasses(head, parameters), photo, parameters)] = Label.GLASSES
    return photo


def mark_bent_frames(photo: Photo, scene: Scene, parameters: HeadParameters) -> Photo:
    """Return the photo with what else is frame now that its rims lie where they are seen, see `bend_rims`."""
    meshes = [mesh for mesh in scene.meshes if is_glasses(mesh)]
    if not meshes or is_dark(parameters.wear.glasses):
        return photo
    frame = find_frame_pixels(meshes, photo, parameters)
    return replace(photo, labels=np.where(frame, np.uint8(Label.GLASSES), photo.labels))


def find_frame_pixels(meshes: Sequence[Mesh], photo: Photo, parameters: HeadParameters) -> Bools:
    """Return the lines of a photo (s, s) that lie on bare skin near glasses as they are worn, the bridge last."""
    meshes = [mesh for mesh in meshes if mesh.material[0] != Material.GLASS]
    firsts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    triangles = np.concatenate([mesh.triangles + first for mesh, first in zip(meshes, firsts[:-1], strict=True)])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    scale, size = photo.size / 512, photo.size
    drawn = rasterizer.rasterise(vertices, triangles, photo.camera, size).ids >= 0
    thick = measure_thickness(photo, parameters)
    near = cv2.dilate(drawn.astype(np.uint8), make_disc((SLACK + 0.5 * thick) * scale)) > 0
    bridge = rasterizer.rasterise(meshes[-1].vertices, meshes[-1].triangles, photo.camera, size).ids >= 0
    near |= cv2.dilate(bridge.astype(np.uint8), make_disc(BRIDGE * scale)) > 0
    lines = (measure_lines(photo, thick) > DISTINCT) & near
    lines = cv2.dilate(lines.astype(np.uint8), make_disc(1.0)) > 0
    return lines & photo.shows(*(label for label in SKIN_LABELS if label != Label.EYE), Label.GLASSES)


def measure_thickness(photo: Photo, parameters: HeadParameters) -> float:
    """Return how thick the rims of a frame are at most in a photo, pixels of 512."""
    frame = fit_frame(find_frame(parameters.wear.glasses), parameters.wear.glasses_fit)
    scale = 512 * float(photo.camera.focal / photo.camera.radius)
    return scale * HEAD_HEIGHT * (frame.rim + frame.upper)


def measure_lines(photo: Photo, thick: float) -> F32:
    """Return by how much pixels differ from what lies on both sides of a line this thick (s, s), logarithms."""
    return np.maximum(*split_lines(photo, thick))


def split_lines(photo: Photo, thick: float) -> tuple[F32, F32]:
    """Return the same, by how much pixels are darker, and by how much they are brighter."""
    light = np.log(np.maximum(photo.radiance, 0).mean(-1) + DIM).astype(np.float32)
    wide = make_disc(0.5 * max(LINE, THICKER * thick) * photo.size / 512)
    dark, bright = (cv2.morphologyEx(light, kind, wide) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    return np.asarray(dark, np.float32), np.asarray(bright, np.float32)


def make_disc(radius: float) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(radius) + 1,) * 2)


def take_frames_off(photo: Photo, kind: str) -> Photo:
    """Return the photo with the skin that lies beneath a frame of this kind, smooth between what lies beside it."""
    frame = photo.shows(Label.GLASSES)
    if kind == "none" or is_dark(kind) or not frame.any():
        return photo
    picture = np.round(np.clip(photo.rgb, 0, 1) * 255).astype(np.uint8)
    beneath = cv2.inpaint(picture, frame.astype(np.uint8), AROUND, cv2.INPAINT_TELEA).astype(np.float32) / 255
    rgb = np.where(frame[..., None], beneath, photo.rgb).astype(np.float32)
    labels = np.where(frame, np.uint8(Label.FACE), photo.labels)
    return replace(photo, rgb=rgb, radiance=srgb_to_radiance(rgb), labels=labels)


def take_glasses_off(scene: Scene) -> Scene:
    """Return a scene without glasses, whose lenses shine and would be seen in the colours beneath."""
    return replace(scene, meshes=tuple(mesh for mesh in scene.meshes if not is_glasses(mesh)))


def drop_clear_lenses(meshes: Sequence[Mesh]) -> list[Mesh]:
    """Return the meshes without lenses that one looks through: the gloss on them hides what the photo shows."""
    return [mesh for mesh in meshes if mesh.material[0] != Material.GLASS or mesh.opacity[0] > CLEAR]


def put_glasses_on(scene: Scene, built: Scene) -> Scene:
    """Return a scene with the glasses of the scene that it was before, in the same places of the list."""
    others = iter(scene.meshes)
    return replace(scene, meshes=tuple(mesh if is_glasses(mesh) else next(others) for mesh in built.meshes))


def match_frame(scene: Scene, photo: Photo, wear: Wear) -> Scene:
    """Return a scene in whose light the frame of clear glasses looks as bright as in the photo.

    Polish adds light to plastic, and metal reflects but a part of what is around it.
    """
    worn = tuple(mesh for mesh in scene.meshes if is_glasses(mesh))
    if not worn or is_dark(wear.glasses):
        return scene
    own = np.array(wear.glasses_colour)
    others = tuple(mesh for mesh in scene.meshes if not is_glasses(mesh))  # the head hides temples
    shown = [
        _measure_frame(replace(scene, meshes=others + _dye(worn, own * k), strands=()), photo) for k in (1, LESS)
    ]
    slope = np.maximum((shown[0] - shown[1]) / ((1 - LESS) * own), 1e-3)
    if not np.isfinite(shown).all():  # it lies beyond the photo
        return scene
    gloss = shown[0] - slope * own
    return replace(
        scene,
        meshes=tuple(
            replace(mesh, albedo=np.clip((mesh.albedo / REFLECTS - gloss) / slope, *ALBEDO).astype(np.float32))
            if is_glasses(mesh) and mesh.material[0] != Material.GLASS
            else mesh
            for mesh in scene.meshes
        ),
    )


def _dye(meshes: Sequence[Mesh], colour: Floats) -> tuple[Mesh, ...]:
    return tuple(
        mesh
        if mesh.material[0] == Material.GLASS
        else replace(mesh, albedo=np.broadcast_to(colour, mesh.albedo.shape).astype(np.float32))
        for mesh in meshes
    )


def _measure_frame(scene: Scene, photo: Photo) -> Floats:
    """Return the usual radiance (3,) of glasses in a scene, as a photo shows them: thin wires mixed with skin."""
    film = render_linear(prepare_scene(scene, occlusion=False, quality=DRAFT), photo.camera, photo.size)
    seen = (film.labels == Label.GLASSES) & (film.alpha > CLEAR)
    return np.median(film.radiance[seen], 0) if seen.any() else np.full(3, np.nan)


def is_glasses(mesh: Mesh) -> bool:
    return mesh.labels is not None and len(mesh.labels) > 0 and int(mesh.labels[0]) == Label.GLASSES


def find_front(meshes: Sequence[Mesh]) -> list[Mesh]:
    """Return the rims of glasses and the bridge between them, not lenses and temples."""
    solid = [mesh for mesh in meshes if is_glasses(mesh) and mesh.material[0] != Material.GLASS]
    sizes = [np.ptp(mesh.vertices, axis=0) for mesh in solid]
    return [mesh for mesh, size in zip(solid, sizes, strict=True) if size[2] < size[0]]


def find_frames_before(film: Film, angle: Floats) -> F32:
    """Return how far frames of the layers are shown before the photo's skin (s, s): not near its direction."""
    frames = cv2.dilate((film.labels == Label.GLASSES).astype(np.float32), np.ones((3, 3), np.uint8))
    soft = cv2.GaussianBlur(frames, (0, 0), 0.6)
    return np.asarray(np.minimum(1.3 * soft, 1) * smoothstep(*OWN, angle), np.float32)


def show_own_frame(worn: F32, angle: Floats, over: tuple[float, float] = OWN) -> F32:
    """Return what a photo's own frame (s, s, 3) adds to colours, which views up to where it fades show."""
    return np.asarray(worn * (1 - smoothstep(*over, angle))[..., None], np.float32)
