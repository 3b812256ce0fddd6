"""Checkpoints to start a training of the published networks from, and heads to learn from."""

from pathlib import Path

import pytest
import torch

from portrait360.models.cross_view_attention import CrossViewConfig
from portrait360.models.unet import UNet
from portrait360.models.weights.animatediff import motion_specs
from portrait360.models.weights.init_checkpoint import init_checkpoint
from portrait360.synth.data.writer import write_dataset
from tests.fixtures import tiny
from tests.fixtures.tiny_published import SIZE, small


@pytest.fixture(scope="module")
def sd15(tmp_path_factory) -> Path:
    system = small("sd15")
    return tiny.save(tiny.state_of(system, 3), tmp_path_factory.mktemp("sd") / "sd15.th")


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Path:
    with torch.device("meta"):
        specs = motion_specs(UNet(tiny.UNET, CrossViewConfig()))
    draw = torch.Generator().manual_seed(8)
    names = tiny.animatediff(specs)
    state = {theirs: 0.1 * torch.randn(specs[ours].shape, generator=draw) for theirs, ours in names.items()}
    return tiny.save(state, tmp_path_factory.mktemp("motion") / "mm.ckpt")


@pytest.fixture(scope="module")
def begun(sd15, motion, tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("begun")
    for name in ("diffportrait360", "back-head"):
        brings = motion if name == "diffportrait360" else None
        init_checkpoint(sd15, home / name, small(name), motion=brings)
    return {"plain": home / "diffportrait360", "back-head": home / "back-head"}


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """As `synth` leaves them."""
    place = tmp_path_factory.mktemp("heads")
    write_dataset(place, count=3, views=12, size=SIZE, kind="human")
    return place
