"""The published networks at full size, with random weights: does everything fit, how long does it take?

python -m benchmarks.full_size [--size 256] [--views 1] [--steps 2] [--precision float32] [--weights DIR] [--device D]
python -m benchmarks.full_size --generator [--views 1] [--device D]

DIR (5 GB) is written once, as `portrait360 weights import` would leave it. Nothing can be seen in the pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from portrait360.geometry.cameras import orbit
from portrait360.models.clip_text import TextConfig
from portrait360.models.panohead import GAN3D, PANOHEAD
from portrait360.models.weights.installed import MANIFEST
from portrait360.models.weights.registry import COMPONENTS, MODEL_SPECS, ModelSpec
from portrait360.models.weights.store import StoredModel
from portrait360.models.weights.tensor_files import Spec, write_safetensors
from portrait360.pipeline.views.multiview_sampler import ComputeConfig, DenoiserInputs, SamplerConfig, denoise_views
from portrait360.utils.progress import progress_bar
from portrait360.utils.version import __version__

SYSTEM = "diffportrait360"


def random_import(folder: Path, system: ModelSpec) -> None:
    """Weights of a size that keeps numbers near one."""
    folder.mkdir(parents=True, exist_ok=True)
    expected, text = system.expected_tensors(), TextConfig()
    parts: dict[str, dict[str, Spec]] = {
        part: {name.removeprefix(prefix): spec for name, spec in expected.items() if name.startswith(prefix)}
        for part, prefix in COMPONENTS.items()
    }
    parts["empty_prompt"] = {"empty_prompt": Spec((1, text.tokens, text.width), torch.float16)}
    files = {}
    total = sum(2 * torch.Size(spec.shape).numel() for specs in parts.values() for spec in specs.values())
    with progress_bar("Random weights", unit="bytes") as bar:
        for part, specs in parts.items():
            path = folder / f"{part}.safetensors"
            half = {name: Spec(spec.shape, torch.float16) for name, spec in specs.items()}
            about = {"system": system.name, "part": part, "config": json.dumps(asdict(system))}
            read = lambda name, half=half: random_tensor(name, half)  # noqa: E731
            told = lambda count, part=part: bar.advance(part, count, total)  # noqa: E731
            files[path.name] = {"sha256": write_safetensors(path, half, read, about, told)}
            files[path.name]["bytes"] = path.stat().st_size
    said = {"portrait360": __version__, "system": system.name, "source": {"name": "random"}, "dtype": "float16"}
    (folder / MANIFEST).write_text(json.dumps({**said, "config": asdict(system), "files": files}))


def random_tensor(name: str, specs: Mapping[str, Spec]) -> Tensor:
    shape = torch.Size(specs[name].shape)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    n = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if len(shape) > 1:
        return (n / shape[1:].numel() ** 0.5).half()
    return (1 + 0.1 * n if name.endswith("weight") else 0.1 * n).half()


def generator(views: int, device: torch.device) -> None:
    """PanoHead's: a head, its views of 512 pixels, one step of an inversion."""
    network = GAN3D(PANOHEAD).eval().to(device)
    labels = torch.stack([torch.from_numpy(camera.label()).float() for camera in orbit(views)]).to(device)
    times = [time.perf_counter()]
    with torch.inference_mode():
        styles = network.map_styles(torch.zeros(1, PANOHEAD.z, device=device), labels[:1], 0.7)
        head = network.generate_head(styles)
        times.append(time.perf_counter())
        seen = [head.render(label[None]).rgb.cpu() for label in labels]
    times.append(time.perf_counter())
    assert all(torch.isfinite(one).all() for one in seen)
    sought = styles.clone().requires_grad_(True)
    network.generate_head(sought).render(labels[:1]).rgb.square().mean().backward()
    times.append(time.perf_counter())
    made, looked, step = (b - a for a, b in zip(times, times[1:], strict=False))
    print(
        f"PanoHead's generator on {device}: a head {made:.1f} s, a view {looked / views:.1f} s, a step {step:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--weights", type=Path, default=Path("random-weights"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--generator", action="store_true", help="PanoHead's instead")
    a = parser.parse_args()
    if a.generator:
        generator(a.views, torch.device(a.device))
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB of memory")
        return
    if not (a.weights / MANIFEST).is_file():
        random_import(a.weights, MODEL_SPECS[SYSTEM])
    device = torch.device(a.device)
    machine = ComputeConfig(device, getattr(torch, a.precision), offload=device.type != "cpu")
    draw = torch.Generator().manual_seed(0)
    asked = DenoiserInputs(*(torch.rand(n, 3, a.size, a.size, generator=draw) * 2 - 1 for n in (2, a.views, a.views)))
    begun = time.perf_counter()
    made = denoise_views(asked, StoredModel(a.weights), SamplerConfig(a.steps, faithful=False), machine)
    seconds = time.perf_counter() - begun
    assert made.shape == (a.views, 3, a.size, a.size) and torch.isfinite(made).all()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{a.views} views of {a.size} pixels, {a.steps} steps, {a.precision} on {device}: {seconds:.0f} s in all, ")
    print(f"{seconds / a.views:.1f} s a view, {memory:.1f} GB of memory")
    if device.type == "cuda":
        print(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB of the GPU's")


if __name__ == "__main__":
    main()
