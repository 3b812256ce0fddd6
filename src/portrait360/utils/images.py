"""Loading untrusted image files as plain arrays of sRGB values in [0, 1], and saving such arrays."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, check_name
from portrait360.utils.memory import available_memory

if TYPE_CHECKING:
    from PIL import Image  # imported where files are opened or written: training needs none on a bare machine

T = TypeVar("T")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # none that runs programs or fetches files
MAX_BYTES = 256 << 20
MAX_PIXELS = 150_000_000
WORKING_SIDE = 4096  # pixels; larger pictures are reduced to this on loading
MIN_SIDE = 16
HEAD_BYTES = 12  # of a file, which tell its format
SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP|GIF8|BM|II|MM\0", re.DOTALL)  # of FORMATS
PHONE_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
TO_JPEG = "export it as a JPEG (on an iPhone, Settings > Camera > Formats > Most Compatible makes new photos JPEGs)"
BYTES_PER_PIXEL = {"WEBP": 18}  # while a picture is decoded and reduced, at most; others need OTHER_BYTES
OTHER_BYTES = 10
PNG_LEVEL = 4  # effort of packing: 6 would take twice as long for one or two percent
SMALL_PIXELS = 1 << 22  # pictures that are decoded whatever memory is free


@dataclass(frozen=True)
class Picture:
    rgb: Floats  # (h w 3)
    alpha: Floats | None  # (h w); None if the file is opaque
    warnings: tuple[str, ...] = ()  # for the user: what was changed on loading
    name: str = "the picture"  # for messages

    def rotate(self, quarters: int) -> Picture:
        """Return the picture turned counter-clockwise by this many quarter turns."""
        if quarters == 0:
            return self
        rgb, alpha = (v if v is None else np.ascontiguousarray(np.rot90(v, quarters)) for v in (self.rgb, self.alpha))
        return replace(self, rgb=rgb, alpha=alpha)


def load_picture(path: Path) -> Picture:
    """Load the first frame of any common image file: upright, in sRGB, opaque or with straight alpha."""
    return _open(_check_file(path), Path(path), _decode)


def load_bytes(values: bytes, path: Path) -> Picture:
    """Load a picture from bytes, for example of an archive member; messages call it `path`."""
    return _open(io.BytesIO(values), path, _decode)


def check_picture(path: Path) -> None:
    """Raise a UserError unless `load_picture` can load this file, as far as that can be told within a moment.

    Commands call it before they load libraries, which takes much longer.
    """
    _open(_check_file(path), Path(path), _try_decoding)


def check_signature(path: Path) -> None:
    """Raise a UserError, which leaves out the folder, if a file does not begin like a picture; nothing is decoded."""
    head = _read_head(path)
    if head is not None and not SIGNATURE.match(head):
        raise UserError(_explain_failure(head, Path(path.name), is_known=False))


def _check_file(path: Path) -> Path:
    path = Path(path)
    check_name(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; choose a picture in it.")
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is {path.stat().st_size >> 20} MB; use a file of at most {MAX_BYTES >> 20} MB.")
    return path


def _open(source: Path | io.BytesIO, path: Path, use: Callable[[Image.Image, Path], T]) -> T:
    """Open a picture, and return what `use` makes of it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns at a lower limit than ours
            with Image.open(source, formats=FORMATS) as image:
                return use(image, path)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read; check its permissions.") from error
    except Exception as error:  # decoders raise errors of any type on damaged bytes
        is_known = not isinstance(error, UnidentifiedImageError)
        raise UserError(_explain_failure(_read_head(source), path, is_known=is_known)) from error


def image_size(source: Path | io.BytesIO, path: Path | None = None) -> tuple[int, int]:
    """Return width and height from the header alone; messages call the picture `path` if it lies in a larger file."""
    from PIL import Image

    try:
        with Image.open(source, formats=FORMATS) as image:
            return image.size
    except Exception as error:  # decoders raise errors of any type on damaged bytes
        raise UserError(f"{path or source} is not a readable picture.") from error


def _read_head(source: Path | io.BytesIO) -> bytes | None:
    """Return the first bytes of a file; None for one of the system's own, which can be opened but not read."""
    try:
        if isinstance(source, io.BytesIO):
            return source.getvalue()[:HEAD_BYTES]
        with source.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return None


def _explain_failure(head: bytes | None, path: Path, *, is_known: bool) -> str:
    """Return why a picture could not be decoded; `is_known` says that its format was recognised."""
    if head == b"":
        return f"{path} is an empty file; choose another one."
    if is_known and head is not None:
        return f"{path} is damaged or cut off; use an intact copy."
    if head is not None and head[4:8] == b"ftyp":
        if head[8:12] in PHONE_BRANDS:
            return f"{path} is {_name_format(head)} picture, which portrait360 cannot read; {TO_JPEG}."
        return f"{path} is a video; use a photo, or save a frame of the video as a picture."
    return f"{path} is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture."


def _name_format(head: bytes) -> str:
    return "an AVIF" if head[8:11] == b"avi" else "a HEIC"


def _too_large(path: Path) -> UserError:
    return UserError(f"{path} has more than {MAX_PIXELS // 10**6} megapixels; make it smaller first.")


def _try_decoding(image: Image.Image, path: Path) -> None:
    _check_size(image, path)
    _check_memory(image, path)
    image.draft(None, (MIN_SIDE, MIN_SIDE))  # JPEG decodes at a fraction of its size
    if image.width * image.height <= SMALL_PIXELS:
        image.load()


def _decode(image: Image.Image, path: Path) -> Picture:
    from PIL import ImageOps

    changes = []
    _check_size(image, path)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # `n_frames` would look through all of them
        changes.append("the picture has several frames or pages; only the first one was used")
    if max(image.size) > WORKING_SIDE:
        changes.append(f"the picture ({image.width} x {image.height} pixels) was scaled down")
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))  # JPEG decodes at a fraction of its size
    _check_memory(image, path)
    image.load()
    profile = image.info.get("icc_profile")
    ImageOps.exif_transpose(image, in_place=True)
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), reducing_gap=2.0)
    values, alpha = _to_rgb(image, profile)
    return Picture(values, alpha, tuple(changes), str(path))


def _check_size(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    if min(image.size) < MIN_SIDE:
        raise UserError(f"{path} is only {image.width} x {image.height} pixels; use a larger picture.")
    if min(image.size) * WORKING_SIDE < MIN_SIDE * max(image.size):
        raise UserError(f"{path} is a strip of {image.width} x {image.height} pixels; crop it to the head.")


def _check_memory(image: Image.Image, path: Path) -> None:
    """Refuse by its header what does not fit into memory once it is decoded."""
    pixels = image.width * image.height
    if pixels <= SMALL_PIXELS:
        return
    needed, free = pixels * BYTES_PER_PIXEL.get(image.format or "", OTHER_BYTES), available_memory()
    if needed > free:
        raise UserError(
            f"{path} has {pixels / 1e6:.0f} megapixels, which need about {needed / 1e9:.1f} GB of memory, but "
            f"only {max(free, 0) / 1e9:.1f} GB is free; make it smaller first, or close other programs."
        )


def _to_rgb(image: Image.Image, profile: bytes | None) -> tuple[Floats, Floats | None]:
    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image, dtype=np.float32)
        # integers have 16 bits; floats have no agreed white, so the brightest pixel is white
        finite = np.where(np.isfinite(grey), grey, 0)
        white = max(float(finite.max()), 1.0) if image.mode == "F" else 65535.0
        grey = np.clip(np.nan_to_num(grey, posinf=white, neginf=0) / white, 0, 1).astype(np.float32)
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
    """Convert by the picture's own colour profile; a broken profile is ignored, as viewers do."""
    from PIL import ImageCms

    source = image.convert("RGB") if image.mode not in ("RGB", "CMYK", "L") else image
    try:
        own_profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(source, own_profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return converted if converted is not None else image


def to_uint8(values: Floats) -> NDArray[np.uint8]:
    """Convert values in [0, 1] to uint8, clipped and rounded."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def composite_over_white(rgb: Floats, alpha: Floats) -> Floats:
    """Composite straight colours over white (1)."""
    return np.asarray(1 + alpha[..., None] * (rgb - 1), np.float32)


def over_grey(rgb: Floats, alpha: Floats) -> Floats:
    """Composite straight colours over mid-grey (0.5)."""
    return (rgb * alpha[..., None] + 0.5 * (1 - alpha[..., None])).astype(np.float32)


def save_picture(path: Path, rgb: Floats, alpha: Floats | None = None) -> None:
    """Write a PNG or WebP (by the suffix of the name), atomically."""
    from PIL import Image

    values = to_uint8(rgb)
    if alpha is not None:
        values = np.concatenate([values, to_uint8(alpha)[..., None]], -1)
    with atomic_write(path) as temporary:
        Image.fromarray(values).save(temporary, format=path.suffix[1:].upper(), compress_level=PNG_LEVEL)
