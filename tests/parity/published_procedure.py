"""The published procedure from photo to views, stated plainly: one network after the other, nothing shared or reused.

Where the authors fit 3DDFA's face to find the pose and the middle of a head, the fit of our portrait stands in, with
what was measured on crops that they labelled: their square is 1 / 1.131 of ours, its centre 4.2 % of its side lower,
and the camera of their label 5.9 degrees higher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.diffusion.multiview import view_generators
from portrait360.geometry.cameras import Camera, look_at
from portrait360.models.panohead import GAN3D
from portrait360.models.weights.store import load_empty_prompt, load_vae, load_view_denoiser
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.gan_inversion import InversionTarget
from portrait360.pipeline.views.multiview_sampler import encoder_generators

SQUARE, LOWER, HIGHER = 1 / 1.131, 0.042, 5.9
FOCAL, DISTANCE = 4.2647, 2.7  # of every label
Features = Callable[[Tensor], Sequence[Tensor]]


def align(portrait: Portrait, size: int) -> tuple[np.ndarray, np.ndarray]:
    """PanoHead's crop (s s 3) and label (25): eyes level as in FFHQ, its square, the fitted pose, 2.7 away."""
    marks, pixels = portrait.landmarks, portrait.rgb.shape[0]
    assert marks is not None
    left = marks[[33, 160, 158, 133, 153, 144]].mean(0)  # in the picture: six landmarks around each eye, as of 68
    right = marks[[362, 385, 387, 263, 373, 380]].mean(0)
    to_mouth = (marks[61] + marks[291]) / 2 - (left + right) / 2
    x = right - left - np.flipud(to_mouth) * [-1, 1]
    x = x / np.hypot(*x)
    y = np.flipud(x) * [-1, 1]
    to_head = portrait.camera.cam2world[:3, :3].T  # OpenCV axes
    across = (
        portrait.camera.focal / FOCAL * SQUARE / portrait.crop_scale
    )  # side of the square in sides of the portrait
    below = np.array([0, -LOWER * DISTANCE / FOCAL * SQUARE / portrait.crop_scale, 0])
    at = to_head @ below + [0, 0, portrait.camera.radius]
    middle = portrait.camera.focal * at[:2] / at[2] + 0.5
    across *= portrait.camera.radius / at[2]
    fine = math.ceil(across * pixels / size - 0.01)
    grid = (np.arange(size * fine) + 0.5) / (size * fine) - 0.5
    places = middle + across * (grid[None, :, None] * x + grid[:, None, None] * y)
    crop = cubic(portrait.rgb.astype(np.float64), places * pixels - 0.5)
    crop = crop.reshape(size, fine, size, fine, 3).mean((1, 3)).clip(0, 1).astype(np.float32)
    level = np.eye(3)
    level[:2, :2] = [x, y]
    pitch = look_at(0, HIGHER)[:3, :3] @ look_at(0, 0)[:3, :3].T
    world2cam = np.eye(4)
    world2cam[:3, :3] = level @ to_head @ pitch.T
    world2cam[2, 3] = DISTANCE
    k = np.array([FOCAL, 0, 0.5, 0, FOCAL, 0.5, 0, 0, 1])
    return crop, np.concatenate([np.linalg.inv(world2cam).ravel(), k])


def cubic(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -.75 at pixels (x, y); beyond the border its pixels continue."""
    whole = np.floor(at).astype(int)
    rest, last = at - whole, np.array(picture.shape[1::-1]) - 1
    out = 0.0
    for i in range(-1, 3):
        for j in range(-1, 3):
            weight = keys(i - rest[..., 1]) * keys(j - rest[..., 0])
            column, row = np.moveaxis(np.clip(whole + [j, i], 0, last), -1, 0)
            out = out + weight[..., None] * picture[row, column]
    return np.asarray(out)


def keys(x: np.ndarray, a: float = -0.75) -> np.ndarray:
    x = np.abs(x)
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, (a + 2) * x**3 - (a + 3) * x**2 + 1, np.where(x < 2, far, 0))


def invert(
    network: GAN3D, target: InversionTarget, features_of: Features, steps: int, tuning: int, seed: int
) -> tuple[Tensor, GAN3D]:
    """The inversion in one piece, with the places along rays and the noise drawn as ours are."""
    z = torch.from_numpy(np.random.RandomState(123).randn(10_000, network.config.z).astype(np.float32))
    front = torch.from_numpy(Camera(look_at(0)).label()).float()
    # a thousand at a time, as ours: Adam makes steps of rounding errors where the gradient is next to nothing
    w = torch.cat([network.mapping(part, front.expand(len(part), -1))[:, 0] for part in z.split(1000)])
    std = (((w - w.mean(0)) ** 2).sum() / 10_000) ** 0.5
    mean = w.mean(0)[None, None]
    label = target.label.clone()
    label[:, [3, 7, 11]] += network.t_mapping(z.mean(0, keepdim=True), target.label)[:, 0]
    features = features_of(target.picture)

    def loss_of(ws: Tensor, step: int) -> Tensor:
        draw = torch.Generator().manual_seed((seed * 1_000_003 + step) * 2)
        seen = network.generate_head(ws).render(label, uniform=lambda shape: torch.rand(tuple(shape), generator=draw))
        mse = ((seen.rgb - target.picture) ** 2).mean()
        apart = [((a - b) ** 2).sum() for a, b in zip(features_of(seen.rgb), features, strict=True)]
        return 0.1 * mse + torch.stack(apart).sum()

    ws = mean.repeat(1, network.styles, 1).requires_grad_(True)
    adam = torch.optim.Adam([ws], lr=0.1, betas=(0.9, 0.999))
    for step in range(steps):
        t = step / steps
        fall = 0.5 - 0.5 * math.cos(math.pi * min(1, (1 - t) / 0.25))
        adam.param_groups[0]["lr"] = 0.1 * fall * min(1, t / 0.05)
        draw = torch.Generator().manual_seed((seed * 1_000_003 + step) * 2 + 1)
        noise = torch.randn(tuple(ws.shape), generator=draw) * (std * (0.05 * max(0, 1 - t / 0.75) ** 2))
        loss = loss_of(ws + noise, step) + ((ws - mean) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    network.requires_grad_(True)
    adam = torch.optim.Adam(network.parameters(), lr=3e-4)
    for step in range(tuning):
        loss = loss_of(ws.detach(), step)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return ws.detach(), network.requires_grad_(False)


def invert_portrait(network: GAN3D, portrait: Portrait, features_of: Features, steps: int, tuning: int, seed: int):
    """The inversion of a portrait in PanoHead's own crop."""
    crop, label = align(portrait, 512)
    picture = torch.from_numpy(2 * crop - 1).permute(2, 0, 1)[None].float()
    target = InversionTarget(picture, torch.ones_like(picture[:, :1]), torch.from_numpy(label).float()[None])
    network.config = replace(network.config, rays=replace(network.config.rays, near=2.35))
    return invert(network, target, features_of, steps, tuning, seed)


@torch.no_grad()
def turn_around(network: GAN3D, ws: Tensor, azimuths: Sequence[float], size: int, seed: int | None) -> Tensor:
    """Pictures (n 3 s s) in [-1, 1] of a generated head with its background; a seed draws places along rays."""
    head, pictures = network.generate_head(ws), []
    for i, azimuth in enumerate(azimuths):
        label = torch.from_numpy(Camera(look_at(azimuth, 0, radius=DISTANCE), FOCAL).label()).float()[None]
        draw = torch.Generator().manual_seed((seed or 0) * 1_000_003 + i)
        places = None if seed is None else lambda shape, draw=draw: torch.rand(tuple(shape), generator=draw)
        pictures.append(F.interpolate(head.render(label, uniform=places).rgb.clamp(-1, 1), (size, size), mode="area"))
    return torch.cat(pictures)


@torch.no_grad()
def denoise(
    references: Tensor,
    hints: Tensor,
    proxies: Tensor | None,
    weights: Path,
    steps: int,
    seed: int,
    dtype: torch.dtype,
    *,
    cross_view: bool = True,
) -> Tensor:
    """Views (v 3 s s): every network in full for every view of a window, windows one by one."""
    vae, net = load_vae(weights).float(), load_view_denoiser(weights).float()
    context = load_empty_prompt(weights).float()
    views = len(hints)

    def encode(pictures: Tensor, purpose: int) -> Tensor:
        out = []
        for picture, generator in zip(pictures, encoder_generators(seed, purpose, len(pictures)), strict=True):
            mean, deviation = vae.moments(picture[None])
            out.append((mean + deviation * torch.randn(mean.shape, generator=generator)) * vae.config.scale)
        return torch.cat(out)

    shown = encode(references, 2)
    begun = None if proxies is None else encode(proxies, 1)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    exact = (1 - betas).cumprod(0)
    alphas = exact.to(dtype)
    roots = (1 - alphas).sqrt()
    one_less = (1 - alphas).reciprocal().double().reciprocal()
    generators = view_generators(seed, views)
    fresh = lambda of: torch.stack([torch.randn(shown.shape[1:], generator=generators[i]) for i in of])  # noqa: E731
    out = torch.zeros(hints.shape)
    for begin in range(0, views, 8):
        of = range(begin, min(begin + 8, views))
        many, chosen = len(of), list(of)
        started = [table[999].to(dtype).float() for table in (exact.sqrt(), (1 - exact).sqrt())]
        x = fresh(of) if begun is None else started[0] * begun[chosen] + started[1] * fresh(of)
        times = [1 + i * 1000 // steps for i in range(steps)]
        together = many if cross_view else None
        for i, t in reversed(list(enumerate(times))):
            at = torch.full((many,), t)
            each = shown[:, None].expand(-1, many, -1, -1, -1)
            conditional = net(x, at, context, references=each, hints=hints[chosen], views=together)
            plain = net(x, at, context, views=together, unconditional=True)
            eps = plain + 3.0 * (conditional - plain)
            a, before = float(alphas[t].double()), float(alphas[times[i - 1] if i else 0].double())
            variance = (1 - before) / float(one_less[t]) * (1 - a / before)
            sigma = 0.5 * max(variance, 0) ** 0.5
            clean = (x - float(roots[t]) * eps) / a**0.5
            x = before**0.5 * clean + max(1 - before - sigma**2, 0) ** 0.5 * eps
            if sigma > 0:
                x = x + sigma * fresh(of)
        for place, latent in zip(of, x, strict=True):
            out[place] = vae.decode(latent[None])[0]
    return out.clamp(-1, 1)
