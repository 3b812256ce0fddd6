"""What a photo is read as, before anything is made of it: a program of its own, since it opens a stranger's picture.

It prints one line of JSON: small pictures (JPEG in base64), the camera's angles, the faces and the warnings.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from portrait360.geometry.cameras import azimuth_between
from portrait360.pipeline.export.contact_sheet import CELL, contact_sheet
from portrait360.pipeline.portrait.alignment import MAX_FACES, make_portrait
from portrait360.pipeline.portrait.face_detection import Face, find_upright_faces
from portrait360.pipeline.portrait.matting import picture_over_grey
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reading.overlay import COLOURS, draw_labels
from portrait360.utils.array_types import Floats
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.images import Picture, load_picture, to_uint8
from portrait360.utils.option_fields import name_flags
from portrait360.utils.portrait_labels import Label

SIDE, FACE_SIDE, QUALITY = 320, 96, 82  # pixels of a picture and of a face in the list; of a JPEG
MARGIN = 0.35  # of a face's box, around it in the list


def check_photo(photo: Path, face: int | None, azimuth: float | None, elevation: float | None) -> dict[str, Any]:
    """Return what the page shows of a photo."""
    picture = load_picture(photo)
    portrait = make_portrait(picture, face=face, azimuth=azimuth, elevation=elevation)
    upright = picture.rotate(portrait.quarter_turns)
    sheet = contact_sheet(upright, portrait)
    camera = portrait.camera
    return {
        "has_face": portrait.source == "face",
        "azimuth": round(float(azimuth_between(0, camera.azimuth)), 1),
        "elevation": round(float(camera.elevation), 1),
        "crop": encode(sheet[:CELL, :CELL]),
        "labels": encode(_show_labels(portrait)),
        "pose": encode(sheet[-CELL:, -CELL:]),  # the fitted head as wires; without a face, the head cut out
        "names": _name_labels(portrait),
        "faces": [encode(_cut_face(upright, found), FACE_SIDE) for found in _find_faces(upright)],
        "warnings": [name_flags(text) for text in portrait.warnings],
    }


def _find_faces(picture: Picture) -> list[Face]:
    """Return the faces of a picture, if there are several."""
    _, faces = find_upright_faces(picture_over_grey(picture), MAX_FACES)
    return [found for found, _ in faces] if len(faces) > 1 else []


def _cut_face(picture: Picture, face: Face) -> Floats:
    x, y, width, height = face.box
    side = max(width, height) * (1 + 2 * MARGIN)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    rows, columns = (slice(max(round(a), 0), max(round(a + side), 1)) for a in (top, left))
    return picture_over_grey(picture)[rows, columns]


def _show_labels(portrait: Portrait) -> Floats:
    return portrait.rgb if portrait.labels is None else draw_labels(portrait.rgb, portrait.labels)


def _name_labels(portrait: Portrait) -> dict[str, str]:
    """Return the labels that occur, and their colours as CSS writes them."""
    if portrait.labels is None:
        return {}
    found = np.flatnonzero(np.bincount(portrait.labels.ravel(), minlength=len(Label)) > 0.001 * portrait.labels.size)
    return {Label(i).name.lower(): "#{:02x}{:02x}{:02x}".format(*COLOURS[Label(i)]) for i in map(int, found) if i}


def encode(picture: Floats, side: int = SIDE) -> str:
    """Return a picture as a JPEG in base64, at most this large."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = np.asarray(cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA), np.float32)
    file = io.BytesIO()
    Image.fromarray(to_uint8(np.clip(small, 0, 1))).save(file, "JPEG", quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--face", type=int)
    parser.add_argument("--azimuth", type=float)
    parser.add_argument("--elevation", type=float)
    given = parser.parse_args()
    print(json.dumps(check_photo(given.photo, given.face, given.azimuth, given.elevation)))


if __name__ == "__main__":
    run_entry_point(main)
