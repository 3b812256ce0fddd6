"""Frozen protocols: a method's input, the views it must render and how they are judged, all of it as data.

A protocol never changes: a change is a new protocol with a new name. Its digest is printed with every result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from portrait360.evaluation.consistency import RefitSettings
from portrait360.geometry.cameras import azimuth_between
from portrait360.utils.errors import UserError

LATER_FIELDS = {"looks": False, "elevations": (), "ring": 0, "backbones": 1}  # with what older protocols have of them
LATER_HEAD_FIELDS = {"varied": False}
FIRST_WORDING = {  # `about` when the digest was published: a clearer sentence is not another protocol
    "synthetic-v1": "100 synthetic identities, a portrait each, 36 views at 256 x 256 against the truth.",
    "synthetic-v2": "100 varied synthetic identities, portraits up to 60° from the side, 24 views at 256 x 256 "
    "against the truth, half of them from 20° above and below.",
    "wild-v1": "Photos without a truth: the photo given back, its face in other views, and whether views agree.",
    "wild-v2": "Photos without a truth: wild-v1, and the faults that people see, from eight azimuths.",
    "renderme360-v1": "RenderMe-360: one moment of each subject, the surest frontal camera in, all others against "
    "the truth.",
    "nersemble-v1": "NeRSemble: one moment of each subject, the surest frontal camera in, the other 15 against the "
    "truth.",
    "folder-v1": "Pictures with their cameras, by any program: one is the portrait, all others are the truth.",
    "portrait-diffusion-v1": "Five renders (front, half and whole profiles) against the photo, as Portrait Diffusion "
    "does.",
}
FRONT, BACK = 45.0, 135.0  # degrees: up to FRONT a view is a front view, from BACK on a back view
BANDS = ("front", "side", "back")


@dataclass(frozen=True)
class Heads:
    """Synthetic portraits: identity i has the seed first + step * i, and the kind i modulo the length of the list."""

    count: int = 100
    first: int = 5_000_019  # in the test split; all other seeds are too, since step is the period of the splits
    step: int = 20
    kinds: tuple[str, ...] = (
        "human", "toon", "human", "fantasy", "human", "animal", "human", "statue", "human", "human",
    )  # fmt: skip
    azimuth: float = 35.0  # degrees: the portrait's camera lies within +- this
    elevation: float = 10.0
    roll: float = 8.0
    varied: bool = False  # `build_varied_head`: in the light and before the background of photos


@dataclass(frozen=True)
class Protocol:
    name: str
    about: str
    source: str  # synthetic, photos, renderme360, nersemble, folder
    size: int = 256  # pixels of every view
    portrait: int = 512  # pixels of the crop that the method gets, and of a synthetic photo
    orbit: int = 0  # views all around; their consistency is measured
    heads: Heads | None = None
    faces_at: tuple[float, ...] = ()  # azimuths at which a face's presence, identity and pose are measured
    beside_photo: tuple[float, ...] = ()  # azimuths of renders that are compared with the photo itself
    refit: RefitSettings | None = None
    most: int | None = None  # the largest number of cases of a data set
    looks: bool = False  # whether rows and score of the looks are measured
    elevations: tuple[float, ...] = ()  # from which a synthetic head is compared, too
    ring: int = 0  # views at each of these elevations
    backbones: int = 1  # how many networks give feature distances

    @property
    def digest(self) -> str:
        settings: dict[str, Any] = asdict(self) | {"about": FIRST_WORDING.get(self.name, self.about)}
        remove_defaults(settings, LATER_FIELDS)
        if self.heads is not None:
            remove_defaults(settings["heads"], LATER_HEAD_FIELDS)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def remove_defaults(settings: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Remove fields with their defaults, as if there were no such fields: older protocols keep their digests."""
    for name, default in defaults.items():
        if settings[name] == default:
            del settings[name]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "synthetic-v1",
            "100 synthetic identities, one portrait each, 36 views at 256 x 256 against the ground truth.",
            "synthetic",
            orbit=36,
            heads=Heads(),
            faces_at=(-40.0, -20.0, 0.0, 20.0, 40.0),
            refit=RefitSettings(),
        ),
        Protocol(
            "synthetic-v2",
            "100 varied synthetic identities, portraits turned by up to 60°, 24 views at 256 x 256 against the "
            "ground truth, half of them from 20° above or below.",
            "synthetic",
            orbit=12,
            heads=Heads(
                first=9_000_019,
                kinds=(*("human",) * 3, "toon", *("human",) * 2, "animal", "human", "statue", "human"),
                azimuth=60.0,
                elevation=12.0,
                varied=True,
            ),
            faces_at=(-40.0, -20.0, 0.0, 20.0, 40.0),
            elevations=(20.0, -20.0),
            ring=6,
            backbones=2,
        ),
        Protocol(
            "wild-v1",
            "Photos without ground truth: how well the photo is reproduced, the face in other views, and whether the "
            "views are consistent.",
            "photos",
            orbit=36,
            faces_at=(-60.0, -30.0, 0.0, 30.0, 60.0),
            refit=RefitSettings(),
        ),
        Protocol(
            "wild-v2",
            "Photos without ground truth: everything in wild-v1, and the visible faults from eight azimuths.",
            "photos",
            orbit=36,
            faces_at=(-60.0, -30.0, 0.0, 30.0, 60.0),
            refit=RefitSettings(),
            looks=True,
        ),
        Protocol(
            "renderme360-v1",
            "RenderMe-360: one frame per subject; the view with the most reliable frontal face is the input, "
            "all others are the ground truth.",
            "renderme360",
            size=512,
            faces_at=(-40.0, -20.0, 0.0, 20.0, 40.0),
            most=500,
        ),
        Protocol(
            "nersemble-v1",
            "NeRSemble: one frame per subject; the view with the most reliable frontal face is the input, "
            "the other 15 are the ground truth.",
            "nersemble",
            faces_at=(-40.0, -20.0, 0.0, 20.0, 40.0),
            most=500,
        ),
        Protocol(
            "folder-v1",
            "Pictures with known cameras, from any program: one is the portrait, all others are the ground truth.",
            "folder",
            faces_at=(-40.0, -20.0, 0.0, 20.0, 40.0),
            backbones=2,
        ),
        Protocol(
            "portrait-diffusion-v1",
            "Five renders (front, half profiles, full profiles) compared with the photo, as in Portrait Diffusion.",
            "photos",
            size=512,
            faces_at=(0.0, 45.0, 90.0, -45.0, -90.0),
            beside_photo=(0.0, 45.0, 90.0, -45.0, -90.0),
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """Find a protocol by its name; a name without a version means the newest version."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    versions = [version for version in PROTOCOLS if version.rsplit("-v", 1)[0] == name]
    if not versions:
        raise UserError(f"There is no protocol {name!r}; choose from {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[max(versions, key=lambda version: int(version.rsplit("-v", 1)[1]))]


def select_protocol(name: str, refit: bool = True) -> Protocol:
    """Find a protocol, and leave out its slowest figures, those of a field fitted to the views, unless `refit`. What
    is left out changes the digest."""
    protocol = find_protocol(name)
    return protocol if refit else replace(protocol, refit=None)


def band_of(azimuth: float) -> str:
    angle = abs(float(azimuth_between(0, azimuth)))
    return "front" if angle <= FRONT else "back" if angle >= BACK else "side"
