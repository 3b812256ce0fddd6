"""What is exported loads in diffusers' own classes, without a tensor too many or too few, and computes the same."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from portrait360.diffusion.schedule import ddim_levels, sqrt_linear_schedule
from portrait360.models.controlnet import ControlConfig
from portrait360.models.unet import UNet
from portrait360.models.view_denoiser import ViewDenoiserConfig
from portrait360.models.weights import importer, registry
from portrait360.models.weights.diffusers_export import (
    control_config,
    export_diffusers,
    is_stock_hint,
    unet_config,
    vae_config,
)
from portrait360.models.weights.diffusers_names import (
    diffusers_unet_name,
    diffusers_vae_name,
    unet_name,
    vae_name,
)
from portrait360.models.weights.exported_folder import MAX_INDEX
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.installed import is_trained, read_manifest
from portrait360.models.weights.registry import FIRST_STAGE, MODEL_SPECS, UNET, ModelSpec
from portrait360.models.weights.store import load_empty_prompt, load_vae, load_view_denoiser, read_part, verify
from portrait360.utils.errors import UserError
from tests.fixtures import tiny
from tests.fixtures.later import Later

diffusers = Later("diffusers")

NAMES = ["diffportrait360", "diffportrait3d", "back-head"]
X, CONTEXT, T = torch.randn(2, 4, 8, 8), torch.randn(1, 5, 32), torch.tensor([7])


def stock(name: str) -> ModelSpec:
    """A small system whose ControlNet has the hint encoder of the published ones."""
    system = tiny.system(name)
    return replace(system, denoiser=replace(system.denoiser, control=ControlConfig())) if system.denoiser else system


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """For each system its import and its export."""
    made = {}

    def export(name: str):
        if name not in made:
            folder, system = tmp_path_factory.mktemp(name), stock(name)
            import_weights(tiny.save(tiny.state_of(system), folder / "x.th"), folder / "imported", system)
            made[name] = (
                folder / "imported",
                folder / "exported",
                export_diffusers(folder / "imported", folder / "exported"),
            )
        return made[name]

    return export


def load(kind, folder, part):
    network, info = kind.from_pretrained(folder, subfolder=part, torch_dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    return network.eval()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_networks_compute_what_ours_compute(exported, name):
    imported, folder, _ = exported(name)
    ours = load_view_denoiser(imported).float()
    unet = load(diffusers.UNet2DConditionModel, folder, "unet")
    control = load(diffusers.ControlNetModel, folder, "controlnet")
    hint = torch.randn(2, 3, 64, 64)
    residuals = ours.control(X, ours.control.embed_hint(hint), T, CONTEXT)
    down, middle = control(X, T, CONTEXT.expand(2, -1, -1), hint, return_dict=False)
    for own, other in zip(residuals, [*down, middle], strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)
    expected = unet(
        X,
        T,
        CONTEXT.expand(2, -1, -1),
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample
    torch.testing.assert_close(ours.unet(X, T, CONTEXT, control=residuals), expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_appearance_network_writes_the_same_tokens(exported, name):
    imported, folder, _ = exported(name)
    ours = load_view_denoiser(imported).float()
    theirs = load(diffusers.UNet2DConditionModel, folder, "appearance")
    written: list[torch.Tensor] = []
    for block in theirs.modules():
        if type(block).__name__ == "BasicTransformerBlock":
            block.norm1.register_forward_hook(lambda module, given, tokens: written.append(tokens))
    out = theirs(X, T, CONTEXT.expand(2, -1, -1)).sample
    tokens: list[torch.Tensor] = []
    ours.appearance(X, T.expand(2), CONTEXT, record=tokens)
    for own, other in zip(tokens, written, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)
    assert not out.any()  # the layers that it does not have


@pytest.mark.parametrize("name", [*NAMES, "sd15"])
@torch.no_grad()
def test_the_autoencoder_is_ours(exported, name):
    imported, folder, _ = exported(name)
    ours, theirs = load_vae(imported).float(), load(diffusers.AutoencoderKL, folder, "vae")
    x, z = torch.randn(1, 3, 16, 16), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(ours.moments(x)[0], theirs.encode(x).latent_dist.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.decode(z * ours.config.scale), theirs.decode(z).sample, rtol=1e-4, atol=1e-4)
    assert theirs.config.scaling_factor == ours.config.scale


@torch.no_grad()
def test_stable_diffusion_runs_in_diffusers_own_pipeline(exported):
    imported, folder, _ = exported("sd15")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        folder, text_encoder=None, tokenizer=None, torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    prompt = load_empty_prompt(imported).float()
    pictures = pipeline(
        prompt_embeds=prompt, num_inference_steps=2, guidance_scale=0.0, height=16, width=16, output_type="np"
    )
    assert pictures.images.shape == (1, 16, 16, 3)
    unet = UNet(tiny.UNET)
    unet.load_state_dict({name: value.float() for name, value in read_part(imported, "unet").items()})
    torch.testing.assert_close(
        unet(X, T, CONTEXT), pipeline.unet(X, T, CONTEXT.expand(2, -1, -1)).sample, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("steps", [20, 50])
def test_the_scheduler_visits_our_levels(exported, steps):
    _, folder, _ = exported("sd15")
    theirs = diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    theirs.set_timesteps(steps)
    ours = ddim_levels(sqrt_linear_schedule(), steps)
    assert theirs.timesteps.tolist() == ours.t.tolist()
    torch.testing.assert_close(theirs.alphas_cumprod[theirs.timesteps].double(), ours.alpha_bar, rtol=1e-5, atol=0)
    assert float(theirs.final_alpha_cumprod) == pytest.approx(float(ours.alpha_bar_next[-1]), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_exported_once(exported, name):
    """Except for what is said to be left out: each U-Net's cross-view attention goes into a file of its own."""
    imported, folder, index = exported(name)
    values = {
        part: load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in index if part in PARTS
    }
    own = {part: read_part(imported, part) for part in ("unet", "appearance", "control", "vae")}
    assert values["unet"].keys().isdisjoint(values.get("cross_view", {}))
    assert len(values["unet"]) + len(values.get("cross_view", {})) == len(own["unet"])
    unused = {n for n in own["appearance"] if n.startswith("input_hint_block")}
    assert values.get("appearance_hint", {}).keys() == unused and bool(unused) == (name == "diffportrait3d")
    assert len(values["appearance"]) == len(own["appearance"]) - len(unused) + 4
    assert len(values["controlnet"]) == len(own["control"]) and len(values["vae"]) == len(own["vae"])
    assert all(torch.equal(value, own["unet"][n]) for n, value in values.get("cross_view", {}).items())


PARTS = ("unet", "vae", "appearance", "appearance_hint", "controlnet", "cross_view")


@pytest.mark.parametrize("name", [*NAMES, "sd15"])
def test_the_index_and_the_card_say_what_is_there(exported, name):
    _, folder, index = exported(name)
    assert json.loads((folder / "model_index.json").read_text()) == index
    for part, (library, kind) in ((k, v) for k, v in index.items() if k in PARTS):
        config = json.loads((folder / part / "config.json").read_text())
        assert config["_class_name"] == kind and (library == "portrait360" or hasattr(diffusers, kind))
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: ") and "CreativeML OpenRAIL-M" in card and "x.th" in card
    assert ("cross_view" in index) == (name in NAMES[:2]) and ("no MotionAdapter" in card) == ("cross_view" in index)


def test_names_are_the_inverse_of_those_that_are_read():
    """At full size; what diffusers' own classes hold is checked with them."""
    spec = MODEL_SPECS["sd15"]
    expected = spec.expected_tensors()
    for name in expected:
        if name.startswith(UNET):
            own = name.removeprefix(UNET)
            assert unet_name(diffusers_unet_name(own, spec.unet), spec.unet) == own
        elif name.startswith(FIRST_STAGE):
            own = name.removeprefix(FIRST_STAGE)
            assert vae_name(diffusers_vae_name(own, spec.vae), spec.vae) == own


def test_the_full_size_configurations_are_those_of_the_published_networks():
    """In diffusers: SD 1.5's own, which are its defaults up to the width of the context."""
    config = ViewDenoiserConfig()
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(unet_config(config.unet))
        control = diffusers.ControlNetModel.from_config(control_config(config.unet, config.control))
        vae = diffusers.AutoencoderKL.from_config(vae_config(MODEL_SPECS["sd15"].vae))
    counts = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (unet, control, vae)]
    assert counts == pytest.approx([859.5, 361.3, 83.7], abs=0.06)


def test_only_pairs_of_layers_are_a_stock_hint_encoder():
    assert is_stock_hint(ControlConfig()) and not is_stock_hint(tiny.CONTROL)
    assert not is_stock_hint(ControlConfig(hint_widths=(16, 32, 32, 32, 96, 96, 256)))


@pytest.mark.parametrize("name", [*NAMES, "sd15"])
def test_what_was_exported_is_imported_again_to_the_byte(exported, tmp_path, monkeypatch, name):
    """The kind of weights is recognised, and every file has the SHA-256 of the first import's."""
    imported, folder, _ = exported(name)
    monkeypatch.setitem(registry.MODEL_SPECS, name, stock(name))
    monkeypatch.setattr(importer, "MODEL_SPECS", registry.MODEL_SPECS)
    import_weights(folder, tmp_path / "again")
    before, record = read_manifest(imported), read_manifest(tmp_path / "again")
    assert record["files"] == before["files"] and verify(tmp_path / "again") == []
    assert all(record[key] == before[key] for key in ("system", "origin", "dtype", "config"))


def test_what_diffusers_trained_and_saved_is_imported(exported, tmp_path):
    imported, folder, _ = exported("diffportrait360")
    shutil.copytree(folder, tmp_path / "trained")
    for path in (tmp_path / "trained").glob("*/diffusion_pytorch_model.safetensors"):  # V, which it does not know
        save_file({n: value.float() for n, value in load_file(path).items()}, path)
    parts = {"unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL}
    parts |= {"appearance": diffusers.UNet2DConditionModel, "controlnet": diffusers.ControlNetModel}
    for part, kind in parts.items():
        network = load(kind, folder, part)
        with torch.no_grad():
            for value in network.parameters():
                value += 0.125  # which half precision can hold
        network.save_pretrained(tmp_path / "trained" / part)
    import_weights(tmp_path / "trained", tmp_path / "again", stock("diffportrait360"))
    for part in ("unet", "appearance", "control", "vae"):
        before, after = (read_part(place, part) for place in (imported, tmp_path / "again"))
        for n, value in before.items():
            wanted = value if "_motion_module." in n else (value.float() + 0.125).half()
            torch.testing.assert_close(after[n], wanted, rtol=0, atol=1e-6)


def test_the_beginning_of_a_training_stays_one(exported, tmp_path):
    """So that nobody makes views with networks that know nothing yet."""
    imported, _, _ = exported("back-head")
    shutil.copytree(imported, tmp_path / "init")
    record = read_manifest(imported) | {"origin": "init"}
    (tmp_path / "init" / "manifest.json").write_text(json.dumps(record))
    export_diffusers(tmp_path / "init", tmp_path / "out")
    again = import_weights(tmp_path / "out", tmp_path / "again", stock("back-head"))
    assert again["origin"] == "init" and not is_trained(again)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_system": "../x"}, "'../x' is not a known kind of file"),
        ({"_system": None}, "'None' is not a known kind"),
        ({"_origin": "nobody"}, "origin for the weights, 'nobody'"),
        ({"_origin": ["import"]}, r"origin for the weights, \['import'\]"),
        ("[]", "vae contains no weights|unet contains no weights|text_encoder contains no weights"),
        ("{", "model_index.json is damaged"),
        ('{"_portrait360": 1}', "model_index.json is damaged"),
        (" " * (MAX_INDEX + 1), "MB"),
    ],
)
def test_an_index_that_is_none_of_ours_is_refused(exported, tmp_path, changes, words):
    _, folder, index = exported("sd15")
    shutil.copytree(folder, tmp_path / "in")
    text = changes if isinstance(changes, str) else json.dumps(index | changes)
    (tmp_path / "in" / "model_index.json").write_text(text)
    with pytest.raises(UserError, match=words):
        import_weights(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_lacks_something_is_refused(exported, tmp_path):
    _, folder, _ = exported("back-head")
    system, broken = stock("back-head"), tmp_path / "in"
    shutil.copytree(folder, broken)
    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file({n: value for n, value in state.items() if n != "conv_in.weight"}, path)
    with pytest.raises(UserError, match=r"model.diffusion_model.input_blocks.0.0.weight is missing"):
        import_weights(broken, tmp_path / "out", system)
    save_file(state | {"more": torch.zeros(2).half()}, path)
    with pytest.raises(UserError, match=r"unet.more is not expected"):
        import_weights(broken, tmp_path / "out", system)
    save_file(state, path)
    save_file({"empty_prompt": torch.zeros(1, 3, 32)}, broken / "empty_prompt.safetensors")
    with pytest.raises(UserError, match="no embedding of the empty prompt"):
        import_weights(broken, tmp_path / "out", system)
    with pytest.raises(UserError, match="contains back-head, not sd15"):
        import_weights(broken, tmp_path / "out", stock("sd15"))
    assert not (tmp_path / "out").exists()


def test_another_hint_encoder_keeps_its_own_names(tmp_path):
    system = tiny.system("back-head")
    import_weights(tiny.save(tiny.state_of(system), tmp_path / "x.th"), tmp_path / "in", system)
    index = export_diffusers(tmp_path / "in", tmp_path / "out")
    assert index["controlnet"] == ["portrait360", "ControlNet"]
    written = load_file(tmp_path / "out" / "controlnet" / "diffusion_pytorch_model.safetensors")
    assert written.keys() == read_part(tmp_path / "in", "control").keys()


def test_what_is_there_is_not_replaced(exported, tmp_path):
    imported, _, _ = exported("sd15")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="contains other files; choose another folder"):
        export_diffusers(imported, tmp_path / "out")
    with pytest.raises(UserError, match="not a folder of weights"):
        export_diffusers(tmp_path, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_damaged_import_is_not_exported(tmp_path):
    system = tiny.system("sd15")
    import_weights(tiny.save(tiny.state_of(system), tmp_path / "x.th"), tmp_path / "in", system)
    (tmp_path / "in" / "vae.safetensors").unlink()
    with pytest.raises(UserError, match="vae.safetensors is missing; import these weights again"):
        export_diffusers(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
