"""The checkpoint that a training begins with: Stable Diffusion 1.5 wherever its weights fit, the rest such that it
adds nothing yet. Published training scripts begin with noise where they are told no checkpoint, and make none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from portrait360.checkpoints import describe, require_same
from portrait360.errors import UserError
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.weights.convert import import_weights
from portrait360.weights.folder import MANIFEST, Origin, Parts, Progress, new_folder, require_free_name
from portrait360.weights.library import Imported, read_part, system_of
from portrait360.weights.motion import motion_specs
from portrait360.weights.systems import COMPONENTS, MOTION, MOTION_CONFIG, SYSTEMS, System

HALF = torch.float16
PARTS = ("unet", "appearance", "control", "vae", "empty_prompt")


def first_checkpoint(
    brought: Path,
    target: Path,
    system: System | str = "diffportrait360",
    *,
    motion: Path | None = None,
    seed: int = 0,
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, object]:
    """A folder like an import's. `brought`: Stable Diffusion 1.5, and `motion` AnimateDiff's weights for V, each a
    file or what `weights import` made of it."""
    chosen = chosen_system(system)
    across = chosen.denoiser.cross_view if chosen.denoiser else None
    if motion is not None and (across is None or across.layout != MOTION_CONFIG.layout):
        raise UserError(f"AnimateDiff's weights do not fit {chosen.name}; leave out --motion.")
    require_free_name(Path(os.path.abspath(target)), "init")  # before a long import
    with imported(brought, "sd15", chosen) as sd, imported(motion, MOTION, chosen) as moving:
        if sd is None:
            raise UserError("Say where Stable Diffusion 1.5 is, with --from.")
        network = begun(chosen, read_part(sd, "unet"), read_part(moving, "motion") if moving else None, seed)
        source = {"name": f"first checkpoint from {brought.name}" + (f" and {motion.name}" if motion else "")}
        states = parts_of(network) | {part: read_part(sd, part) for part in ("vae", "empty_prompt")}
        return save_parts(states, target, chosen, source, "init", on_progress)


def chosen_system(system: System | str) -> System:
    known = {name: one for name, one in SYSTEMS.items() if one.denoiser}
    if isinstance(system, str) and system not in known:
        raise UserError(f"{system!r} cannot be trained; choose from {', '.join(known)}.")
    return known[system] if isinstance(system, str) else system


@contextmanager
def imported(brought: Path | None, kind: str, system: System) -> Iterator[Path | None]:
    """A folder with what was brought; imports that are only needed now vanish afterwards."""
    if brought is None or (brought / MANIFEST).is_file():
        if brought is not None and (found := system_of(brought).name) != kind:
            raise UserError(f"{brought} holds {found}; bring {kind}.")
        yield brought
        return
    with tempfile.TemporaryDirectory(prefix="portrait360-") as folder:
        sizes = system.denoiser.unet if system.denoiser else system.unet
        as_asked = System(kind, None, unet=sizes, vae=system.vae, text=system.text)
        import_weights(brought, Path(folder) / kind, as_asked)
        yield Path(folder) / kind


def begun(
    system: System, sd: Mapping[str, Tensor], motion: Mapping[str, Tensor] | None = None, seed: int = 0
) -> ViewDenoiser:
    """In half precision. U-Net, R and C are copies; what C and V add goes through layers of zeros."""
    assert system.denoiser is not None
    with torch.random.fork_rng(devices=[]), half_by_default():
        torch.manual_seed(seed)
        network = ViewDenoiser(system.denoiser)
    unet = network.unet
    own = {name: spec for name, spec in describe(unet.state_dict()).items() if name not in motion_specs(unet)}
    require_same(own, describe(sd), "Stable Diffusion 1.5")
    for part in (unet, network.appearance, network.control):
        fill(part, sd)
    if motion is not None:
        require_same(motion_specs(unet), describe(motion), "The motion weights")
        fill(unet, motion)
    return network.eval().requires_grad_(False)


def fill(network: nn.Module, brought: Mapping[str, Tensor]) -> None:
    """With all that is there under its names."""
    for name, value in network.state_dict().items():
        if name in brought:
            value.copy_(brought[name])


@contextmanager
def half_by_default() -> Iterator[None]:
    """Networks are built in half precision: five gigabytes instead of ten."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(HALF)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def parts_of(network: ViewDenoiser) -> dict[str, dict[str, Tensor]]:
    state = network.state_dict()
    parts = {part: prefix for part, prefix in COMPONENTS.items() if part != "vae"}
    return {
        part: {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for part, prefix in parts.items()
    }


def save_trained(network: ViewDenoiser, target: Path, begin: Path, about: Mapping[str, object]) -> None:
    """What a training has made of the checkpoint it began with, as a folder of the same kind."""
    rest = Imported(begin)
    states = parts_of(network) | {"vae": rest.vae().state_dict(), "empty_prompt": {"empty_prompt": rest.prompt()}}
    save_parts(states, target, system_of(begin), about, "training")


def save_parts(
    states: Mapping[str, Mapping[str, Tensor]],
    target: Path,
    system: System,
    source: Mapping[str, object],
    origin: Origin,
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, object]:
    total = sum(HALF.itemsize * value.numel() for state in states.values() for value in state.values())
    with new_folder(target, origin) as folder:
        parts = Parts(folder, system, total, on_progress)
        for part in PARTS:
            state = states[part]
            specs = {name: spec._replace(dtype=HALF) for name, spec in describe(state).items()}
            parts.write(part, specs, state.__getitem__)
        return parts.finish(source, HALF, origin)
