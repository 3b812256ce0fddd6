"""`portrait360 doctor`: what is here, what would be used, what can run, in plain words."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from portrait360 import __version__
from portrait360.errors import UserError

REQUIRED = ("torch", "numpy", "scipy", "numba", "einops", "safetensors")
REQUIRED += ("opencv-python-headless", "pillow", "psutil", "rich", "typer")


@dataclass(frozen=True)
class Line:
    mark: str  # "ok", "--" (not here, not needed) or "!!" (something to do)
    text: str


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def device_and_precision() -> tuple[str, str, str]:
    """The device that would be used, its precision, and a sentence about it."""
    import torch

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
        precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        return "cuda", precision, f"{name} with {memory / 1e9:.0f} GB, in {precision}"
    if torch.backends.mps.is_available():
        return "mps", "float16", "the Mac's own GPU, in float16"
    return "cpu", "float32", f"the CPU ({os.cpu_count()} cores), in float32"


def packages() -> list[Line]:
    lines = []
    for name in REQUIRED:
        found = version(name)
        lines.append(Line("ok", f"{name} {found}") if found else Line("!!", f"{name} is missing: pip install {name}"))
    return lines


def presets(weights: Path) -> list[Line]:
    """Which presets can run, and what is missing for the others."""
    from portrait360.models.presets import PRESETS
    from portrait360.weights.library import folders, manifest, of_other_size, trained
    from portrait360.weights.systems import PUBLISHED

    have, lines = set(), []
    for folder in folders(weights):
        try:
            said = manifest(folder)
            if wrong := of_other_size(folder):
                lines.append(Line("!!", f"{folder}: {wrong[0]}; import these weights again"))
            elif trained(said):
                have.add(said["system"])
            else:
                lines.append(
                    Line("--", f"{folder} is where a training of {said['system']} begins; it makes no views")
                )
        except UserError as error:
            lines.append(Line("!!", str(error)))
    for preset in PRESETS.values():
        missing = [name for name in preset.weights if name not in have]
        if not missing:
            lines.append(Line("ok", f"{preset.name}: all weights are in {weights}"))
        elif preset.name == "small":
            lines.append(Line("ok", "small: runs; its network (--method completed) is in the package"))
        else:
            wanted = " and ".join(missing)
            how = "portrait360 weights import FILE"
            lines.append(Line("--", f"{preset.name}: needs {wanted} in {weights}; bring the files with `{how}`"))
    return lines + [published(name, name in have) for name in PUBLISHED]


def published(name: str, there: bool) -> Line:
    """A file that the authors offer."""
    from portrait360.weights.systems import PUBLISHED

    file, gigabytes, where = PUBLISHED[name]
    if there:
        return Line("ok", f"{name}: is here")
    return Line("--", f"{name}: {file}, {gigabytes:.1f} GB, from {where}")


def report(weights: Path) -> list[tuple[str, list[Line]]]:
    import psutil

    device, _, sentence = device_and_precision()
    free, memory = shutil.disk_usage(Path.cwd()).free, psutil.virtual_memory()
    machine = [
        Line("ok", f"portrait360 {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"),
        Line("ok", f"would use {sentence}"),
        Line("ok", f"{memory.available / 1e9:.0f} of {memory.total / 1e9:.0f} GB memory free"),
        Line("ok" if free > 1e9 else "!!", f"{free / 1e9:.0f} GB of disk free here"),
    ]
    if device == "cpu":
        machine.append(Line("--", "no GPU that torch can use: too slow for the sd15 preset"))
    return [("This machine", machine), ("Libraries", packages()), ("Presets", presets(weights))]
