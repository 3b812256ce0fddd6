"""Data sets in tars: the same heads as in folders, whatever made them."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from portrait360.synth.data import webdataset
from portrait360.synth.data.webdataset import shard_name, write_shards
from portrait360.synth.data.writer import SHARDS, write_dataset, write_options
from portrait360.utils.errors import UserError
from portrait360.utils.parallel.process_pool import ProcessPool
from portrait360.utils.storage import Storage
from tests.fixtures.engines import Here

WHAT = {"views": 2, "size": 24, "kind": "statue", "depth": True}


def shard(place: Storage, name: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(place.read(name) or b"")) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # pyright: ignore[reportOptionalMemberAccess]


def test_a_shard_holds_the_same_heads_as_folders(tmp_path):
    place = Storage(str(tmp_path / "tars"))
    assert write_shards(place, *write_options(count=2, seed=2, **WHAT), each=2, engine=Here()) == ["heads-000001.tar"]
    found = shard(place, "heads-000001.tar")
    folders = write_dataset(tmp_path / "folders", count=2, seed=2, **WHAT)
    for folder in folders:
        told = json.loads(found[f"{folder.name}.transforms.json"])
        for frame, own in zip(
            told["frames"], json.loads((folder / "transforms.json").read_text())["frames"], strict=True
        ):
            for key in ("file_path", "depth_file_path"):
                assert found[frame[key]] == (folder / own[key]).read_bytes()
                assert frame[key].split(".", 1) == [folder.name, own[key]]  # key and ending, as WebDataset reads them
            assert frame["transform_matrix"] == own["transform_matrix"]
    assert {name.split(".")[0] for name in found} == {"000002", "000003"} and len(found) == 2 * (2 + 2 + 2)
    assert np.asarray(Image.open(io.BytesIO(found["000002.000.png"]))).shape == (24, 24, 4)


def test_a_data_set_grows_and_who_makes_it_does_not_matter(tmp_path, monkeypatch):
    place, other = Storage("memory://tars"), Storage(str(tmp_path))
    write_shards(place, *write_options(count=1, **WHAT), each=1, engine=Here())
    first = place.read(shard_name(0))
    write_shards(other, *write_options(count=2, **WHAT), each=1, engine=ProcessPool(2))
    monkeypatch.setattr(webdataset, "write_identity", refuse_first(webdataset.write_identity))
    names = write_shards(place, *write_options(count=2, **WHAT), each=1, engine=Here())
    assert names == [shard_name(i) for i in range(2)] and place.read(shard_name(0)) == first
    assert all(place.read(name) == other.read(name) for name in (*names, SHARDS))
    with pytest.raises(UserError, match="continue with `shard=`"):
        write_dataset(tmp_path, count=1, **WHAT)
    with pytest.raises(UserError, match="other settings"):
        write_shards(place, *write_options(count=1, **(WHAT | {"views": 3})), each=1, engine=Here())
    with pytest.raises(UserError, match="cannot be reached"):
        write_shards(Storage("nowhere://heads"), *write_options(count=1, **WHAT), each=1, engine=Here())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError):
        write_shards(Storage(str(tmp_path / "file")), *write_options(count=1, **WHAT), each=1, engine=Here())
    with pytest.raises(UserError, match="multiples of 2"):
        write_shards(place, *write_options(count=3, **WHAT), each=2, engine=Here())


def refuse_first(write):
    def again(folder, seed, chosen):
        assert seed > 0  # what is there is kept
        write(folder, seed, chosen)

    return again
