"""Bringing weights: recognised, strict, fp16, verified; and the folder left as it was when anything is wrong."""

import builtins
import errno
import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from portrait360.models.clip_text import TextEncoder
from portrait360.models.unet import UNet
from portrait360.models.vae import VAE
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights import checkpoint_folder as folders_of_weights
from portrait360.models.weights import importer, registry
from portrait360.models.weights.animatediff import motion_specs
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.installed import list_imports
from portrait360.models.weights.registry import COMPONENTS, SCHEDULE_TABLES, TEXT, identify_system
from portrait360.models.weights.store import (
    load_empty_prompt,
    load_spec,
    load_vae,
    load_view_denoiser,
    read_part,
    verify,
)
from portrait360.models.weights.tensor_files import Spec
from portrait360.utils.errors import UserError
from tests.fixtures import tiny

NAMES = ["diffportrait360", "diffportrait3d", "back-head", "sd15"]


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """Each kind of file, made and imported once."""

    @cache
    def bring(name: str) -> tuple[dict[str, torch.Tensor], Path]:
        system, home = tiny.system(name), tmp_path_factory.mktemp(name)
        state = tiny.state_of(system)
        import_weights(tiny.save(state, home / f"{name}.th"), home / name, system)
        return state, home

    return bring


@pytest.fixture
def imported(brought, tmp_path):
    """A copy of an import, and of the file that it was brought in: its tensors, and its folder."""

    def copy(name: str) -> tuple[dict[str, torch.Tensor], Path]:
        state, home = brought(name)
        shutil.copytree(home, tmp_path, dirs_exist_ok=True)
        return dict(state), tmp_path / name

    return copy


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_arrives_in_half_precision(imported, tmp_path, name):
    state, folder = imported(name)
    arrived = {
        COMPONENTS[part] + own: value
        for part in COMPONENTS
        if (folder / f"{part}.safetensors").is_file()
        for own, value in read_part(folder, part).items()
    }
    wanted = {n: v for n, v in state.items() if n not in SCHEDULE_TABLES and not n.startswith(TEXT)}
    assert arrived.keys() == wanted.keys()
    for n, value in wanted.items():
        assert arrived[n].dtype == torch.float16 and torch.equal(arrived[n], value.half()), n
    assert load_spec(folder) == tiny.system(name)
    assert verify(folder) == [] and list_imports(tmp_path) == [folder]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.th"])  # nothing left behind


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_imported_denoiser_is_the_brought_one(imported, tmp_path, name):
    state, folder = imported(name)
    brought = ViewDenoiser(tiny.system(name).denoiser)
    brought.load_state_dict({n: state[n].half().float() for n in brought.state_dict()}, strict=True)
    loaded = load_view_denoiser(folder).float()
    x, t, context = torch.randn(2, 4, 8, 8), torch.tensor([5]), load_empty_prompt(folder)
    given = {"references": torch.randn(1, 1, 4, 8, 8), "hints": torch.randn(2, 3, 16, 16), "views": 2}
    with torch.no_grad():
        a, b = (network(x, t, context, **given) for network in (loaded, brought))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert b.abs().max() > 0.01
    assert load_vae(folder).encode(torch.randn(1, 3, 16, 16).half()).shape == (1, 4, 8, 8)


def test_the_empty_prompt_is_the_text_encoders(imported, tmp_path):
    state, folder = imported("sd15")
    encoder = TextEncoder(tiny.TEXT)
    encoder.load_state_dict({n.removeprefix(TEXT): v for n, v in state.items() if n.startswith(TEXT)}, strict=True)
    torch.testing.assert_close(load_empty_prompt(folder), encoder.empty_prompt())


def test_position_ids_and_tables_may_be_absent(tmp_path):
    system = tiny.system("sd15")
    needed = {name for name in system.expected_tensors() if "position_ids" not in name}
    state = {name: value for name, value in tiny.state_of(system).items() if name in needed}
    import_weights(tiny.save(state, tmp_path / "x.th"), tmp_path / "out", system)
    assert verify(tmp_path / "out") == []


def test_files_are_recognised_by_their_keys():
    for name in NAMES:
        assert identify_system(tiny.system(name).expected_tensors(), "x") == name
    assert identify_system(["down_blocks.0.motion_modules.0.x"], "x") == "animatediff"
    with pytest.raises(UserError, match="'module.model.diffusion_model.out.0.bias'"):
        identify_system(["module.model.diffusion_model.out.0.bias"], "x")


def test_without_system_the_full_size_is_meant(tmp_path):
    source = tiny.save(tiny.state_of(tiny.system("back-head")), tmp_path / "x.th")
    with pytest.raises(UserError, match=r"does not fit: model\.diffusion_model\..* is missing; .* more\.$"):
        import_weights(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def spoil(state: dict, how: str) -> dict:
    first = next(iter(state))
    if how == "missing":
        state.pop(first)
    elif how == "extra":
        state["model.diffusion_model.surprise"] = torch.ones(1)
    elif how == "shape":
        state[first] = state[first].reshape(-1)[:1]
    elif how == "mixture":
        state[first] = state[first].half()
    elif how == "prefix":
        return {"module." + name: value for name, value in state.items()}
    return state


@pytest.mark.parametrize("how", ["missing", "extra", "shape", "mixture", "prefix", "truncated", "other"])
def test_bad_files_leave_the_folder_as_it_was(imported, tmp_path, how):
    state, folder = imported("diffportrait360")
    before = snapshot(folder)
    system = tiny.system("back-head" if how == "other" else "diffportrait360")
    bad = tiny.save(spoil(state, how), tmp_path / "bad.th")
    if how == "truncated":
        bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    with pytest.raises(UserError) as caught:
        import_weights(bad, folder, system)
    assert "\n" not in str(caught.value) and str(caught.value).endswith((".", "file."))
    assert snapshot(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"bad.th", "diffportrait360.th", "diffportrait360"}


@pytest.mark.parametrize("after", [0, 1, 10**5])
def test_a_full_disk_leaves_the_folder_as_it_was(imported, tmp_path, monkeypatch, after):
    _, folder = imported("sd15")
    before, written = snapshot(folder), 0

    def on_progress(what, done, total):
        nonlocal written
        written += done
        if written > after:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="full; nothing was changed"):
        import_weights(tmp_path / "sd15.th", folder, tiny.system("sd15"), on_progress=on_progress)
    assert snapshot(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"sd15.th", "sd15"}


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    source = tiny.save(tiny.state_of(tiny.system("sd15")), tmp_path / "x.th")
    monkeypatch.setattr(folders_of_weights.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="GB are needed"):
        import_weights(source, tmp_path / "out", tiny.system("sd15"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.th"]


def test_a_folder_with_other_things_is_not_touched(tmp_path):
    source = tiny.save(tiny.state_of(tiny.system("sd15")), tmp_path / "x.th")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="contains other files"):
        import_weights(source, tmp_path / "out", tiny.system("sd15"))
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("manifest", ['{"name": "my extension"}', None])
def test_only_what_an_import_made_is_replaced(imported, tmp_path, manifest):
    """Not a folder of somebody else's with a manifest of its own, nor one of ours to which something was added."""
    _, folder = imported("sd15")
    (folder / "thesis.txt").write_text("precious")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    before = snapshot(folder)
    with pytest.raises(UserError, match="contains other files"):
        import_weights(tmp_path / "sd15.th", folder, tiny.system("sd15"))
    assert snapshot(folder) == before


def test_a_failed_swap_puts_the_old_import_back(imported, tmp_path, monkeypatch):
    _, folder = imported("sd15")
    before, rename = snapshot(folder), Path.rename

    def broken(self, to):
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(UserError, match="Input/output error"):
        import_weights(tmp_path / "sd15.th", folder, tiny.system("sd15"))
    assert snapshot(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"sd15.th", "sd15"}


@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf")])
def test_a_value_that_fp16_cannot_hold_is_an_error(tmp_path, value):
    state = tiny.state_of(tiny.system("sd15"))
    name = "model.diffusion_model.out.2.bias"
    state[name] = torch.full_like(state[name], value)
    with pytest.raises(UserError, match=r"out\.2\.bias contains values"):
        import_weights(tiny.save(state, tmp_path / "x.th"), tmp_path / "out", tiny.system("sd15"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["x.th/sub", "a" * 250, "/proc/portrait360"])
def test_places_that_cannot_be_written_are_said(tmp_path, place):
    source = tiny.save(tiny.state_of(tiny.system("sd15")), tmp_path / "x.th")
    with pytest.raises(UserError, match="choose another folder"):
        import_weights(source, tmp_path / place, tiny.system("sd15"))


def test_a_relative_place_is_taken_from_here(tmp_path, monkeypatch):
    source = tiny.save(tiny.state_of(tiny.system("sd15")), tmp_path / "x.th")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    import_weights(source, Path("."), tiny.system("sd15"))
    assert verify(tmp_path / "here") == []


def test_a_second_import_replaces_the_first(imported, tmp_path):
    _, folder = imported("sd15")
    system = tiny.system("sd15")
    other = tiny.save(tiny.state_of(system, seed=1), tmp_path / "sd15.th")
    before = snapshot(folder)
    import_weights(other, folder, system)
    assert snapshot(folder).keys() == before.keys() and snapshot(folder) != before
    assert verify(folder) == []


def test_the_same_file_gives_the_same_bytes(imported, tmp_path):
    _, folder = imported("back-head")
    import_weights(tmp_path / "back-head.th", tmp_path / "again", tiny.system("back-head"))
    assert snapshot(folder) == snapshot(tmp_path / "again")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_verify_sees_damage(imported, tmp_path, damage):
    _, folder = imported("sd15")
    path = folder / "vae.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flip" else data[:-1])
    assert len(verify(folder)) == 1 and "vae.safetensors" in verify(folder)[0]


def test_a_damaged_manifest_is_said(imported, tmp_path):
    _, folder = imported("sd15")
    for text in ("{", json.dumps({"system": "sd15"}), "[]", json.dumps({"system": "x", "files": {"a": 3}})):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(UserError, match="damaged"):
            verify(folder)


def test_motion_weights_import(tmp_path, monkeypatch):
    system = tiny.system("sd15")
    monkeypatch.setattr(registry, "MOTION_CONFIG", tiny.system("diffportrait360").denoiser.cross_view)
    monkeypatch.setattr(importer, "MOTION_CONFIG", registry.MOTION_CONFIG)
    unet = UNet(system.unet, registry.MOTION_CONFIG)
    specs = motion_specs(unet)
    state = {theirs: torch.randn(specs[ours].shape) for theirs, ours in tiny.animatediff(specs).items()}
    source = tiny.save(state, tmp_path / "mm.ckpt")
    motion = registry.ModelSpec("animatediff", None, unet=system.unet)
    import_weights(source, tmp_path / "motion", motion)
    arrived = load_file(tmp_path / "motion" / "motion.safetensors")
    assert {n: Spec(tuple(v.shape), torch.float32) for n, v in arrived.items()} == motion_specs(unet)


def test_reading_never_uses_eval_or_plain_pickle(imported, tmp_path, monkeypatch):
    _, folder = imported("sd15")
    monkeypatch.setattr(builtins, "eval", lambda *a: pytest.fail("eval was called"))
    monkeypatch.setattr("pickle.load", lambda *a, **k: pytest.fail("pickle.load was called"))
    import_weights(tmp_path / "sd15.th", folder, tiny.system("sd15"))


def millions(state: dict[str, torch.Tensor], word: str = "") -> float:
    return sum(value.numel() for name, value in state.items() if word in name) / 1e6


def test_full_size_networks_have_the_published_numbers_of_parameters():
    """On `meta`, tables of positions counted: U-Net, R, C, V, autoencoder."""
    for name, across in {"diffportrait360": 418.0, "diffportrait3d": 583.3, "back-head": 0.0}.items():
        system = registry.MODEL_SPECS[name]
        assert system.denoiser is not None
        with torch.device("meta"):
            network, vae = ViewDenoiser(system.denoiser), VAE(system.vae)
        of_v = millions(network.unet.state_dict(), "_motion_module")
        assert of_v == pytest.approx(across, abs=0.06)
        assert millions(network.unet.state_dict()) - of_v == pytest.approx(859.5, abs=0.06)
        assert millions(network.appearance.state_dict()) == pytest.approx(
            859.5, abs=1.2
        )  # less `out`, with hints in 3D
        assert millions(network.control.state_dict()) == pytest.approx(361.3, abs=0.06)
        assert millions(vae.state_dict()) == pytest.approx(83.7, abs=0.06)
