"""Stable Diffusion 1.5 as a diffusers folder loads, and computes what diffusers computes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from portrait360.models.unet import UNet
from portrait360.models.vae import VAE
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.registry import MODEL_SPECS, SCHEDULE_TABLES
from portrait360.models.weights.store import load_empty_prompt, read_part
from portrait360.models.weights.tensor_files import Spec
from portrait360.utils.errors import UserError
from tests.fixtures import tiny
from tests.fixtures.later import Later
from tests.fixtures.paths import KEYS

diffusers = Later("diffusers")
transformers = Later("transformers")


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    config = transformers.CLIPTextConfig(
        vocab_size=49408, hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2
    )
    return unet.eval(), vae.eval(), transformers.CLIPTextModel(config).eval()


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("sd15")
    for name, network in zip(("unet", "vae", "text_encoder"), theirs, strict=True):
        network.save_pretrained(path / name)
    return path


@pytest.fixture(scope="module")
def imported(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("imported") / "sd15"
    import_weights(folder, target, tiny.system("sd15"), dtype=torch.float32)
    return target


@torch.no_grad()
def test_unet(theirs, imported):
    ours = UNet(tiny.UNET)
    ours.load_state_dict(read_part(imported, "unet"), strict=True)
    x, t, context = torch.randn(2, 4, 8, 8), torch.tensor([7]), torch.randn(1, 5, 32)
    expected = theirs[0](x, t, context.expand(2, -1, -1)).sample
    torch.testing.assert_close(ours(x, t, context), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_vae(theirs, imported):
    ours = VAE(tiny.VAE)
    ours.load_state_dict(read_part(imported, "vae"), strict=True)
    x, z = torch.randn(1, 3, 16, 16), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(ours.moments(x)[0], theirs[1].encode(x).latent_dist.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.moments(x)[1], theirs[1].encode(x).latent_dist.std, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.decode(z * tiny.VAE.scale), theirs[1].decode(z).sample, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_empty_prompt(theirs, imported):
    ids = torch.tensor([[49406] + [49407] * 76])
    expected = theirs[2](ids).last_hidden_state
    torch.testing.assert_close(load_empty_prompt(imported), expected, rtol=1e-4, atol=1e-5)


def test_older_attention_names_load_too(folder, imported, tmp_path):
    """Folders of 2022 call the VAE's attention query, key, value, proj_attn."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    path = old / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in load_file(path).items():
        for new, former in names.items():
            name = name.replace(new, former)
        state[name] = value
    save_file(state, path)
    import_weights(old, tmp_path / "out", tiny.system("sd15"), dtype=torch.float32)
    again, before = read_part(tmp_path / "out", "vae"), read_part(imported, "vae")
    assert all(torch.equal(again[name], before[name]) for name in before)


def test_a_folder_without_a_part_is_said(folder, tmp_path):
    shutil.copytree(folder / "unet", tmp_path / "half" / "unet")
    with pytest.raises(UserError, match="vae contains no weights"):
        import_weights(tmp_path / "half", tmp_path / "out", tiny.system("sd15"))


@pytest.mark.parametrize(
    ("file", "system"),
    [("diffportrait360", "diffportrait360"), ("diffportrait3d", "diffportrait3d"), ("back_head", "back-head")],
)
def test_the_importer_expects_exactly_the_published_tensors(file, system):
    published = json.loads((KEYS / f"{file}.json").read_text())
    expected = MODEL_SPECS[system].expected_tensors()
    assert expected.keys() | SCHEDULE_TABLES == published.keys()
    for name, spec in expected.items():
        dtype, *shape = published[name]
        assert spec == Spec(tuple(shape), getattr(torch, dtype)), name
