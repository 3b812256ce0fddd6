"""What `save_pretrained` writes `from_pretrained` loads unchanged, from a folder or a hub; nothing in it runs."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from huggingface_hub import ModelCard as HubCard
from safetensors.torch import load_file
from torch import nn

from portrait360.assets import COMPLETER, READER
from portrait360.models.completion_unet import MapCompleter, MapCompleterConfig
from portrait360.models.geometry_restorer import Restorer, RestorerConfig
from portrait360.models.hybrid_priors import HybridConfig, HybridPriors
from portrait360.models.portrait_reader import load_reader
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights import pretrained
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.installed import find_weights, prefer_weights
from portrait360.models.weights.pretrained import KINDS, from_pretrained, load_trained, save_pretrained, save_weights
from portrait360.models.weights.store import verify
from portrait360.models.weights.tensor_files import write_half
from portrait360.utils.errors import UserError
from tests.fixtures import tiny
from tests.fixtures.hub_server import serve

VIEWS = replace(tiny.system("diffportrait360").denoiser, cross_view=None)
SMALL_RESTORER = RestorerConfig(4, (32, 64))


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    made = [
        MapCompleter(MapCompleterConfig(hints=3, widths=(32, 64), attention=(False, True))),
        load_reader(READER),
        ViewDenoiser(tiny.system("diffportrait360").denoiser),
        HybridPriors(HybridConfig(tiny.UNET, 8, VIEWS)),
        Restorer(SMALL_RESTORER),
    ]
    return {type(network).__name__: network for network in made}


@pytest.mark.parametrize("name", KINDS)
def test_a_network_comes_back_as_it_was(tmp_path, name):
    network = networks()[name]
    loaded = from_pretrained(save_pretrained(network, tmp_path / "out"))
    assert type(loaded) is type(network) and not loaded.training
    attribute = KINDS[name].attribute
    assert getattr(loaded, attribute) == getattr(network, attribute)
    state = network.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(
        value.dtype == state[n].dtype and torch.equal(value, state[n]) for n, value in loaded.state_dict().items()
    )


def test_the_folder_is_that_of_the_hubs_own_mixin(tmp_path):
    """Its names, and a card that the hub's own parser reads."""
    from huggingface_hub import constants

    folder = save_pretrained(Restorer(SMALL_RESTORER), tmp_path / "out", facts={"samples": "12 | 3"})
    names = {constants.CONFIG_NAME, constants.SAFETENSORS_SINGLE_FILE, constants.REPOCARD_NAME}
    assert {path.name for path in folder.iterdir()} == names
    card = HubCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0" and card.data.library_name == "portrait360"
    assert r"| samples | 12 \| 3 |" in card.text
    assert load_file(folder / "model.safetensors").keys() == Restorer(SMALL_RESTORER).state_dict().keys()


def test_what_was_trained_is_identified(tmp_path):
    network, facts = load_trained(COMPLETER)
    assert isinstance(network, MapCompleter) and "config" not in facts
    assert type(load_trained(READER)[0]).__name__ == "PortraitReader"
    write_half(Restorer(SMALL_RESTORER), tmp_path / "x.safetensors", {"samples": "3"})
    with pytest.raises(UserError, match="recipes map, reader or views"):
        load_trained(tmp_path / "x.safetensors")
    write_half(Restorer(SMALL_RESTORER), tmp_path / "x.safetensors", {"config": "{"})
    with pytest.raises(UserError, match="damaged header"):
        load_trained(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": "os.system"},
        {"_class_name": "HybridPriors"},
        {"config": {"features": 10**9, "widths": [32, 64]}},
        {"config": {"features": 4, "widths": [32] * 3, "more": 1}},
        {"config": None},
    ],
)
def test_a_configuration_that_is_none_of_ours_is_refused(tmp_path, changes):
    folder = save_pretrained(Restorer(SMALL_RESTORER), tmp_path / "out")
    record = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError):
        from_pretrained(folder)


def test_weights_of_another_size_are_refused(tmp_path):
    folder = save_pretrained(Restorer(SMALL_RESTORER), tmp_path / "out")
    other = asdict(RestorerConfig(8, (32, 64)))
    record = json.loads((folder / "config.json").read_text()) | {"config": other}
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="does not fit"):
        from_pretrained(folder)


def test_a_long_configuration_is_not_read(tmp_path):
    folder = save_pretrained(Restorer(SMALL_RESTORER), tmp_path / "out")
    (folder / "config.json").write_text(" " * (pretrained.MAX_CONFIG + 1))
    with pytest.raises(UserError, match="MB"):
        from_pretrained(folder)


def test_another_network_and_another_place_are_refused(tmp_path):
    with pytest.raises(UserError, match="Linear cannot be saved like this"):
        save_pretrained(nn.Linear(2, 2), tmp_path / "out")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").write_text("precious")
    with pytest.raises(UserError, match="contains other files"):
        save_pretrained(Restorer(SMALL_RESTORER), tmp_path / "thesis")
    for place in ("nowhere", "../x", "a/b/c"):
        with pytest.raises(UserError, match=f"There is no folder {place}"):
            from_pretrained(place)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serve() as server:
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        yield server


def test_a_repository_of_the_hub(hub, tmp_path, monkeypatch):
    network = Restorer(SMALL_RESTORER)
    folder = save_pretrained(network, tmp_path / "out")
    (folder / "run_me.py").write_text("raise SystemExit")
    hub.offer("somebody/restorer", {path.name: path.read_bytes() for path in folder.iterdir()})
    loaded = from_pretrained("somebody/restorer")
    assert all(torch.equal(value, network.state_dict()[n]) for n, value in loaded.state_dict().items())
    assert not any(path.endswith("run_me.py") and "/resolve/" in path for _, path, *_ in hub.seen)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.seen.clear()
    assert isinstance(from_pretrained("somebody/restorer"), Restorer) and hub.seen == []
    with pytest.raises(UserError, match="no repository of that name"):
        from_pretrained("somebody/else")


def test_a_repository_that_is_not_there(hub):
    with pytest.raises(UserError, match="somebody/nothing"):
        from_pretrained("somebody/nothing")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder, system = tmp_path_factory.mktemp("weights"), tiny.system("back-head")
    import_weights(tiny.save(tiny.state_of(system), folder / "x.th"), folder / "back-head", system)
    return folder / "back-head"


def test_a_folder_of_weights_with_its_card(imported, tmp_path, monkeypatch):
    folder = save_weights(imported, tmp_path / "out" / "back-head")
    assert verify(folder) == [] and "OpenRAIL" in HubCard.load(folder / "README.md").text
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(imported.parent))
    assert find_weights("back-head") == imported
    with prefer_weights(tmp_path / "out"):
        assert find_weights("back-head") == folder
    with prefer_weights(tmp_path):  # which contains none
        assert find_weights("back-head") == imported
    assert find_weights("back-head") == imported


def test_a_manifest_cannot_name_files_of_others(imported, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    record = json.loads((imported / "manifest.json").read_text())
    (tmp_path / "secret").write_text("x")
    size = (tmp_path / "secret").stat().st_size
    record["files"] = {"../secret": {"bytes": size, "sha256": "0"}}
    (folder / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="not a file in its own folder"):
        save_weights(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
