"""Files of tensors: what is written is what is read, and nothing hostile or broken gets in."""

import os
import pickle
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from portrait360.models.weights import tensor_files
from portrait360.models.weights.tensor_files import (
    Spec,
    TensorFile,
    get_specs,
    list_differences,
    load_into,
    require_one_precision,
    write_safetensors,
)
from portrait360.utils.errors import UserError
from portrait360.utils.files import sha256
from tests.fixtures.memory import run_and_read

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
dtypes = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(shapes, dtypes), max_size=5), st.integers(0, 99))
def test_our_writer_is_read_by_the_library(tmp_path_factory, described, seed):
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randint(0, 2, shape, generator=generator).to(dtype)
        for name, (shape, dtype) in described.items()
        if name != "__metadata__"
    }
    specs = {name: Spec(tuple(value.shape), value.dtype) for name, value in state.items()}
    digest = write_safetensors(path, specs, state.__getitem__, {"who": "me"})
    assert digest == sha256(path)
    read = load_file(path)
    assert read.keys() == state.keys()
    for name, value in state.items():
        assert read[name].dtype == value.dtype and torch.equal(read[name], value)
    assert TensorFile(path).specs == specs
    assert TensorFile(path).metadata == {"who": "me"}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_flat_or_under_state_dict(tmp_path, nested, legacy):
    state = {"a.weight": torch.randn(2, 3), "b": torch.ones(1).half()}
    path = tmp_path / "x.th"
    saved = {"state_dict": state, "step": 3} if nested else state
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    file = TensorFile(path)
    assert file.specs == {"a.weight": Spec((2, 3), torch.float32), "b": Spec((1,), torch.float16)}
    assert torch.equal(file.read("a.weight"), state["a.weight"])


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_by_name(tmp_path, legacy):
    path, trace = tmp_path / "evil.th", tmp_path / "ran"
    torch.save({"a": torch.ones(1), "b": Hostile(trace)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"would run code \((posix|os|nt)\.system\)"):
        TensorFile(path)
    assert not trace.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_is_refused_by_name(tmp_path, protocol, recwarn):
    path, trace = tmp_path / "evil.ckpt", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"a": Hostile(trace)}, protocol))
    with pytest.raises(UserError, match=r"would run code \((posix|os|nt)\.system\)"):
        TensorFile(path)
    assert len(recwarn) == 0
    assert not trace.exists()


@pytest.mark.parametrize("name", ["x.th", "x.safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_cut_off_file_is_one_plain_sentence(tmp_path, name, keep):
    path = tmp_path / name
    state = {"a": torch.randn(300, 30), "b": torch.randn(40)}
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    size = path.stat().st_size
    os.truncate(path, int(keep if keep > 1 else keep * size))
    with pytest.raises(UserError, match="download or make it again") as caught:
        TensorFile(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["deflated", "overlapping", "huge pickle"])
def test_an_archive_that_would_unpack_to_more_than_it_has_is_refused(tmp_path, monkeypatch, kind):
    path = tmp_path / "x.pt"
    torch.save({"a": torch.zeros(1000)}, path)
    if kind == "huge pickle":
        monkeypatch.setattr(tensor_files, "MAX_RECORD", 10)
    elif kind == "deflated":
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "y.pt", "w") as other:
            for name in archive.namelist():
                other.writestr(name, archive.read(name), zipfile.ZIP_DEFLATED)
        path = tmp_path / "y.pt"
    else:
        content = path.read_bytes()
        at = content.rindex(b"PK\1\2", 0, content.rindex(b"data/0"))  # its entry in the list of members
        size = (1 << 30).to_bytes(4, "little")
        path.write_bytes(content[: at + 20] + size + size + content[at + 28 :])
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match=r"compressed zip file|declares more data"):
        TensorFile(path)


@given(st.data())
def test_damaged_bytes_end_in_a_sentence_or_in_tensors(tmp_path_factory, data):
    """Whatever a few flipped bytes do, nothing but the user's error comes out."""
    name = data.draw(st.sampled_from(["x.th", "legacy.th", "x.safetensors"]))
    path = tmp_path_factory.mktemp("fuzz") / name
    state = {"a": torch.arange(6.0), "b": torch.ones(2, 2)}
    if name.endswith("safetensors"):
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name == "x.th")
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 1 << 16), min_size=1, max_size=4)):  # sizes hold random addresses
        content[place % len(content)] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        file = TensorFile(path)
        assert all(isinstance(file.read(name), torch.Tensor) for name in file.specs)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.ones(2)])
def test_a_file_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match="no named tensors"):
        TensorFile(tmp_path / "x.pt")


def test_kinds_of_tensors_that_cannot_be_read_are_named(tmp_path):
    save_file({"a": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="F8_E4M3"):
        TensorFile(tmp_path / "x.safetensors")
    torch.save({"sparse": torch.eye(2).to_sparse()}, tmp_path / "x.th")
    with pytest.raises(UserError, match="sparse"):
        TensorFile(tmp_path / "x.th")


def test_a_missing_file():
    with pytest.raises(UserError, match="There is no file"):
        TensorFile("/nowhere/x.th")  # pyright: ignore[reportArgumentType]


def test_every_difference_is_named():
    expected = {"a": Spec((2,), torch.float32), "b": Spec((3,), torch.float32), "c": Spec((1,), torch.float32)}
    found = {"a": Spec((2,), torch.float16), "b": Spec((4,), torch.float32), "d": Spec((1,), torch.float32)}
    assert list_differences(expected, found) == [
        "c is missing",
        "d is not expected",
        "b has shape [4], expected [3]",
    ]
    assert list_differences({"a": Spec((2,), torch.float32)}, {"a": Spec((2,), torch.int8)}) == [
        "a is of type torch.int8, expected torch.float32"
    ]


def test_loading_is_strict_and_copies_nothing():
    state = nn.Linear(3, 2).state_dict()
    with torch.device("meta"):
        network = nn.Linear(3, 2)
    load_into(network, state, "x")
    assert network.weight.data_ptr() == state["weight"].data_ptr()
    for broken in ({"weight": state["weight"]}, {**state, "more": torch.ones(1)}, {**state, "bias": torch.ones(3)}):
        with pytest.raises(UserError, match=r"x does not fit: (bias|more)"):
            load_into(network, broken, "x")


def test_specs_of_a_meta_network_cost_nothing():
    with torch.device("meta"):
        assert get_specs(nn.Linear(10**6, 10**6), "p.")["p.weight"].shape == (10**6, 10**6)


def test_a_mixture_of_precisions_names_an_example_of_each():
    specs = {"a": Spec((1,), torch.float32), "b": Spec((1,), torch.float16), "ids": Spec((1,), torch.int64)}
    assert require_one_precision(specs, ["a", "ids"], "x") == torch.float32
    with pytest.raises(UserError, match=r"F32 \(a\) and F16 \(b\)"):
        require_one_precision(specs, specs, "x")


def test_the_writer_holds_one_tensor_at_a_time(tmp_path):
    """Peak memory while writing 6 tensors of 64 MB stays near one of them: two copies while it is cast."""
    script = f"""
import torch
from pathlib import Path
from portrait360.models.weights.tensor_files import Spec, write_safetensors
path = Path({str(tmp_path / "x.safetensors")!r})
specs = {{str(i): Spec((4096, 4096), torch.float32) for i in range(6)}}
write_safetensors(path, {{"0": specs["0"]}}, lambda n: torch.ones(4096, 4096), {{}})  # all that torch sets up once
before = peak()
write_safetensors(path, specs, lambda n: torch.ones(4096, 4096), {{}})
print(peak() - before)
"""
    assert run_and_read(script) < 1.5 * 64 * 2**20
