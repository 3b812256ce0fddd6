"""Binary glTF 2.0 as a container: a JSON chunk that describes, and a chunk of bytes that holds.

Read here rather than by a mesh library, because files come from anywhere: nothing is allocated before the file is
known to hold it, nothing outside the file is opened, and pictures reach no decoder but the three of glTF.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from portrait360.errors import UserError
from portrait360.files import read_limited
from portrait360.images import MAX_PIXELS

MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
MAX_BYTES = 1 << 30
FLOAT, UINT = 5126, 5125
TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", UINT: "<u4", FLOAT: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
KINDS = {width: name for name, width in WIDTHS.items()}
ARRAYS, INDICES = 34962, 34963  # what a view is for
KNOWN = {"KHR_materials_unlit", "EXT_texture_webp", "KHR_mesh_quantization", "KHR_materials_specular"}


class Broken(Exception):
    """The file contradicts itself; `read_glb` makes a plain sentence of it."""


@dataclass
class Builder:
    """Bytes and their description, grown an array at a time."""

    body: bytearray
    views: list[dict[str, Any]]
    accessors: list[dict[str, Any]]

    def view(self, data: bytes, **said: int) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.body), "byteLength": len(data), **said})
        self.body += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def array(self, values: NDArray[Any], component: int, **said: Any) -> int:
        """Rows of numbers, or indices where the array is flat."""
        kind = "SCALAR" if values.ndim == 1 else KINDS[values.shape[1]]
        view = self.view(values.astype(TYPES[component]).tobytes(), target=INDICES if values.ndim == 1 else ARRAYS)
        entry = {"bufferView": view, "componentType": component, "count": len(values), "type": kind}
        self.accessors.append(entry | said)
        return len(self.accessors) - 1

    def file(self, tree: dict[str, Any]) -> bytes:
        tree |= {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": len(self.body)}]}
        text = json.dumps(tree, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + len(self.body)
        head = struct.pack("<III", MAGIC, 2, total) + struct.pack("<II", len(text), JSON_CHUNK)
        return head + text + struct.pack("<II", len(self.body), BIN_CHUNK) + self.body


@dataclass(frozen=True)
class Document:
    """What a file says, and the bytes it says it of."""

    tree: dict[str, Any]
    body: memoryview

    def view(self, index: int) -> tuple[memoryview, int]:
        """Bytes, and the stride that they are said to have (0: none is said)."""
        said = _item(self.tree["bufferViews"], index)
        start, length = said.get("byteOffset", 0), said["byteLength"]
        if _item(self.tree["buffers"], said["buffer"]).get("uri") is not None or said["buffer"] != 0:
            raise Broken("keeps its data in another file")
        if start < 0 or length < 0 or start + length > len(self.body):
            raise Broken("is cut off")
        return self.body[start : start + length], said.get("byteStride", 0)

    def array(self, index: int) -> NDArray[Any]:
        """(count, width); integers that stand for [0, 1] or [-1, 1] become those."""
        said = _item(self.tree["accessors"], index)
        if "sparse" in said or "bufferView" not in said:
            raise Broken("holds sparse data")
        data, stride = self.view(said["bufferView"])
        kind, width, count = np.dtype(TYPES[said["componentType"]]), WIDTHS[said["type"]], said["count"]
        row = kind.itemsize * width
        start, stride = said.get("byteOffset", 0), stride or row
        if count < 1 or start < 0 or stride < row or start + (count - 1) * stride + row > len(data):
            raise Broken("is cut off")
        values = np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))
        if said.get("normalized"):
            return np.maximum(values.astype(np.float64) / np.iinfo(kind).max, -1)
        return values.copy()

    def picture(self, index: int) -> NDArray[np.uint8]:
        """A texture as sRGB (h, w, 3)."""
        texture = _item(self.tree["textures"], index)
        webp = texture.get("extensions", {}).get("EXT_texture_webp", {})
        image = _item(self.tree["images"], webp.get("source", texture.get("source", -1)))
        if "bufferView" not in image:
            raise Broken("keeps its texture in another file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit warns below ours
            with Image.open(io.BytesIO(self.view(image["bufferView"])[0]), formats=("PNG", "JPEG", "WEBP")) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Broken("has a texture that is too large")
                return np.asarray(opened.convert("RGB"))


def _item(entries: Any, index: Any) -> Any:
    """Lists in Python count from the end below 0; files do not."""
    if not isinstance(index, int) or not 0 <= index < len(entries):
        raise Broken("refers to what it does not hold")
    return entries[index]


def open_glb(path: Path) -> Document:
    data = memoryview(read_limited(path, MAX_BYTES))
    if len(data) < 20 or struct.unpack_from("<II", data) != (MAGIC, 2):
        raise UserError(f"{path} is not a binary glTF 2.0 file (.glb).")
    chunks, place = {}, 12
    while place + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, place)
        if place + 8 + length > len(data):
            raise Broken("is cut off")
        chunks.setdefault(kind, data[place + 8 : place + 8 + length])
        place += 8 + length
    tree = json.loads(bytes(chunks.get(JSON_CHUNK, b"")))
    needed = set(tree.get("extensionsRequired", [])) - KNOWN
    if needed:
        raise Broken(f"needs the extension {min(needed)}, which cannot be read here")
    return Document(tree, chunks.get(BIN_CHUNK, memoryview(b"")))
