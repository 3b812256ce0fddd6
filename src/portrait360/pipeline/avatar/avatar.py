"""The avatar: a head in layers, each with its own geometry, coloured by the photo."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar import NAME
from portrait360.pipeline.avatar.overrules import FILE
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.pipeline.avatar.scene_file import pack_scene, unpack_scene
from portrait360.pipeline.avatar.skin.fit import SkinFit, pack_fit, unpack_fit
from portrait360.pipeline.avatar.view.own_frame import cut_out_frame
from portrait360.pipeline.avatar.view.render import PhotoProjection, render_avatar
from portrait360.pipeline.avatar.worn.glasses_photo import measure_thickness, take_frames_off
from portrait360.pipeline.proxy.proxy import Proxy, ProxyView
from portrait360.synth.render.bake import PORTRAIT, PreparedScene, prepare_scene
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Scene
from portrait360.utils.array_files import save_arrays
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, sha256, translate_write_errors
from portrait360.utils.images import to_uint8
from portrait360.utils.portrait_labels import Label

FORMAT = 2  # version of the file
PICTURES = ("rgb", "alpha", "known", "pure")


@dataclass(frozen=True, eq=False)
class Avatar:
    """A head in layers, in the canonical frame. It renders as a `Proxy` does."""

    parameters: HeadParameters  # all that can be named
    scene: Scene  # the layers: albedo, and the photo's light
    picture: Photo
    cover: Proxy  # the outer surface that the matte shows, for what no layer explains
    fit: SkinFit  # shape and expression of the skin, in the frame of the head at its own size

    @cached_property
    def projection(self) -> PhotoProjection:
        """The photo, and the layers that it lies on, ready to be rendered: an avatar is saved without them."""
        prepared, drawn = prepare_scene(self.scene, quality=PORTRAIT), self.parameters.kind == "toon"
        bare = take_frames_off(self.picture, self.parameters.wear.glasses)
        worn = None if bare is self.picture else np.asarray(self.picture.rgb - bare.rgb, np.float32)
        thick = 0.0 if worn is None else measure_thickness(self.picture, self.parameters)
        frame = None if worn is None else cut_out_frame(self.picture, bare, self.scene.meshes, prepared, thick)
        return PhotoProjection(bare, prepared, self.cover, drawn, worn, frame)

    @property
    def camera(self) -> Camera:
        """The photo's camera."""
        return self.picture.camera

    @property
    def prepared_scene(self) -> PreparedScene:
        """The layers, ready to be rendered."""
        return self.projection.scene

    @property
    def photo(self) -> Floats:
        """The photo (s, s, 3), with the subject's colours extended over its background."""
        return self.picture.rgb

    @property
    def alpha(self) -> Floats:
        return self.picture.alpha

    def render(self, camera: Camera, size: int = 256) -> ProxyView:
        """Render a view: the layers, and the photo where it can be trusted."""
        return render_avatar(self.projection, camera, size)

    def prepare(self) -> None:
        """Light the layers, as the first view would do."""
        _ = self.projection

    def save(self, folder: Path) -> None:
        """Write the cover as a proxy, and the layers with the SHA-256 of their cover beside it, atomically.

        Nothing is lost: what `load` returns renders the same views. What can be named of it is written as JSON, too.
        """
        folder = Path(folder)
        with translate_write_errors(folder):
            (folder / NAME).unlink(missing_ok=True)
            self.cover.save(folder)
            camera = self.picture.camera
            words = {"format": FORMAT, "cover": sha256(folder / "proxy.npz"), "parameters": self.parameters.to_json()}
            with atomic_write(folder / NAME) as temporary, temporary.open("wb") as file:
                arrays = {name: np.array(value) for name, value in words.items()}
                arrays |= {f"photo_{name}": to_uint8(getattr(self.picture, name)) for name in PICTURES}
                arrays |= {"photo_labels": self.picture.labels, "cam2world": camera.cam2world}
                arrays |= {"photo_painted": np.array(True)} if self.picture.painted else {}
                arrays |= {} if self.picture.eyes is None else {"photo_eyes": np.asarray(self.picture.eyes, np.bool_)}
                arrays |= {"lens": np.array([camera.focal, *camera.center])} | pack_scene(self.scene)
                arrays |= pack_fit(self.fit)
                save_arrays(file, arrays)
            with atomic_write(folder / FILE) as temporary:
                temporary.write_text(self.parameters.to_json())

    @classmethod
    def load(cls, folder: Path) -> Avatar:
        """Load what `save` wrote."""
        folder = Path(folder)
        cover = Proxy.load(folder)
        try:
            with np.load(folder / NAME, allow_pickle=False) as data:
                if int(data["format"]) != FORMAT or str(data["cover"]) != sha256(folder / "proxy.npz"):
                    raise ValueError("another format or cover")
                parameters = HeadParameters.from_json(str(data["parameters"]))
                avatar = cls(parameters, unpack_scene(data), _read_photo(data), cover, unpack_fit(data))
                avatar.prepare()  # what is damaged in a way that only shows here is an error of the file, too
                return avatar
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"The avatar in {folder} is damaged; make it again with `portrait360 proxy`.") from error


CoarseHead = Proxy | Avatar
"""What later stages make views of."""


def load_coarse_head(folder: Path) -> CoarseHead:
    """Load the avatar of a folder, or the proxy of a head that has none."""
    return Avatar.load(folder) if (Path(folder) / NAME).is_file() else Proxy.load(folder)


def round_photo(photo: Photo) -> Photo:
    """Return the photo with the 8-bit values that its file holds."""
    rgb, alpha, known, pure = (to_uint8(getattr(photo, name)).astype(np.float32) / 255 for name in PICTURES)
    flow = np.zeros((*alpha.shape, 2), np.float32)  # only the fit of the hair needs it
    picture = rgb, srgb_to_radiance(rgb), alpha, known, photo.labels, pure, flow
    return Photo(*picture, photo.camera, photo.painted, photo.eyes)


def _read_photo(data: np.lib.npyio.NpzFile) -> Photo:
    rgb, alpha, known, pure = (data[f"photo_{name}"] for name in PICTURES)
    labels, side = data["photo_labels"], len(alpha)
    if rgb.shape != (side, side, 3) or any(a.shape != (side, side) for a in (alpha, known, pure, labels)):
        raise ValueError("pictures of other shapes")
    if not 16 <= side <= 4096 or ((labels >= len(Label)) & (labels != VOID)).any():
        raise ValueError("pictures that are none")
    if any(a.dtype != np.uint8 for a in (rgb, alpha, known, pure, labels)):
        raise ValueError("pictures of another type")
    focal, x, y = (float(v) for v in data["lens"])
    camera = Camera(np.array(data["cam2world"], np.float64), focal, (x, y))
    flow = np.zeros((side, side, 2), np.float32)
    rgb, alpha, known, pure = (a.astype(np.float32) / 255 for a in (rgb, alpha, known, pure))
    painted, eyes = "photo_painted" in data, data.get("photo_eyes")
    if eyes is not None and (eyes.shape != (side, side) or eyes.dtype != np.bool_):
        raise ValueError("eyes that are none")
    return Photo(rgb, srgb_to_radiance(rgb), alpha, known, labels, pure, flow, camera, painted, eyes)
