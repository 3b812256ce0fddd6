"""Binary glTF 2.0 as a container: a JSON chunk with the structure, and a chunk with the data.

It is read here rather than by a mesh library, because files come from untrusted sources: nothing is allocated before
the file is known to hold it, nothing outside the file is opened, and images reach only the three decoders of glTF.
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

from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited
from portrait360.utils.images import MAX_PIXELS

MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
MAX_BYTES = 1 << 30
FLOAT, UINT = 5126, 5125
TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", UINT: "<u4", FLOAT: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
TYPE_OF_WIDTH = {width: name for name, width in WIDTHS.items()}
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963  # targets of a buffer view
SUPPORTED_EXTENSIONS = {
    "KHR_materials_unlit", "EXT_texture_webp", "KHR_mesh_quantization", "KHR_materials_specular",
    "KHR_gaussian_splatting",
}  # fmt: skip


class Broken(Exception):
    """The file is invalid or unsupported; `read_glb` turns the message into a sentence for the user."""


@dataclass
class Builder:
    """A glTF file under construction: data, buffer views and accessors."""

    body: bytearray
    views: list[dict[str, Any]]
    accessors: list[dict[str, Any]]

    def add_view(self, data: bytes, **entries: int) -> int:
        """Append a buffer view, and return its index."""
        self.views.append({"buffer": 0, "byteOffset": len(self.body), "byteLength": len(data), **entries})
        self.body += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def add_array(self, values: NDArray[Any], component: int, **entries: Any) -> int:
        """Append an accessor for rows of numbers, for single floats or for indices, and return its index."""
        kind = "SCALAR" if values.ndim == 1 else TYPE_OF_WIDTH[values.shape[1]]
        target = ELEMENT_ARRAY_BUFFER if values.ndim == 1 and component != FLOAT else ARRAY_BUFFER
        view = self.add_view(values.astype(TYPES[component]).tobytes(), target=target)
        entry = {"bufferView": view, "componentType": component, "count": len(values), "type": kind}
        self.accessors.append(entry | entries)
        return len(self.accessors) - 1

    def pack(self, tree: dict[str, Any]) -> bytes:
        """Return the bytes of the file with this JSON tree and all data."""
        tree |= {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": len(self.body)}]}
        text = json.dumps(tree, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + len(self.body)
        header = struct.pack("<III", MAGIC, 2, total) + struct.pack("<II", len(text), JSON_CHUNK)
        return header + text + struct.pack("<II", len(self.body), BIN_CHUNK) + self.body


@dataclass(frozen=True)
class Document:
    """The JSON tree of a file, and its data."""

    tree: dict[str, Any]
    body: memoryview

    def read_view(self, index: int) -> tuple[memoryview, int]:
        """Return the bytes of a buffer view and its stride (0 if it has none)."""
        view = _get_item(self.tree["bufferViews"], index)
        start, length = view.get("byteOffset", 0), view["byteLength"]
        if _get_item(self.tree["buffers"], view["buffer"]).get("uri") is not None or view["buffer"] != 0:
            raise Broken("keeps its data in another file")
        if start < 0 or length < 0 or start + length > len(self.body):
            raise Broken("is cut off")
        return self.body[start : start + length], view.get("byteStride", 0)

    def read_array(self, index: int) -> NDArray[Any]:
        """Return an accessor's values (count, width); normalised integers are scaled to [0, 1] or [-1, 1]."""
        accessor = _get_item(self.tree["accessors"], index)
        if "sparse" in accessor or "bufferView" not in accessor:
            raise Broken("contains sparse data")
        data, stride = self.read_view(accessor["bufferView"])
        kind, width, count = np.dtype(TYPES[accessor["componentType"]]), WIDTHS[accessor["type"]], accessor["count"]
        row = kind.itemsize * width
        start, stride = accessor.get("byteOffset", 0), stride or row
        if count < 1 or start < 0 or stride < row or start + (count - 1) * stride + row > len(data):
            raise Broken("is cut off")
        values = np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))
        if accessor.get("normalized"):
            return np.maximum(values.astype(np.float64) / np.iinfo(kind).max, -1)
        return values.copy()

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Return a texture as sRGB (h, w, 3)."""
        texture = _get_item(self.tree["textures"], index)
        webp = texture.get("extensions", {}).get("EXT_texture_webp", {})
        image = _get_item(self.tree["images"], webp.get("source", texture.get("source", -1)))
        if "bufferView" not in image:
            raise Broken("keeps its texture in another file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit, which warns, is below ours
            data, _ = self.read_view(image["bufferView"])
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as decoder:
                if decoder.width * decoder.height > MAX_PIXELS:
                    raise Broken("has a texture that is too large")
                return np.asarray(decoder.convert("RGB"))


def _get_item(entries: Any, index: Any) -> Any:
    """Return entries[index]; negative indices are errors in glTF."""
    if not isinstance(index, int) or not 0 <= index < len(entries):
        raise Broken("refers to data that it does not contain")
    return entries[index]


def read_tree(glb: bytes) -> dict[str, Any]:
    """Return the JSON tree of a file that `Builder.pack` made."""
    (length,) = struct.unpack_from("<I", glb, 12)
    return json.loads(glb[20 : 20 + length])


def open_glb(path: Path) -> Document:
    data = memoryview(read_limited(path, MAX_BYTES))
    if len(data) < 20 or struct.unpack_from("<II", data) != (MAGIC, 2):
        raise UserError(f"{path} is not a binary glTF 2.0 file (.glb).")
    chunks, offset = {}, 12
    while offset + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, offset)
        if offset + 8 + length > len(data):
            raise Broken("is cut off")
        chunks.setdefault(kind, data[offset + 8 : offset + 8 + length])
        offset += 8 + length
    tree = json.loads(bytes(chunks.get(JSON_CHUNK, b"")))
    unsupported = set(tree.get("extensionsRequired", [])) - SUPPORTED_EXTENSIONS
    if unsupported:
        raise Broken(f"needs the extension {min(unsupported)}, which is not supported")
    return Document(tree, chunks.get(BIN_CHUNK, memoryview(b"")))
