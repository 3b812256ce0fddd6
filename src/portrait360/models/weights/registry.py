"""The weight files that can be imported: which networks they hold, under which names, and what else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from portrait360.models.clip_text import TextConfig, TextEncoder
from portrait360.models.cross_view_attention import CrossViewConfig
from portrait360.models.network_sizes import BACK_HEAD, DIFFPORTRAIT3D, DIFFPORTRAIT360
from portrait360.models.panohead import GAN3D, GAN3DConfig
from portrait360.models.unet import UNet, UNetConfig
from portrait360.models.vae import VAE, VAEConfig
from portrait360.models.view_denoiser import ViewDenoiser, ViewDenoiserConfig
from portrait360.models.weights.tensor_files import Spec, get_specs
from portrait360.utils.errors import UserError

SCHEDULE_TABLES = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
}
UNET, APPEARANCE, CONTROL = "model.diffusion_model.", "control_model.", "pose_control_model."
FIRST_STAGE, TEXT = "first_stage_model.", "cond_stage_model.transformer.text_model."
POSITION_IDS = TEXT + "embeddings.position_ids"  # present in older files, absent in newer ones
COMPONENTS = {"unet": UNET, "appearance": APPEARANCE, "control": CONTROL, "vae": FIRST_STAGE}  # our file -> prefix


@dataclass(frozen=True)
class ModelSpec:
    """A kind of weight file."""

    name: str
    denoiser: ViewDenoiserConfig | None  # None: only the U-Net of Stable Diffusion 1.5
    unet: UNetConfig = field(default_factory=UNetConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    text: TextConfig = field(default_factory=TextConfig)
    gan: GAN3DConfig | None = None  # a generator, and no other network

    @property
    def dtype(self) -> torch.dtype:
        """The type of our files: fp32 for the 3D GAN, which is small and will be fine-tuned."""
        return torch.float16 if self.gan is None else torch.float32

    @property
    def components(self) -> dict[str, str]:
        """Our files, and the prefix of the tensor names that belong to each."""
        return COMPONENTS if self.gan is None else {"generator": ""}

    def expected_tensors(self) -> dict[str, Spec]:
        """Return the specs of all tensors that must be in the file, except for the schedule's tables."""
        with torch.device("meta"):
            if self.gan is not None:
                return get_specs(GAN3D(self.gan))
            denoiser = None if self.denoiser is None else ViewDenoiser(self.denoiser)
            parts: list[tuple[str, nn.Module]] = [("", denoiser)] if denoiser else [(UNET, UNet(self.unet))]
            parts += [(FIRST_STAGE, VAE(self.vae)), (TEXT, TextEncoder(self.text))]
        return {name: spec for prefix, part in parts for name, spec in get_specs(part, prefix).items()}

    def may_lack(self, name: str) -> bool:
        return name == POSITION_IDS

    def may_carry(self, name: str) -> bool:
        """Whether a tensor is known and unused: a schedule table, or an averaged copy from SD 1.5's training."""
        return name in SCHEDULE_TABLES or (self.denoiser is None and name.startswith("model_ema."))


MODEL_SPECS = {
    system.name: system
    for system in (
        ModelSpec("diffportrait360", DIFFPORTRAIT360),
        ModelSpec("diffportrait3d", DIFFPORTRAIT3D),
        ModelSpec("back-head", BACK_HEAD),
        ModelSpec("sd15", None),
    )
}
PANOHEAD = "panohead"  # its config is read from the file
MOTION = "animatediff"  # only the cross-view attention, in DiffPortrait360's layout
MOTION_CONFIG = CrossViewConfig()


def identify_system(names: Iterable[str], file: str) -> str:
    """Return the name of the system whose file has these tensor names."""
    names = list(names)

    def has(text: str) -> bool:
        return any(text in name for name in names)

    def starts(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in names)

    if starts(CONTROL) and starts(UNET):
        if has("middle_block_motion_module"):
            return "diffportrait3d"
        return "diffportrait360" if has("motion_module") else "back-head"
    if starts(UNET):
        return "sd15"
    if starts("down_blocks.0.motion_modules."):
        return MOTION
    example = names[0] if names else "nothing"
    raise UserError(
        f"{file} is not a known weight file: it has tensor names like {example!r}, but they must start with "
        f"{UNET!r}, {CONTROL!r} or 'down_blocks.0.motion_modules.'."
    )
