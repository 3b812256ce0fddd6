"""The papers' own tables, printed next to ours. Their data, crops and weights differ, so the figures must never be
mixed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    paper: str
    table: str
    data: str
    method: str
    figures: dict[str, float]  # named like ours: "PSNR/front"


def _renderme(method: str, front: tuple[float | None, ...], back: tuple[float | None, ...]) -> Published:
    names = ("PSNR", "SSIM", "LPIPS", "CSIM", "FID")
    figures = {f"{n}/front" if n != "CSIM" else n: v for n, v in zip(names, front, strict=True) if v is not None}
    figures |= {f"{n}/back": v for n, v in zip(names, back, strict=True) if v is not None}
    return Published("DiffPortrait360", "1", "RenderMe-360, 500 pairs", method, figures)


def _nersemble(method: str, values: tuple[float, ...]) -> Published:
    names = ("POSE", "LPIPS/all", "SSIM/all", "DISTS/all", "ID", "FID/all")
    figures: dict[str, float] = dict(zip(names, values, strict=True))
    return Published("DiffPortrait3D", "1a", "NeRSemble, novel views, 256 x 256", method, figures)


def _portrait_diffusion(method: str, values: tuple[float, ...]) -> Published:
    figures: dict[str, float] = dict(zip(("CLIP-I", "LPIPS", "ID"), values, strict=True))
    return Published("Portrait Diffusion", "1", "the authors' portraits, five renders", method, figures)


PUBLISHED = (
    _renderme("PanoHead + PTI", (28.35, 0.505, 0.495, 0.471, 98.93), (28.39, 0.450, 0.432, None, 169.52)),
    _renderme("SphereHead + PTI", (28.62, 0.513, 0.432, 0.556, 69.41), (28.63, 0.463, 0.413, None, 106.21)),
    _renderme("Zero123", (None, None, None, 0.431, 152.03), (None, None, None, None, 216.88)),
    _renderme("Unique3D", (None, None, None, 0.483, 195.33), (None, None, None, None, 285.75)),
    _renderme("DiffPortrait3D*", (28.96, 0.509, 0.425, 0.709, 49.02), (28.47, 0.373, 0.446, None, 91.37)),
    _renderme("DiffPortrait360", (29.44, 0.578, 0.384, 0.746, 35.34), (30.92, 0.648, 0.313, None, 39.40)),
    _nersemble("DiffPortrait3D", (0.0068, 0.23, 0.62, 0.21, 0.70, 27.4)),
    _nersemble("EG3D-PTI", (0.0021, 0.26, 0.59, 0.24, 0.28, 56.2)),
    _nersemble("GOAE", (0.0022, 0.28, 0.57, 0.25, 0.39, 84.8)),
    _nersemble("TriPlaneNet", (0.0134, 0.39, 0.50, 0.29, 0.45, 112.1)),
    _portrait_diffusion("Portrait3D", (0.9956, 0.4258, 0.1899)),
    _portrait_diffusion("Wonder3D", (0.9943, 0.4377, 0.3057)),
    _portrait_diffusion("DreamCraft3D", (0.9969, 0.4064, 0.2314)),
    _portrait_diffusion("Portrait Diffusion", (0.9986, 0.3616, 0.3440)),
)
PAPERS_OF = {
    "renderme360-v1": ("DiffPortrait360",),
    "nersemble-v1": ("DiffPortrait3D",),
    "portrait-diffusion-v1": ("Portrait Diffusion",),
    "synthetic-v1": ("DiffPortrait360", "DiffPortrait3D"),
    "wild-v1": ("Portrait Diffusion",),
}


def select_published(protocol: str) -> list[Published]:
    """Return the published rows that belong next to a protocol's table."""
    return [row for row in PUBLISHED if row.paper in PAPERS_OF.get(protocol, ())]
