"""What a run of a preset with published networks does otherwise than one of `small`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portrait360 import memory
from portrait360.denoised_views import Sampling
from portrait360.files import sha256
from portrait360.gan_proxy import HEAD_FILE, GanHead
from portrait360.head import device_of
from portrait360.memory_model import peak_bytes
from portrait360.models.presets import PRESETS
from portrait360.network_views import Machine, Source, Way
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy
from portrait360.weights.folder import MANIFEST
from portrait360.weights.library import found, needed, system_of
from portrait360.wish import Wish


def way_of(wish: Wish) -> Way | None:
    """How networks make the views; None where they are the proxy's own."""
    preset = PRESETS[wish.preset]
    if preset.steps is None:
        return None
    weights = tuple(needed(preset.weights, f"The preset {preset.name}"))
    steps = wish.steps or preset.steps[0 if wish.faithful else 1]
    machine = Machine.of(device_of(wish.device), wish.compiled)
    return Way(preset, weights, wish.pixels, steps, wish.faithful, wish.seed, machine)


def source_of(way: Way, portrait: Portrait, proxy: Proxy, others: Sequence[Portrait], folder: Path) -> Source:
    """`folder` is the proxy's."""
    kept = folder / HEAD_FILE  # which other methods do not leave
    generated = GanHead.load(kept, way.machine.device) if kept.is_file() else None
    return Source(portrait, proxy, generated, found(way.preset.gan) if way.preset.gan else None, tuple(others))


def check_memory(stage: str, way: Way, system: str, views: int) -> None:
    """Before networks are loaded."""
    machine = way.machine
    how = Sampling(1, way.faithful)  # a level takes as much as many
    peak = peak_bytes(system_of(way.weights_of(system)), views, way.size, machine.dtype, how, thrifty=machine.thrifty)
    told = "use --device cpu" if machine.device.type == "cuda" else "use a machine with more memory"
    memory.check(stage, peak, told, memory.free_on(machine.device))


def made_with(way: Way, system: str) -> dict[str, Any]:
    """All that views by a system's networks depend on besides what was made before."""
    generator = found(way.preset.gan) if way.preset.gan else None
    used = (way.weights_of(system), *([generator] if generator else []))
    return {
        "preset": way.preset.name,
        "weights": {folder.name: sha256(folder / MANIFEST) for folder in used},
        "size": way.size,
        "steps": way.steps,
        "faithful": way.faithful,
        "seed": way.seed,
        "precision": str(way.machine.dtype),
        "compiled": way.machine.compiled,  # its last digits differ
    }
