"""PanoHead's pickle: read whole, and nothing in it is run."""

import builtins
import io
import os
import pickle
import subprocess
import time
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.models.panohead import GAN3D
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.installed import read_manifest
from portrait360.models.weights.registry import ModelSpec
from portrait360.models.weights.store import from_plain, load_generator, load_spec, verify
from portrait360.models.weights.stylegan_pickle import GanFile, read_count, unpickle
from portrait360.utils.errors import UserError
from tests.fixtures.published_gan import TINY, filled, pickled, save


def network(seed: int = 0) -> GAN3D:
    return filled(TINY, seed)


def test_every_weight_and_size_arrives(tmp_path):
    ours = network()
    source = save(ours, tmp_path / "head.pkl")
    assert GanFile(source).config == TINY
    said = import_weights(source, tmp_path / "panohead")
    assert said["system"] == "panohead" and said["dtype"] == "float32"
    loaded = load_generator(tmp_path / "panohead")
    assert loaded.config == TINY and verify(tmp_path / "panohead") == []
    for name, value in ours.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_what_a_trainer_leaves_at_the_generator_is_no_hindrance(tmp_path):
    ours = network()
    ours.register_buffer("dataset_label_std", torch.zeros(25))
    import_weights(save(ours, tmp_path / "head.pkl"), tmp_path / "panohead", "panohead")
    assert "dataset_label_std" not in load_generator(tmp_path / "panohead").state_dict()


@pytest.mark.parametrize("how", ["missing", "unknown", "shape"])
def test_a_generator_that_does_not_fit_leaves_nothing_behind(tmp_path, how):
    ours = network()
    if how == "missing":
        del ours.decoder.net[2].bias
    elif how == "unknown":
        ours.register_buffer("surprise", torch.zeros(3))
    else:
        ours.decoder.net[2].bias = torch.nn.Parameter(torch.zeros(34))
    source = save(ours, tmp_path / "head.pkl")
    with pytest.raises(UserError, match=r"decoder.net.2.bias|surprise"):
        import_weights(source, tmp_path / "panohead")
    assert list(tmp_path.iterdir()) == [source]


class Runs:
    """An object that wants to run something when it is opened."""

    def __init__(self, *what) -> None:
        self.what = what

    def __reduce__(self):
        return self.what


HOSTILE = {
    "posix.system": Runs(os.system, ("touch hostile",)),
    "builtins.eval": Runs(eval, ("open('hostile', 'w')",)),
    "builtins.getattr": Runs(getattr, ([], "append")),
    "builtins.__import__": Runs(builtins.__import__, ("os",)),
    "subprocess.Popen": Runs(subprocess.Popen, (["touch", "hostile"],)),
    "nested": [OrderedDict(a=[{"b": Runs(os.system, ("touch hostile",))}])],
    "torch.load": Runs(torch.load, ("hostile",)),
    "numpy.core.multiarray._reconstruct": np.zeros(3),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_wants_to_run_is_refused_by_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = save(network(), tmp_path / "head.pkl", augment_pipe=HOSTILE[name])
    wanted = {"nested": "posix.system", "torch.load": "torch.serialization.load"}.get(name, name)
    with pytest.raises(UserError, match=wanted.replace("numpy.core", "multiarray").split("multiarray.")[-1]):
        GanFile(path)
    assert not (tmp_path / "hostile").exists()


def refused(data: bytes, match: str) -> None:
    with pytest.raises(UserError, match=match):
        unpickle(io.BytesIO(data), "x.pkl")


def as_bytes(data: bytes) -> bytes:
    """The opcode BINBYTES."""
    return b"B" + len(data).to_bytes(4, "little") + data


def test_storages_are_not_a_way_in(tmp_path, monkeypatch):
    """Bytes within the bytes: a torch file that holds a pickle of its own."""
    monkeypatch.chdir(tmp_path)
    inner = io.BytesIO()
    torch.save(Runs(os.system, ("touch hostile",)), inner)
    refused(b"\x80\x04ctorch.storage\n_load_from_bytes\n" + as_bytes(inner.getvalue()) + b"\x85R.", "x.pkl")
    assert not (tmp_path / "hostile").exists()


def test_persistent_ids_are_refused():
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(obj, set) else None

    file = io.BytesIO()
    Pickler(file, 4).dump({"G_ema": {1, 2}})
    refused(file.getvalue(), "not opened|FloatStorage")
    refused(b"Pid\n.", "persistent id")


def test_nothing_can_be_changed_through_attributes():
    """BUILD on what was named: a function of ours, a class of a library."""
    refused(b"ccollections\nOrderedDict\n}S'x'\nI1\nsb.", "attributes")
    refused(b"ctorch._utils\n_rebuild_parameter\n(N}S'__doc__'\nS'y'\nstb.", "attributes")
    refused(b"cdnnlib.util\nEasyDict\n(N}S'keys'\nN stb.".replace(b"N s", b"Ns"), "attributes")


def test_a_tensor_ends_where_its_storage_does(tmp_path):
    storage = torch.arange(4.0)._typed_storage()
    file = io.BytesIO()
    torch.save(storage, file, _use_new_zipfile_serialization=False)
    head = b"\x80\x04ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n"
    body = as_bytes(file.getvalue()) + b"\x85R"
    good = head + body + b"K\x00K\x04\x85K\x01\x85I00\nNtR."
    assert unpickle(io.BytesIO(good), "x.pkl").shape == (4,)
    for offset, size, stride in ((3, 200, 1), (17, 1, 1), (0, 2, 1000)):
        numbers = b"".join(b"J" + value.to_bytes(4, "little") for value in (offset,))
        shape = b"".join(b"J" + value.to_bytes(4, "little") + b"\x85" for value in (size, stride))
        refused(head + body + numbers + shape + b"I00\nNtR.", "not a complete pickle")


def test_numbers_are_numbers():
    for kind in (np.float64(0.5), np.int32(7), np.bool_(True)):
        assert unpickle(io.BytesIO(pickle.dumps({"a": kind}, 4)), "x.pkl") == {"a": kind}
    refused(pickle.dumps({"a": np.dtype("O")}, 4), "numpy.dtype")


@pytest.mark.parametrize("held", [[1], {"G": None}, {"G_ema": {"a": 1}}, None])
def test_a_pickle_of_something_else(tmp_path, held):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(held))
    with pytest.raises(UserError, match="no generator"):
        GanFile(tmp_path / "x.pkl")


WHOLE = pickled(network())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_ends_in_a_sentence(tmp_path_factory, data):
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    kept = data.draw(st.booleans())
    damaged = WHOLE[:at] + (bytes([data.draw(st.integers(0, 255))]) + WHOLE[at + 1 :] if kept else b"")
    path = tmp_path_factory.mktemp("gan") / "x.pkl"
    path.write_bytes(damaged)
    try:
        GanFile(path)
    except UserError as error:
        assert len(str(error)) < 400


def test_a_number_in_the_file_reserves_no_memory():
    """A place in the memo, or a length, far beyond the file's end."""
    assert unpickle(io.BytesIO(b"\x80\x04N\x72\xff\xff\xff\x7f."), "x.pkl") is None  # LONG_BINPUT
    refused(b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"x.", "not a complete pickle")  # BINBYTES8


def module(**state) -> bytes:
    """The opcodes of a record with these attributes, each given as opcodes."""
    pairs = b"".join(pickle.dumps(name, 2)[2:-1] + value for name, value in state.items())
    return b"ctraining.x\nModule\n)\x81}(" + pairs + b"ub"


def generator(data: bytes) -> bytes:
    return b"\x80\x04}X\x05\0\0\0G_ema" + data + b"s."


def test_modules_that_hold_each_other_are_visited_once(tmp_path):
    """Each of forty holds the next one twice: 2^40 names."""
    data = module(_modules=b"}")
    for _ in range(40):
        data = module(_modules=b"}(X\1\0\0\0a" + data + b"p7\nX\1\0\0\0bg7\nu")
    path = tmp_path / "x.pkl"
    path.write_bytes(generator(data))
    assert path.stat().st_size < 5000
    with pytest.raises(UserError, match="how its generator is built"):
        GanFile(path)


@pytest.mark.parametrize(
    "data",
    [
        b"ctraining.x\nModule\n)\x81p7\n}(X\x08\0\0\0_modules}X\1\0\0\0ag7\nsub",  # holds itself
        module(_modules=b"](I1\ne"),
        module(_parameters=b"I5\n"),
        module(_init_kwargs=b"](I1\ne"),
        module(_init_kwargs=b"}", _buffers=b"N", _modules=b"I1\n"),
    ],
)
def test_records_of_other_kinds_are_one_sentence(tmp_path, data):
    (tmp_path / "x.pkl").write_bytes(generator(data))
    with pytest.raises(UserError, match="how its generator is built"):
        GanFile(tmp_path / "x.pkl")


def test_modules_too_deep_in_each_other_are_one_sentence(tmp_path):
    """Each is built before the next, so that only the walk through them is deep."""
    data = module(_modules=b"}") + b"p0\n0"
    for i in range(3000):
        data += module(_modules=b"}X\1\0\0\0a" + b"g%d\ns" % i) + b"p%d\n0" % (i + 1)
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04" + data + generator(b"g3000\n")[2:])
    with pytest.raises(UserError, match="how its generator is built"):
        GanFile(tmp_path / "x.pkl")


def test_hashes_that_collide_cost_no_time():
    """Numbers that leave the same remainder by 2^61 - 1 have the same hash in Python."""
    prime = (1 << 61) - 1
    numbers = b"".join(b"I%d\n" % (i * prime) for i in range(20_000))
    pairs = numbers.replace(b"\n", b"\nN")
    remembered = b"".join(b"p%d\n" % (i * prime) for i in range(1, 20_000))
    begun = time.process_time()
    dictionaries = b"(" + pairs + b"d.", b"}(" + pairs + b"u.", b"}" + pairs.replace(b"N", b"Ns") + b"."
    sets = b"\x8f(" + numbers + b"\x90.", b"(" + numbers + b"\x91."
    for data in (*dictionaries, *sets, b"N" + remembered + b"."):
        refused(b"\x80\x04" + data, "keys that are no names")
    for name in (b"ccollections\nOrderedDict\n", b"cdnnlib.util\nEasyDict\n"):
        refused(b"\x80\x04" + name + b"](" + numbers.replace(b"\n", b"\nN\x86") + b"e\x85R.", "made from a list")
    assert time.process_time() - begun < 3


def test_a_size_that_no_generator_has_is_refused():
    for value in (-1, 1 << 40, float("inf"), "9" * 5000):
        with pytest.raises((ValueError, OverflowError)):
            read_count(value)
    assert read_count(512.0) == 512


def test_an_import_of_an_older_version_can_be_read(tmp_path):
    import_weights(save(network(), tmp_path / "head.pkl"), tmp_path / "panohead")
    said = read_manifest(tmp_path / "panohead")["config"]
    assert load_spec(tmp_path / "panohead") == ModelSpec("panohead", None, gan=TINY)
    del said["text"]
    assert from_plain(ModelSpec, said).gan == TINY
    with pytest.raises(UserError, match="surprise"):
        from_plain(ModelSpec, said | {"surprise": 1})
