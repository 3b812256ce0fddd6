"""From any photo to an aligned portrait: a square crop, its matte, and the camera that sees the head like this."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import RADIUS, Camera, azimuth_between, focal_from_fov, look_at
from portrait360.crop import Beyond, Square
from portrait360.errors import UserError
from portrait360.faces import LANDMARKS, Face, FaceLandmarks, face_features, upright_faces
from portrait360.files import sha256, whole, writing_to
from portrait360.geometry.face_fit import FaceFit
from portrait360.geometry.morphable import load_morphable
from portrait360.geometry.pose_readout import believing, load_pose_readout
from portrait360.geometry.pose_view import upright
from portrait360.images import Picture, eight_bits, load_picture, save_picture
from portrait360.outline import find_head
from portrait360.subject import colours, continued, matte_of, room, shown

Floats = NDArray[np.floating]

FOV = 18.8  # degrees: of the camera for which heads are framed
HEAD = 0.46  # canonical height of a head that is known by its outline alone
SMALL_FACE = 40  # pixels
MANY = 9  # faces: in a crowd no more are counted
AGAINST, ABSURD = 30.0, 100.0  # degrees between the azimuth that is given and the one that the face shows
POOR_FIT = 0.01  # crop sides: median distance of landmarks; that of faces that are fitted well is below .006
CORE, CORE_SHARE = (
    0.12,
    0.3,
)  # half side of the crop's middle, in crop sides, and how much of it a head covers at least
SIZES = (64, 2048)
FORMAT = 2  # of the files


@dataclass(frozen=True, eq=False)
class Portrait:
    """What later stages know of the photo. Pictures hold 8-bit values, so that files give back exactly the same."""

    rgb: Floats  # (s, s, 3) the aligned crop, sRGB in [0, 1]
    alpha: Floats  # (s, s) matte, straight
    known: Floats  # (s, s) 1 where the photo had pixels, 0 where they were made up
    camera: Camera  # of the crop, in the canonical frame
    source: str  # "face": fitted to landmarks; "matte": placed by its outline alone
    corner: tuple[float, float]  # of the crop, in pixels of the upright photo
    side: float
    landmarks: Floats | None  # (LANDMARKS, 2) in crop sides
    shape: Floats  # coefficients of the morphable head; zeros without a face
    expression: Floats
    notes: tuple[str, ...] = ()
    growth: float = 1.0  # how much larger the crop is than the fitted one: so much smaller is the head in it
    quarters: int = 0  # counter-clockwise turns after which the photo, as load_picture gives it, is upright

    def save(self, folder: Path) -> None:
        """Each file is whole or absent; the last one written vouches for the others by their SHA-256."""
        folder = Path(folder)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_picture(folder / "portrait.png", self.rgb, self.alpha)
            save_picture(folder / "known.png", np.repeat(self.known[..., None], 3, -1))
            with whole(folder / "portrait.json") as temporary:
                temporary.write_text(json.dumps(self._described(folder), indent=1))

    def _described(self, folder: Path) -> dict[str, Any]:
        return {
            "portrait360": FORMAT,
            "sha256": {name: sha256(folder / name) for name in ("portrait.png", "known.png")},
            "cam2world": self.camera.cam2world.tolist(),
            "focal": self.camera.focal,
            "center": list(self.camera.center),
            "azimuth": self.camera.azimuth,  # for readers; cam2world says it all
            "elevation": self.camera.elevation,
            "roll": self.camera.roll,
            "source": self.source,
            "corner": list(self.corner),
            "side": self.side,
            "landmarks": None if self.landmarks is None else self.landmarks.tolist(),
            "shape": self.shape.tolist(),
            "expression": self.expression.tolist(),
            "notes": list(self.notes),
            "growth": self.growth,
            "quarters": self.quarters,
        }

    @classmethod
    def load(cls, folder: Path) -> Portrait:
        folder = Path(folder)
        if not (folder / "portrait.json").is_file():
            raise UserError(f"{folder} holds no portrait; make one with `portrait360 align PHOTO -o {folder}`.")
        try:
            return cls._read(folder, json.loads((folder / "portrait.json").read_text()))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError) as error:
            raise UserError(
                f"The portrait in {folder} is damaged; make it again with `portrait360 align`."
            ) from error

    @classmethod
    def _read(cls, folder: Path, said: dict[str, Any]) -> Portrait:
        if said["portrait360"] != FORMAT:
            raise ValueError("another format")
        if any(sha256(folder / name) != said["sha256"][name] for name in ("portrait.png", "known.png")):
            raise ValueError("pictures that do not belong to the description")
        picture = load_picture(folder / "portrait.png")
        alpha = np.ones_like(picture.rgb[..., 0]) if picture.alpha is None else picture.alpha
        (cx, cy), (x, y) = said["center"], said["corner"]
        model = load_morphable().skin
        landmarks = said["landmarks"]
        return cls(
            rgb=picture.rgb,
            alpha=alpha,
            known=load_picture(folder / "known.png").rgb[..., 0],
            camera=Camera(np.array(said["cam2world"], np.float64), float(said["focal"]), (float(cx), float(cy))),
            source=str(said["source"]),
            corner=(float(x), float(y)),
            side=float(said["side"]),
            landmarks=None if landmarks is None else _numbers(landmarks, (LANDMARKS, 2)),
            shape=_numbers(said["shape"], (len(model.shape),)),
            expression=_numbers(said["expression"], (len(model.expression),)),
            notes=tuple(map(str, said["notes"])),
            growth=float(said["growth"]),
            quarters=int(said["quarters"]),
        )


def _numbers(values: Any, shape: tuple[int, ...]) -> Floats:
    out = np.array(values, np.float64)
    if out.shape != shape or not np.isfinite(out).all():
        raise ValueError(f"expected finite numbers {shape}")
    return out


def make_portrait(
    photo: Path | Picture,
    *,
    face: int | None = None,
    azimuth: float | None = None,
    elevation: float | None = None,
    size: int = 512,
    focal: float = focal_from_fov(FOV),
) -> Portrait:
    """Find the head, say where the camera stands, cut it out. `face` counts from 1, the largest."""
    _check(azimuth, elevation, size)
    picture = photo if isinstance(photo, Picture) else load_picture(photo)
    quarters, faces = upright_faces(shown(picture), max(MANY, face or 0))
    picture = picture.turned(quarters)
    notes = picture.notes + (("the photo was turned, so that the face is upright",) if quarters else ())
    if face is not None and not 1 <= face <= len(faces):
        there = {0: "is no face", 1: "is 1 face"}.get(len(faces), f"are {len(faces)} faces")
        raise UserError(f"There {there} in {picture.name}, so --face {face} does not exist.")
    if faces:
        notes, points = notes + _face_notes(faces, face), faces[(face or 1) - 1][1].points[:, :2].astype(np.float64)
        placed = _by_face(shown(picture), points, azimuth, elevation, focal)
    else:
        placed = _by_outline(picture, azimuth, elevation, focal)
    portrait = _cut_out(picture, replace(placed, notes=notes + placed.notes), size)
    return replace(portrait, quarters=quarters)


def _check(azimuth: float | None, elevation: float | None, size: int) -> None:
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"--size {size} does not work; choose {SIZES[0]} to {SIZES[1]} pixels.")
    if azimuth is not None and not -360 <= azimuth <= 360:
        raise UserError(f"--azimuth {azimuth:g} does not work; 0 is the front, 90 the subject's left, 180 the back.")
    if elevation is not None and not -89 <= elevation <= 89:
        raise UserError(f"--elevation {elevation:g} does not work; choose -89 (from below) to 89 (from above).")


@dataclass(frozen=True, eq=False)
class _Placed:
    """Where the crop lies and its camera stands, before anything is cut."""

    square: Square
    camera: Camera
    source: str
    points: Floats | None  # landmarks in photo pixels
    shape: Floats
    expression: Floats
    notes: tuple[str, ...]


def _face_notes(faces: list[tuple[Face, FaceLandmarks]], face: int | None) -> tuple[str, ...]:
    notes, width = [], faces[(face or 1) - 1][0].box[2]
    if len(faces) > 1 and face is None:
        count = f"{len(faces)} faces" if len(faces) < MANY else f"{MANY} faces or more"
        notes.append(f"{count} were found and the largest was taken; --face N takes another")
    if width < SMALL_FACE:
        notes.append(f"the face is only {width:.0f} pixels wide, so little of it can be known")
    return tuple(notes)


def fitted_face(
    rgb: Floats, points: Floats, focal: float, azimuth: float | None = None, elevation: float | None = None
) -> tuple[FaceFit, FaceFit]:
    """By the landmarks (n, 2) of a face alone, and by its look, too; an angle that is given holds there."""
    model = load_morphable()
    raw = model.fit(points, focal)
    head = upright(rgb, raw)
    belief = load_pose_readout()(face_features(head), face_features(head[:, ::-1]), raw)
    options = believing(model, belief, raw)
    assert options.hold is not None
    seen = options.hold
    held = (seen[0] if azimuth is None else azimuth, seen[1] if elevation is None else elevation)
    return raw, model.fit(points, focal, replace(options, hold=held))


def _by_face(rgb: Floats, points: Floats, azimuth: float | None, elevation: float | None, focal: float) -> _Placed:
    raw, fit = fitted_face(rgb, points, focal, azimuth, elevation)
    notes = _fit_notes(raw, fit)
    return _Placed(Square(fit.corner, fit.side), fit.camera, "face", points, fit.shape, fit.expression, notes)


def _fit_notes(free: FaceFit, held: FaceFit) -> tuple[str, ...]:
    """What the user should know of a fit, beside the one that was free to choose its angles."""
    shown_at, given = azimuth_between(0, free.camera.azimuth), azimuth_between(0, held.camera.azimuth)
    if abs(azimuth_between(shown_at, given)) > ABSURD:
        raise UserError(
            f"The face shows azimuth {shown_at:+.0f}, so --azimuth {given:+.0f} cannot be; a face needs no --azimuth."
        )
    if abs(azimuth_between(shown_at, given)) > AGAINST:
        return (f"the face shows azimuth {shown_at:+.0f}, --azimuth says {given:+.0f}: leave it away if in doubt",)
    if held.error > POOR_FIT:
        return ("the head fits the face badly, so look at the sheet; if it is a profile, add --azimuth 90 or -90",)
    return ()


def _by_outline(picture: Picture, azimuth: float | None, elevation: float | None, focal: float) -> _Placed:
    """By the matte of the whole picture: the head's middle becomes the origin."""
    matte = matte_of(picture)
    head = find_head(matte.values)
    if head is None:
        raise _no_head(picture)
    x, y = (place / matte.scale for place in head.center)
    side = head.height / matte.scale * RADIUS / (focal * HEAD)
    model = load_morphable().skin
    note = "no face was found, so the outline places the head"
    if azimuth is None:
        note += "; --azimuth and --elevation say where the camera stands (a profile: 90 or -90, from behind: 180)"
    return _Placed(
        Square((x - side / 2, y - side / 2), side),
        Camera(look_at(azimuth or 0.0, elevation or 0.0), focal),
        "matte",
        None,
        np.zeros(len(model.shape)),
        np.zeros(len(model.expression)),
        (note,),
    )


def _no_head(picture: Picture) -> UserError:
    return UserError(f"No head was found in {picture.name}: bring a picture with a head in it.")


def _cut_out(picture: Picture, placed: _Placed, size: int) -> Portrait:
    """Matte, framing, crop, and what lies beyond the photo."""
    camera, matte = placed.camera, matte_of(picture, placed.square)
    factor = room(matte, placed.square, camera)
    square = placed.square.grown(factor)
    height, width = picture.rgb.shape[:2]
    beyond = Beyond(square, (height, width), size)
    # what stands out in the whole photo may be nothing by itself
    if matte.cut(placed.square.grown(2 * CORE), 64, cv2.BORDER_CONSTANT).mean() < CORE_SHARE:
        raise _no_head(picture)
    alpha = continued(matte.cut(square, size, cv2.BORDER_REPLICATE), beyond, camera, factor)
    rgb = beyond.filled(colours(picture, square, size), alpha)
    return Portrait(
        rgb=_eight_bits(rgb),
        alpha=_eight_bits(alpha),
        known=_eight_bits(beyond.known),
        camera=camera,
        source=placed.source,
        corner=square.corner,
        side=square.side,
        landmarks=None if placed.points is None else square.inside(placed.points),
        shape=placed.shape,
        expression=placed.expression,
        notes=placed.notes,
        growth=factor,
    )


def _eight_bits(values: Floats) -> Floats:
    """As a PNG gives them back."""
    return eight_bits(values).astype(np.float32) / 255
