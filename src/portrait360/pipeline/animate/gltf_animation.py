"""Add a performance to an avatar's .glb: tracks for the weights of its morph targets, and for the neck's turn."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrait360.pipeline.animate.neck import neck_rotation
from portrait360.pipeline.animate.performance import Performance, unit_names
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_glb.file import pack_avatar_glb
from portrait360.pipeline.export.glb import FLOAT, JSON_CHUNK, Builder
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.files import atomic_write, create_folder, translate_write_errors

HEAD = "head"  # the node that the neck turns
WEIGHT_ERROR, TURN_ERROR = 0.004, 0.0012  # of what lies between two keys: weights, and parts of a quaternion


def write_animated_glb(path: Path, avatar: Avatar, performance: Performance, *, detail: float = 1.0) -> None:
    """Write an avatar with a performance, atomically."""
    data = animate_glb(pack_avatar_glb(avatar, detail=detail), performance, avatar.fit.expression)
    with translate_write_errors(path.parent):
        create_folder(path.parent)
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)


def animate_glb(glb: bytes, performance: Performance, photo: Floats) -> bytes:
    """Return a .glb of `pack_avatar_glb` with a performance; `photo` are the photo's own weights (52,)."""
    tree, builder = _unpack(glb)
    times = np.arange(len(performance)) / performance.rate
    weights, names = performance.on(photo), unit_names()
    tracks: list[tuple[dict[str, Any], F64, F64]] = []
    for number, node in enumerate(tree["nodes"]):
        targets = tree["meshes"][node["mesh"]].get("extras", {}).get("targetNames", []) if "mesh" in node else []
        if targets:
            values = weights[:, [names.index(name) for name in targets]]
            tracks.append(({"node": number, "path": "weights"}, *keep_keys(times, values, WEIGHT_ERROR)))
    turns = _quaternions(performance.neck)
    head = next(i for i, node in enumerate(tree["nodes"]) if node.get("name") == HEAD)
    tracks.append(({"node": head, "path": "rotation"}, *keep_keys(times, turns, TURN_ERROR)))
    samplers, channels = [], []
    for target, moments, values in tracks:
        output = _add_floats(builder, values if target["path"] == "rotation" else values.reshape(-1, 1))
        samplers.append({"input": _add_times(builder, moments), "output": output, "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": target})
    tree["animations"] = [{"name": "performance", "samplers": samplers, "channels": channels}]
    return builder.pack(tree)


def keep_keys(times: F64, values: F64, error: float) -> tuple[F64, F64]:
    """Return few keys, found greedily, between which all values (n, k) lie within `error` of straight lines."""
    kept, count = [0], len(times)
    while kept[-1] < count - 1:
        first, reach, step = kept[-1], 1, 1
        # lengthen the line until it no longer fits
        while first + reach + step < count and _fits(times, values, first, first + reach + step, error):
            reach, step = reach + step, 2 * step
        while step > 1:
            step //= 2
            if first + reach + step < count and _fits(times, values, first, first + reach + step, error):
                reach += step
        kept.append(first + reach)
    return times[kept], values[kept]


def _fits(times: F64, values: F64, first: int, last: int, error: float) -> bool:
    share = ((times[first : last + 1] - times[first]) / (times[last] - times[first]))[:, None]
    line = values[first] + share * (values[last] - values[first])
    return bool(np.abs(values[first : last + 1] - line).max() <= error)


def _quaternions(neck: F64) -> F64:
    """Return turns (n, 3) as unit quaternions x, y, z, w (n, 4), each on the side of the one before it."""
    turns = np.stack([neck_rotation(*(float(v) for v in row)).as_quat() for row in neck])
    return np.where(turns[:, 3:] < 0, -turns, turns)


def _add_times(builder: Builder, times: F64) -> int:
    values = times.astype(np.float32)
    view = builder.add_view(values.tobytes())
    entry = {"bufferView": view, "componentType": FLOAT, "count": len(values), "type": "SCALAR"}
    builder.accessors.append(entry | {"min": [float(values.min())], "max": [float(values.max())]})
    return len(builder.accessors) - 1


def _add_floats(builder: Builder, values: NDArray[np.floating]) -> int:
    kind = "VEC4" if values.shape[1] == 4 else "SCALAR"
    view = builder.add_view(np.ascontiguousarray(values, np.float32).tobytes())
    builder.accessors.append({"bufferView": view, "componentType": FLOAT, "count": len(values), "type": kind})
    return len(builder.accessors) - 1


def _unpack(glb: bytes) -> tuple[dict[str, Any], Builder]:
    """Return the JSON tree of a file that this package has packed, and its data as a builder."""
    length, kind = struct.unpack_from("<II", glb, 12)
    assert kind == JSON_CHUNK
    tree = json.loads(glb[20 : 20 + length])
    body = bytearray(glb[20 + length + 8 :])
    del tree["buffers"]
    return tree, Builder(body, tree.pop("bufferViews"), tree.pop("accessors"))
