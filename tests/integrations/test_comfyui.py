"""The node pack of ComfyUI, loaded and called as ComfyUI does it, against stand-ins of its API."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360 import Head, LoadedHead, UserError
from portrait360.pipeline import loaded_head
from portrait360.pipeline.avatar import from_portrait, methods
from portrait360.pipeline.export.ply import read_ply
from tests.fixtures import comfy_stub
from tests.fixtures.paths import ROOT
from tests.fixtures.photos import IMAGE
from tests.fixtures.splats import some_splats

PACK = ROOT / "integrations" / "comfyui"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("comfyui")


@pytest.fixture(scope="module")
def pack(place):
    """The pack's module, from a folder with another name, as in custom_nodes."""
    with pytest.MonkeyPatch.context() as patch:
        comfy_stub.install(patch, place)
        spec = importlib.util.spec_from_file_location(
            "custom_portrait360", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "custom_portrait360", module)
        spec.loader.exec_module(module)
        yield module
        for name in [name for name in sys.modules if name.startswith("custom_portrait360.")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def nodes(pack):
    extension = asyncio.run(pack.comfy_entrypoint())
    return {node.__name__: node for node in asyncio.run(extension.get_node_list())}


@pytest.fixture
def head() -> LoadedHead:
    return LoadedHead(None, None, Head(splats=some_splats()))


def image_of(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rgb.astype(np.float32) / 255)[None]


def test_every_socket_between_nodes_fits(nodes):
    made = {out.io_type for node in nodes.values() for out in node.define_schema().outputs}
    needed = {i.io_type for node in nodes.values() for i in node.define_schema().inputs if "default" not in i.options}
    assert needed - made == set() and len({node.define_schema().node_id for node in nodes.values()}) == len(nodes)


def test_a_picture_becomes_a_portrait_with_its_mask(nodes):
    out = nodes["LoadPortrait"].call(image=image_of(np.asarray(IMAGE)))
    portrait, crop, mask = out.args
    assert portrait.source == "face"
    assert crop.shape == (1, *portrait.rgb.shape) and mask.shape == crop.shape[:3]
    np.testing.assert_allclose(1 - mask[0].numpy(), portrait.alpha, atol=1e-6)


def test_the_mask_of_load_image_is_the_matte(nodes):
    tensors = sys.modules["custom_portrait360.tensors"]
    rgb, mask = torch.rand(1, 20, 30, 3), torch.zeros(1, 20, 30)
    mask[:, :, :10] = 1  # see-through
    picture = tensors.picture_from_image(rgb, mask)
    np.testing.assert_array_equal(picture.alpha[:, :10], 0)
    np.testing.assert_array_equal(picture.alpha[:, 10:], 1)
    assert tensors.picture_from_image(rgb, torch.zeros(1, 64, 64)).alpha is None  # what opaque pictures come with
    with pytest.raises(UserError, match="not a picture"):
        tensors.picture_from_image(torch.zeros(1, 20, 30, 2))


def test_heads_are_made_where_gradients_are_possible(nodes, portrait, monkeypatch):
    seen = {}

    def build(given, others, overrules):
        seen.update(inference=torch.is_inference_mode_enabled(), grad=torch.is_grad_enabled(), hair=overrules.tree)
        return "avatar"

    monkeypatch.setattr(methods, "build_proxy", build)
    (head,) = nodes["MakeHead"].call(portrait=portrait, hair="bob").args
    assert head.avatar == "avatar"
    assert seen == {"inference": False, "grad": True, "hair": {"hair": {"style": "bob"}}}
    monkeypatch.setattr(from_portrait, "can_fit_avatar", lambda portrait: False)
    with pytest.raises(UserError, match="No face"):
        nodes["MakeHead"].call(portrait=portrait)


def test_views_are_a_batch_from_all_sides(nodes, head):
    comfy_stub.ProgressBar.seen.clear()
    views, masks = nodes["RenderViews"].call(head=head, views=3, size=64, background="white").args
    assert views.shape == (3, 64, 64, 3) and masks.shape == (3, 64, 64)
    assert comfy_stub.ProgressBar.seen == [(1, 3), (2, 3), (3, 3)]
    assert (views[masks == 1] == 1).all() and (masks < 0.5).any()
    for i in range(3):
        alpha = np.asarray(head.render((120.0 * i, 0), 64))[..., 3] / 255
        np.testing.assert_allclose(1 - masks[i].numpy(), alpha, atol=1e-6)


@pytest.mark.parametrize("suffix", ["ply", "splat"])
def test_splats_are_written_under_free_numbers(nodes, head, place, suffix):
    outs = [nodes["SaveSplats"].call(head=head, filename_prefix=f"heads/{suffix}", format=suffix) for _ in range(2)]
    names = [out.ui["3d"][0]["filename"] for out in outs]
    assert names == [f"{suffix}_00001_.{suffix}", f"{suffix}_00002_.{suffix}"]
    assert all((place / "output" / "heads" / name).is_file() for name in names)
    assert outs[0].args[0].format == suffix
    if suffix == "ply":
        assert len(read_ply(Path(outs[0].args[0].source))) == len(head.splats)


def test_meshes_are_written_with_the_wished_detail(nodes, place, monkeypatch):
    def write(path, avatar, *, detail, unlit):
        path.write_bytes(f"{detail} {unlit}".encode())

    monkeypatch.setattr(loaded_head, "write_avatar_glb", write)
    (file,) = nodes["SaveMesh"].call(head=LoadedHead(None, object(), Head()), detail=2.0, unlit=True).args
    assert Path(file.source).read_text() == "2.0 True" and Path(file.source).is_relative_to(place / "output")


def test_a_turntable_is_a_video_of_the_wished_length(nodes, head, place):
    import av

    (video,) = nodes["MakeVideo"].call(head=head, size=64, fps=8, seconds=1.0).args
    assert Path(video.file).is_relative_to(place / "temp")
    with av.open(video.file) as film:
        assert len(list(film.decode(video=0))) == 8
    with pytest.raises(UserError, match="no face"):
        nodes["MakeVideo"].call(head=head, movement="talk")


def test_the_readme_names_every_node(nodes):
    text = (PACK / "README.md").read_text()
    for node in nodes.values():
        assert node.define_schema().display_name.removesuffix(" (portrait360)") in text
