"""Pictures from outside: hostile until opened here, then plain arrays of sRGB values in [0, 1]."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from portrait360.errors import UserError
from portrait360.files import whole

Floats = NDArray[np.floating]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # no format that runs programs or fetches files
MAX_BYTES = 256 << 20
MAX_PIXELS = 150_000_000
WORKING_SIDE = 4096  # a larger picture is reduced to this at once
MIN_SIDE = 16


@dataclass(frozen=True)
class Picture:
    rgb: Floats  # (h w 3)
    alpha: Floats | None  # (h w) where the file had transparency
    notes: tuple[str, ...] = ()  # what was done that the user may want to know
    name: str = "the picture"  # for messages

    def turned(self, quarters: int) -> Picture:
        """Turned counter-clockwise by quarters."""
        if quarters == 0:
            return self
        rgb, alpha = (v if v is None else np.ascontiguousarray(np.rot90(v, quarters)) for v in (self.rgb, self.alpha))
        return replace(self, rgb=rgb, alpha=alpha)


def load_picture(path: Path) -> Picture:
    """Open any common picture as a person sees it: upright, in sRGB, first frame, opaque or with straight alpha."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the pictures in it.")
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size >> 20} MB; bring one of at most {MAX_BYTES >> 20} MB.")
    return _loaded(path, path)


def load_bytes(values: bytes, path: Path) -> Picture:
    """A picture that lies in a larger file, called `path` in messages."""
    return _loaded(io.BytesIO(values), path)


def _loaded(source: Path | io.BytesIO, path: Path) -> Picture:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit warns below ours
            with Image.open(source, formats=FORMATS) as image:
                return _decode(image, path)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except PermissionError as error:
        raise UserError(f"{path} may not be read; check its permissions.") from error
    except Exception as error:  # damaged bytes reach the decoders as any error at all
        advice = "; convert it to JPEG first" if path.is_file() and _phone_picture(path) else ""
        raise UserError(f"{path} is not a whole JPEG, PNG, WebP, GIF, BMP or TIFF picture{advice}.") from error


def size_told(source: Path | io.BytesIO, path: Path | None = None) -> tuple[int, int]:
    """Width and height, by the picture's header alone; `path` for messages if it lies in a larger file."""
    try:
        with Image.open(source, formats=FORMATS) as opened:
            return opened.size
    except Exception as error:  # damaged bytes reach the decoders as any error at all
        raise UserError(f"{path or source} is not a picture that can be read.") from error


def _phone_picture(path: Path) -> bool:
    """Whether a file that could be read is HEIC or AVIF, as phones write them."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp"


def _too_large(path: Path) -> UserError:
    return UserError(f"{path} has more than {MAX_PIXELS // 10**6} megapixels; make it smaller first.")


def _decode(image: Image.Image, path: Path) -> Picture:
    notes = []
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    if min(image.size) < MIN_SIDE:
        raise UserError(f"{path} is only {image.width} x {image.height} pixels; bring a larger picture.")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        notes.append("the picture is animated or has pages: the first was taken")
    if max(image.size) > WORKING_SIDE:
        notes.append(f"the picture was reduced from {image.width} x {image.height}")
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))  # JPEG decodes at a fraction of its size
    image.load()
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), reducing_gap=2.0)
    values, alpha = _to_rgb(image, profile)
    return Picture(values, alpha, tuple(notes), str(path))


def _to_rgb(image: Image.Image, profile: bytes | None) -> tuple[Floats, Floats | None]:
    if image.mode.startswith(("I", "F")):
        grey = np.nan_to_num(np.asarray(image, dtype=np.float32))
        # integers have 16 bits; floats no agreed white, so the brightest is white
        white = max(float(grey.max()), 1.0) if image.mode == "F" else 65535.0
        grey = np.clip(grey / white, 0, 1).astype(np.float32)
        return np.repeat(grey[..., None], 3, -1), None
    alpha = None
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"), dtype=np.float32) / 255
        alpha = None if alpha.min() == 1 else alpha
    if profile:
        image = _to_srgb(image, profile)
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255, alpha


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Through the picture's own colour profile; a broken profile is ignored, as viewers do."""
    source = image.convert("RGB") if image.mode not in ("RGB", "CMYK", "L") else image
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(source, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return converted if converted is not None else image


def eight_bits(values: Floats) -> NDArray[np.uint8]:
    """As files hold them."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def over_grey(rgb: Floats, alpha: Floats) -> Floats:
    """Straight colours and their cover as one picture to look at."""
    return (rgb * alpha[..., None] + 0.5 * (1 - alpha[..., None])).astype(np.float32)


def save_picture(path: Path, rgb: Floats, alpha: Floats | None = None) -> None:
    """Write a PNG or WebP (by the name's ending) under a temporary name first: no half-written file is left."""
    values = eight_bits(rgb)
    if alpha is not None:
        values = np.concatenate([values, eight_bits(alpha)[..., None]], -1)
    with whole(path) as temporary:
        Image.fromarray(values).save(temporary, format=path.suffix[1:].upper())
