"""Our networks are those of other libraries on the same weights, and have the names of the published files."""

import json
import zlib

import pytest
import torch

from portrait360.models import layers
from portrait360.models.clip_text import END, START, TextConfig, TextEncoder
from portrait360.models.controlnet import ControlConfig, ControlNet
from portrait360.models.network_sizes import BACK_HEAD, DIFFPORTRAIT3D, DIFFPORTRAIT360
from portrait360.models.unet import UNet, UNetConfig
from portrait360.models.vae import VAE, VAEConfig
from portrait360.models.view_denoiser import ViewDenoiser
from tests.fixtures.later import Later
from tests.fixtures.paths import KEYS
from tests.parity.diffusers_names import copy_control, copy_unet, copy_vae
from tests.parity.filling import fill
from tests.parity.golden import relative_error

diffusers, transformers = Later("diffusers"), Later("transformers")
LIMIT = 1e-5

# SD 1.5 with a tenth of its channels
SLIM = UNetConfig(width=32, context_dim=24)
SD15 = {
    "block_out_channels": SLIM.level_widths,
    "cross_attention_dim": SLIM.context_dim,
    "attention_head_dim": SLIM.heads,  # diffusers' name for how many heads there are
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
}


def draw(name: str, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))


X, CONTEXT, T = draw("x", 2, 4, 16, 16), draw("context", 2, 7, SLIM.context_dim), torch.tensor([981, 42])


@torch.no_grad()
def test_unet_is_that_of_diffusers():
    theirs = fill(diffusers.UNet2DConditionModel(**SD15, up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3))
    ours = UNet(SLIM)
    copy_unet(theirs, ours)
    assert relative_error(ours(X, T, CONTEXT), theirs(X, T, CONTEXT).sample) < LIMIT


@torch.no_grad()
def test_control_net_is_that_of_diffusers_and_so_is_where_its_residuals_go():
    theirs, unet = fill(diffusers.ControlNetModel(**SD15)), diffusers.UNet2DConditionModel(**SD15)
    ours, own_unet = ControlNet(SLIM, ControlConfig()), UNet(SLIM)
    copy_control(theirs, ours)
    copy_unet(fill(unet, 1), own_unet)
    hint = draw("hint", 2, 3, 128, 128)
    down, middle = theirs(X, T, CONTEXT, hint, return_dict=False)
    residuals = ours(X, ours.embed_hint(hint), T, CONTEXT)
    for own, expected in zip(residuals, [*down, middle], strict=True):
        assert relative_error(own, expected) < LIMIT
    out = unet(X, T, CONTEXT, down_block_additional_residuals=down, mid_block_additional_residual=middle).sample
    assert relative_error(own_unet(X, T, CONTEXT, control=residuals), out) < LIMIT
    assert relative_error(own_unet(X, T, CONTEXT), out) > 0.1


@torch.no_grad()
def test_vae_is_that_of_diffusers():
    theirs = fill(
        diffusers.AutoencoderKL(
            block_out_channels=(32, 64, 128, 128),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
    )
    ours = VAE(VAEConfig(width=32))
    copy_vae(theirs, ours)
    picture, noise, scale = draw("picture", 1, 3, 64, 48).clamp(-1, 1), draw("noise", 1, 4, 8, 6), 0.18215
    posterior = theirs.encode(picture).latent_dist
    assert relative_error(ours.encode(picture), posterior.mean * scale) < LIMIT
    assert (
        relative_error(ours.encode(picture, lambda shape: noise), (posterior.mean + posterior.std * noise) * scale)
        < LIMIT
    )
    assert relative_error(ours.decode(noise), theirs.decode(noise / scale).sample) < LIMIT


@torch.no_grad()
def test_text_encoder_is_that_of_transformers():
    width, config = 32, TextConfig(width=32, layers=3, heads=4)
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": 3, "num_attention_heads": 4}
    theirs = fill(transformers.CLIPTextModel(transformers.CLIPTextConfig(**sizes))).eval()
    ours = TextEncoder(config)
    state = {name.removeprefix("text_model."): value for name, value in theirs.state_dict().items()}
    ours.load_state_dict({"embeddings.position_ids": ours.embeddings.position_ids} | state)
    prompt = torch.tensor([[START, 320, 1125, 539, END, END], [START, 7, END, END, END, END]])
    assert relative_error(ours(prompt), theirs(prompt).last_hidden_state) < LIMIT
    empty = torch.tensor([[49406] + [49407] * 76])  # CLIP's tokenizer on "", padded as SD 1.5 does
    assert relative_error(ours.empty_prompt(), theirs(empty).last_hidden_state) < LIMIT


def published(file: str, prefix: str) -> dict[str, tuple]:
    entries: dict[str, list] = json.loads((KEYS / file).read_text())
    return {name: tuple(entry) for name, entry in entries.items() if name.startswith(prefix)}


def own(network: torch.nn.Module, prefix: str = "") -> dict[str, tuple]:
    state = network.state_dict()
    return {prefix + name: (str(value.dtype).split(".")[1], *value.shape) for name, value in state.items()}


FILES = {
    "diffportrait360.json": DIFFPORTRAIT360,
    "diffportrait3d.json": DIFFPORTRAIT3D,
    "back_head.json": BACK_HEAD,
}


@pytest.mark.parametrize("file", FILES)
def test_names_shapes_and_types_are_those_of_the_published_files(file):
    with torch.device("meta"):
        denoiser, vae, text = ViewDenoiser(FILES[file]), VAE(VAEConfig()), TextEncoder(TextConfig())
    expected = {}
    for prefix in ("model.", "control_model.", "pose_control_model."):
        expected |= published(file, prefix)
    assert own(denoiser) == expected
    assert own(vae, "first_stage_model.") == published(file, "first_stage_model.")
    prefix = "cond_stage_model.transformer.text_model."
    assert own(text, prefix) == published(file, prefix) and len(own(text)) == 197


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8), (4, 2, 3, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_quick_linear_layer_is_the_plain_one(shape, bias):
    quick = layers.Linear(8, 6, bias=bias)
    plain = torch.nn.Linear(8, 6, bias=bias)
    plain.load_state_dict(quick.state_dict(), strict=True)
    for x in (torch.randn(shape), torch.randn(shape[::-1]).transpose(0, -1)):
        with torch.no_grad():
            torch.testing.assert_close(quick(x), plain(x), rtol=1e-5, atol=1e-6)
        quick(x).sum().backward()  # with gradients it is the plain one
        plain(x).sum().backward()
        torch.testing.assert_close(quick.weight.grad, plain.weight.grad)
