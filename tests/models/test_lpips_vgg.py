"""LPIPS with VGG-16 from the user's own files, against its formula; and the range of what stands in for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import hub, nn
from torch.nn import functional as F

from portrait360.geometry.cameras import Camera, look_at
from portrait360.models import lpips_vgg, perceptual_loss
from portrait360.models.lpips_vgg import VGG, find_lpips_files, load_lpips
from portrait360.models.perceptual_loss import feature_distance, load_feature_extractor, sizes
from portrait360.pipeline.views.published import load_stranger
from portrait360.utils.errors import UserError

CPU = torch.device("cpu")
CONVS = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256),
         (17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512))  # fmt: skip
TAPS = {2: 64, 7: 128, 14: 256, 21: 512, 28: 512}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """Files as torchvision and the package lpips leave them, with weights by chance."""
    place, draw = tmp_path_factory.mktemp("cache"), torch.Generator().manual_seed(0)
    state = {"classifier.0.bias": torch.zeros(3)}
    for i, before, after in CONVS:
        state[f"features.{i}.weight"] = torch.randn(after, before, 3, 3, generator=draw) * (2 / 9 / before) ** 0.5
        state[f"features.{i}.bias"] = 0.1 * torch.randn(after, generator=draw)
    (place / "checkpoints").mkdir()
    torch.save(state, place / "checkpoints" / VGG)
    folder = place / "packages" / "lpips" / "weights" / "v0.1"
    folder.mkdir(parents=True)
    (place / "packages" / "lpips" / "__init__.py").write_text("raise SystemExit('no code of the package runs')")
    lins = {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=draw) for i, width in enumerate(TAPS.values())
    }
    torch.save(lins, folder / "vgg.pth")
    return place / "checkpoints" / VGG, folder / "vgg.pth"


def lpips(a: torch.Tensor, b: torch.Tensor, vgg: Path, channels: Path) -> torch.Tensor:
    """Equation 1 of the paper, plainly."""
    state, lins = torch.load(vgg), torch.load(channels)
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    x, total, taps = (torch.cat([a, b]) - shift) / scale, torch.zeros(()), 0
    for i, _, width in CONVS:
        if i in (5, 10, 17, 24):
            x = F.max_pool2d(x, 2)
        x = F.relu(F.conv2d(x, state[f"features.{i}.weight"], state[f"features.{i}.bias"], padding=1))
        if i in TAPS:
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            total += (lins[f"lin{taps}.model.1.weight"] * (unit[:1] - unit[1:]) ** 2).sum(1).mean()
            taps += 1
            assert width == x.shape[1]
    return total


def test_it_is_the_papers_distance_and_has_gradients(files, monkeypatch):
    monkeypatch.setattr(hub, "get_dir", lambda: str(files[0].parent.parent))
    monkeypatch.syspath_prepend(str(files[1].parents[3]))
    assert find_lpips_files() == files
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.rand(1, 3, 48, 48, generator=draw) * 2 - 1 for _ in range(2))
    features = load_feature_extractor(CPU)
    ours, theirs = feature_distance(features(a), features(b)), lpips(a, b, *files)
    assert theirs > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    a.requires_grad_(True)
    feature_distance(features(a), features(b)).backward()
    assert a.grad is not None and a.grad.abs().max() > 0


def test_without_both_files_something_stands_in(files, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "get_dir", lambda: str(tmp_path))
    assert find_lpips_files() is None
    monkeypatch.setattr(perceptual_loss, "find_effnet_file", lambda: None)
    assert load_feature_extractor(CPU) is sizes


def test_a_file_that_is_something_else_is_said(files, tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / VGG)
    with pytest.raises(UserError, match=VGG):
        load_lpips(tmp_path / VGG, files[1])
    assert isinstance(lpips_vgg.LpipsVgg().features, nn.Sequential)


@pytest.mark.parametrize("stand_in", ["effnet", "sizes"])
def test_stand_ins_have_the_range_of_lpips(portrait, monkeypatch, stand_in):
    """Two people differ by 0.3 to 1, as they do in LPIPS; the norm of the styles keeps its weight in an inversion."""
    monkeypatch.setattr(perceptual_loss, "find_lpips_files", lambda: None)
    if stand_in == "sizes":
        monkeypatch.setattr(perceptual_loss, "find_effnet_file", lambda: None)
    elif perceptual_loss.find_effnet_file() is None:
        pytest.skip("EfficientNet-Lite0 is not installed")
    other = load_stranger().render(Camera(look_at(0), portrait.camera.focal), 256)
    seen = other.rgb * other.mask[..., None] + 0.5 * (1 - other.mask[..., None])
    pictures = [cv2.resize(portrait.rgb, (256, 256), interpolation=cv2.INTER_AREA), seen]
    features = load_feature_extractor(CPU)
    a, b = (features(torch.from_numpy(2 * np.float32(p) - 1).permute(2, 0, 1)[None]) for p in pictures)
    assert 0.3 < feature_distance(a, b) < 1
