"""The aligned portrait: a square crop of a photo, its matte, and the camera of the crop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.portrait.crop import cut_centre
from portrait360.pipeline.portrait.face_detection import LANDMARKS
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.array_types import Bytes, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, sha256, translate_write_errors
from portrait360.utils.images import load_picture, save_picture

FORMAT = 2  # version of the files
READING = "reading.npz"
FILES = ("portrait.png", "known.png", READING)  # the last one is not in every folder


@dataclass(frozen=True, eq=False)
class Portrait:
    """All that later stages know about the photo. Images hold 8-bit values, so that saving loses nothing."""

    rgb: Floats  # (s, s, 3) the aligned crop, sRGB in [0, 1]
    alpha: Floats  # (s, s) matte, straight
    inside_photo: Floats  # (s, s) 1 inside the photo, 0 in the padding beyond it
    camera: Camera  # of the crop, in the canonical frame
    source: str  # "face": fitted to landmarks; "matte": placed by the outline alone
    corner: tuple[float, float]  # of the crop, in pixels of the upright photo
    side: float
    landmarks: Floats | None  # (LANDMARKS, 2) in crop sides
    shape: Floats  # coefficients of the morphable head model; zeros without a face
    expression: Floats
    warnings: tuple[str, ...] = ()
    crop_scale: float = 1.0  # size of the crop relative to the fitted one; the head in it is smaller by this factor
    reading: Reading | None = None  # what the pixels of a larger crop show, and what head it is
    reading_scale: float = 1.0  # side of that crop in sides of this one; both have the same centre
    quarter_turns: int = 0  # counter-clockwise quarter turns that make the photo from load_picture upright

    @property
    def labels(self) -> Bytes | None:
        """The Label of every pixel; None if nothing has read the portrait."""
        if self.reading is None:
            return None
        shares = cut_centre(self.reading.probabilities, self.reading_scale, len(self.rgb))
        return shares.argmax(0).astype(np.uint8)

    def save(self, folder: Path) -> None:
        """Write the files atomically; the last one holds the SHA-256 of the others."""
        folder = Path(folder)
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_picture(folder / "portrait.png", self.rgb, self.alpha)
            save_picture(folder / "known.png", np.repeat(self.inside_photo[..., None], 3, -1))
            (folder / READING).unlink(missing_ok=True)
            if self.reading is not None:
                self.reading.save(folder / READING)
            with atomic_write(folder / "portrait.json") as temporary:
                temporary.write_text(json.dumps(self._as_record(folder), indent=1))

    def _as_record(self, folder: Path) -> dict[str, Any]:
        return {
            "portrait360": FORMAT,
            "sha256": {name: sha256(folder / name) for name in FILES if (folder / name).is_file()},
            "cam2world": self.camera.cam2world.tolist(),
            "focal": self.camera.focal,
            "center": list(self.camera.center),
            "azimuth": self.camera.azimuth,  # for human readers; loading uses cam2world
            "elevation": self.camera.elevation,
            "roll": self.camera.roll,
            "source": self.source,
            "corner": list(self.corner),
            "side": self.side,
            "landmarks": None if self.landmarks is None else self.landmarks.tolist(),
            "shape": self.shape.tolist(),
            "expression": self.expression.tolist(),
            "warnings": list(self.warnings),
            "growth": self.crop_scale,
            "reading_scale": self.reading_scale,
            "quarters": self.quarter_turns,
        }

    @classmethod
    def load(cls, folder: Path) -> Portrait:
        folder = Path(folder)
        if not (folder / "portrait.json").is_file():
            raise UserError(f"{folder} contains no portrait; make one with `portrait360 align PHOTO -o {folder}`.")
        try:
            return cls._read(folder, json.loads((folder / "portrait.json").read_text()))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError) as error:
            raise UserError(
                f"The portrait in {folder} is damaged; make it again with `portrait360 align`."
            ) from error

    @classmethod
    def _read(cls, folder: Path, record: dict[str, Any]) -> Portrait:
        if record["portrait360"] != FORMAT:
            raise ValueError("another format")
        names = [name for name in FILES if name in record["sha256"] or name != READING]
        if any(sha256(folder / name) != record["sha256"][name] for name in names):
            raise ValueError("pictures that do not belong to the description")
        picture = load_picture(folder / "portrait.png")
        alpha = np.ones_like(picture.rgb[..., 0]) if picture.alpha is None else picture.alpha
        (cx, cy), (x, y) = record["center"], record["corner"]
        model = load_morphable().skin
        landmarks = record["landmarks"]
        return cls(
            rgb=picture.rgb,
            alpha=alpha,
            inside_photo=load_picture(folder / "known.png").rgb[..., 0],
            camera=Camera(np.array(record["cam2world"], np.float64), float(record["focal"]), (float(cx), float(cy))),
            source=str(record["source"]),
            corner=(float(x), float(y)),
            side=float(record["side"]),
            landmarks=None if landmarks is None else _finite_array(landmarks, (LANDMARKS, 2)),
            shape=_finite_array(record["shape"], (len(model.shape),)),
            expression=_finite_array(record["expression"], (len(model.expression),)),
            warnings=tuple(map(str, record.get("warnings", record.get("notes", [])))),
            crop_scale=_positive(record["growth"]),
            reading=Reading.load(folder / READING) if READING in record["sha256"] else None,
            reading_scale=_positive(record.get("reading_scale", 1.0)),
            quarter_turns=int(record["quarters"]),
        )


def _finite_array(values: Any, shape: tuple[int, ...]) -> Floats:
    out = np.array(values, np.float64)
    if out.shape != shape or not np.isfinite(out).all():
        raise ValueError(f"expected finite numbers {shape}")
    return out


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < np.inf:
        raise ValueError("expected a number above 0")
    return number
