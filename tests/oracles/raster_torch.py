"""The rasteriser over tensors, on any device: slow, short, and the oracle of `raster`.
 Every pair of a triangle and a pixel of its bounding box is one row of a long list; the nearest row of each
pixel wins by a scatter of (depth, id) packed into one integer, so that the result is the same on every run
and device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from portrait360.geometry.cameras import Camera
from portrait360.geometry.rasterizer import height_width
from portrait360.geometry.rasterizer_kernels import NEAR

PAIRS = 1 << 22  # pairs looked at in one go: bounds the memory
EMPTY = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class TensorBuffers:
    """As `raster.Buffers`."""

    ids: Tensor  # (h, w) int64, -1 where empty
    barycentrics: Tensor  # (h, w, 3)
    depth: Tensor  # (h, w)


def homogeneous(vertices: Tensor, camera: Camera, height: int, width: int) -> Tensor:
    """World points (n, 3) -> K (x, y, z) (n, 3) in double precision: edges of small triangles are
    differences."""
    pose = torch.as_tensor(camera.cam2world).to(vertices.device)
    k = torch.as_tensor(camera.intrinsics(width, height)).to(vertices.device)
    return (vertices.double() - pose[:3, 3]) @ pose[:3, :3] @ k.T


def rasterise(vertices: Tensor, triangles: Tensor, camera: Camera, size: int | tuple[int, int]) -> TensorBuffers:
    """As `raster.rasterise`; the barycentrics carry gradients to the vertices."""
    height, width = height_width(size)
    triangles = triangles.long()
    corners = homogeneous(vertices, camera, height, width)[triangles]  # (m, 3 corners, 3)
    best = _nearest(corners.detach(), height, width)
    ids = torch.where(best == EMPTY, -1, best & 0xFFFFFFFF).view(height, width)
    full = ids >= 0
    rows, columns = torch.nonzero(full, as_tuple=True)
    weight, volume = _weights(corners[ids[full]], columns + 0.5, rows + 0.5)
    total = weight.sum(-1)
    barycentrics = torch.zeros(height, width, 3, device=vertices.device)
    depth = torch.zeros(height, width, device=vertices.device)
    barycentrics = barycentrics.index_put((rows, columns), (weight / total[:, None]).float())
    depth = depth.index_put((rows, columns), (volume / total).float())
    return TensorBuffers(ids, barycentrics, depth)


def interpolate(buffers: TensorBuffers, triangles: Tensor, attributes: Tensor) -> Tensor:
    """As `raster.interpolate`: (n, c) -> (h, w, c)."""
    corners = attributes[triangles.long()[buffers.ids.clamp(min=0)]]  # (h, w, 3 corners, c)
    image = (corners * buffers.barycentrics[..., None]).sum(-2)
    return torch.where(buffers.ids[..., None] >= 0, image, 0)


def texture_colours(buffers: TensorBuffers, triangles: Tensor, uv: Tensor, texture: Tensor) -> Tensor:
    """As `raster.texture_colours`."""
    places = interpolate(buffers, triangles, uv) * 2 - 1  # (h, w, 2) in grid_sample's units
    image = torch.nn.functional.grid_sample(
        texture.permute(2, 0, 1)[None], places[None], padding_mode="border", align_corners=False
    )
    return torch.where(buffers.ids[..., None] >= 0, image[0].permute(1, 2, 0), 0)


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """As `raster.vertex_normals`."""
    a, b, c = vertices.double()[triangles.long()].unbind(1)
    area = torch.linalg.cross(b - a, c - a)
    summed = torch.zeros_like(vertices, dtype=torch.float64)
    for corner in range(3):
        summed = summed.index_add(0, triangles[:, corner].long(), area)
    length = summed.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, device=vertices.device)
    return torch.where(length > 1e-20, summed / length.clamp(min=1e-20), up).to(vertices.dtype)


def _weights(corners: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """d . (p_j x p_k) of the three corners (n, 3), positive inside, and the volume p_0 . (p_1 x p_2) (n,)."""
    p0, p1, p2 = corners.unbind(1)
    edge = torch.stack([torch.linalg.cross(p1, p2), torch.linalg.cross(p2, p0), torch.linalg.cross(p0, p1)], 1)
    volume = (p0 * edge[:, 0]).sum(-1)
    sign = torch.where(volume.abs() > 1e-12, volume.sign(), 0)
    weight = edge[..., 0] * x[:, None] + edge[..., 1] * y[:, None] + edge[..., 2]
    return weight * sign[:, None], volume * sign


def _nearest(corners: Tensor, height: int, width: int) -> Tensor:
    """Depth bits << 32 | triangle of the nearest hit of each pixel (h * w), EMPTY where there is none."""
    best = torch.full((height * width,), EMPTY, dtype=torch.int64, device=corners.device)
    z = corners[..., 2]
    uv = corners[..., :2] / z[..., None].clamp(min=NEAR)
    crossing = (z < NEAR).any(1, keepdim=True)  # its outline is not where its vertices fall
    limit = torch.tensor([width - 1, height - 1], device=corners.device)
    low = torch.where(crossing, 0, torch.ceil(uv.amin(1) - 0.5)).nan_to_num(0.0).clamp(min=0)
    high = torch.where(crossing, limit, torch.floor(uv.amax(1) - 0.5)).nan_to_num(-1.0)
    low, high = low.minimum(limit + 1).long(), high.clamp(min=-1).minimum(limit).long()
    box = (high - low + 1).clamp(min=0) * (z >= NEAR).any(1, keepdim=True)  # (m, 2) columns, rows
    counts = box.prod(1)
    first = 0
    ends = counts.cumsum(0)
    while first < len(counts):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(torch.searchsorted(ends, done + PAIRS, right=True)))
        chunk = torch.arange(first, last, device=corners.device).repeat_interleave(counts[first:last])
        starts = (ends - counts)[chunk] - done
        index = torch.arange(len(chunk), device=corners.device) - starts  # place in the bounding box
        columns = low[chunk, 0] + index % box[chunk, 0]
        rows = low[chunk, 1] + torch.div(index, box[chunk, 0], rounding_mode="floor")
        weight, volume = _weights(corners[chunk], columns + 0.5, rows + 0.5)
        total = weight.sum(-1)
        depth = (volume / total).float()
        hit = (weight >= 0).all(-1) & (total > 0) & (depth >= NEAR)
        key = (depth[hit].view(torch.int32).long() << 32) | chunk[hit]
        best.scatter_reduce_(0, rows[hit] * width + columns[hit], key, "amin")
        first = last
    return best
