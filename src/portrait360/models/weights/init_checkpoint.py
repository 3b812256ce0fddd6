"""The checkpoint from which training starts.

It holds Stable Diffusion 1.5 wherever its weights fit; all other layers are initialised such that they add nothing.
The published training scripts start from noise unless they get a checkpoint, and cannot create one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights.animatediff import motion_specs
from portrait360.models.weights.checkpoint_folder import Origin, Parts, Progress, new_folder, require_free_name
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.installed import MANIFEST
from portrait360.models.weights.registry import COMPONENTS, MODEL_SPECS, MOTION, MOTION_CONFIG, ModelSpec
from portrait360.models.weights.store import StoredModel, load_spec, read_part
from portrait360.models.weights.tensor_files import describe, require_same
from portrait360.utils.errors import UserError

HALF = torch.float16
PARTS = ("unet", "appearance", "control", "vae", "empty_prompt")


def init_checkpoint(
    sd15: Path,
    target: Path,
    system: ModelSpec | str = "diffportrait360",
    *,
    motion: Path | None = None,
    seed: int = 0,
    on_progress: Progress = lambda part, count, total: None,
) -> dict[str, object]:
    """Write an initial checkpoint to the folder `target`, in the form of an import, and return its manifest.

    `sd15` (Stable Diffusion 1.5) and `motion` (AnimateDiff's weights for the cross-view attention) are each a
    published file or a folder that `weights import` wrote.
    """
    spec = find_system(system)
    cross_view = spec.denoiser.cross_view if spec.denoiser else None
    if motion is not None and (cross_view is None or cross_view.layout != MOTION_CONFIG.layout):
        raise UserError(f"AnimateDiff's weights do not fit {spec.name}; leave out `motion=`.")
    require_free_name(Path(os.path.abspath(target)), "init")  # before a long import
    with import_source(sd15, "sd15", spec) as sd_folder, import_source(motion, MOTION, spec) as motion_folder:
        if sd_folder is None:
            raise UserError("Give the path of Stable Diffusion 1.5 with `sd15=`.")
        sd_state = read_part(sd_folder, "unet")
        motion_state = read_part(motion_folder, "motion") if motion_folder else None
        network = init_tensors(spec, sd_state, motion_state, seed)
        source = {"name": f"first checkpoint from {sd15.name}" + (f" and {motion.name}" if motion else "")}
        states = split_parts(network) | {part: read_part(sd_folder, part) for part in ("vae", "empty_prompt")}
        return save_parts(states, target, spec, source, "init", on_progress)


def find_system(system: ModelSpec | str) -> ModelSpec:
    trainable = {name: spec for name, spec in MODEL_SPECS.items() if spec.denoiser}
    if isinstance(system, str) and system not in trainable:
        raise UserError(f"{system!r} cannot be trained; choose from {', '.join(trainable)}.")
    return trainable[system] if isinstance(system, str) else system


@contextmanager
def import_source(source: Path | None, kind: str, system: ModelSpec) -> Iterator[Path | None]:
    """Yield the folder of an imported source; a published file is imported into a temporary folder."""
    if source is None or (source / MANIFEST).is_file():
        if source is not None and (name := load_spec(source).name) != kind:
            raise UserError(f"{source} contains {name}; use {kind}.")
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="portrait360-") as folder:
        sizes = system.denoiser.unet if system.denoiser else system.unet
        spec = ModelSpec(kind, None, unet=sizes, vae=system.vae, text=system.text)
        import_weights(source, Path(folder) / kind, spec)
        yield Path(folder) / kind


def init_tensors(
    system: ModelSpec, sd: Mapping[str, Tensor], motion: Mapping[str, Tensor] | None = None, seed: int = 0
) -> ViewDenoiser:
    """Return the initial network in half precision.

    U-Net, appearance network and ControlNet are copies of SD 1.5's; the additions of the ControlNet and of the
    cross-view attention pass zero-initialised layers.
    """
    assert system.denoiser is not None
    with torch.random.fork_rng(devices=[]), default_half_precision():
        torch.manual_seed(seed)
        network = ViewDenoiser(system.denoiser)
    unet = network.unet
    expected = {name: spec for name, spec in describe(unet.state_dict()).items() if name not in motion_specs(unet)}
    require_same(expected, describe(sd), "Stable Diffusion 1.5")
    for part in (unet, network.appearance, network.control):
        copy_matching(part, sd)
    if motion is not None:
        require_same(motion_specs(unet), describe(motion), "The motion weights")
        copy_matching(unet, motion)
    return network.eval().requires_grad_(False)


def copy_matching(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy the tensors of a state whose names the network has."""
    for name, value in network.state_dict().items():
        if name in state:
            value.copy_(state[name])


@contextmanager
def default_half_precision() -> Iterator[None]:
    """Build networks in half precision inside the context: five gigabytes instead of ten."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(HALF)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def split_parts(network: ViewDenoiser) -> dict[str, dict[str, Tensor]]:
    """Return the state of each part, as the files hold them."""
    state = network.state_dict()
    parts = {part: prefix for part, prefix in COMPONENTS.items() if part != "vae"}
    return {
        part: {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for part, prefix in parts.items()
    }


def save_trained(network: ViewDenoiser, target: Path, init_from: Path, source: Mapping[str, object]) -> None:
    """Write a trained network as a folder of the same kind as the checkpoint `init_from` from which it started."""
    initial = StoredModel(init_from)
    states = split_parts(network)
    states |= {"vae": initial.vae().state_dict(), "empty_prompt": {"empty_prompt": initial.prompt()}}
    save_parts(states, target, load_spec(init_from), source, "training")


def save_parts(
    states: Mapping[str, Mapping[str, Tensor]],
    target: Path,
    system: ModelSpec,
    source: Mapping[str, object],
    origin: Origin,
    on_progress: Progress = lambda part, count, total: None,
) -> dict[str, object]:
    total = sum(HALF.itemsize * value.numel() for state in states.values() for value in state.values())
    with new_folder(target, origin) as folder:
        parts = Parts(folder, system, total, on_progress)
        for part in PARTS:
            state = states[part]
            specs = {name: spec._replace(dtype=HALF) for name, spec in describe(state).items()}
            parts.write(part, specs, state.__getitem__)
        return parts.finish(source, HALF, origin)
