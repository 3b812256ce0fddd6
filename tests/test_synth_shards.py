"""Data sets in tars: the same heads as in folders, whatever made them."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from portrait360.engine import Processes
from portrait360.errors import UserError
from portrait360.place import Place
from portrait360.synth import shards
from portrait360.synth.shards import name_of, write_shards
from portrait360.synth.write import SHARDS, chosen_of, write_dataset
from tests.test_batch import Here

WHAT = {"views": 2, "size": 24, "kind": "statue", "depth": True}


def shard(place: Place, name: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(place.read(name) or b"")) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # pyright: ignore[reportOptionalMemberAccess]


def test_a_shard_holds_the_same_heads_as_folders(tmp_path):
    place = Place(str(tmp_path / "tars"))
    assert write_shards(place, *chosen_of(count=2, seed=2, **WHAT), each=2, engine=Here()) == ["heads-000001.tar"]
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
    place, other = Place("memory://tars"), Place(str(tmp_path))
    write_shards(place, *chosen_of(count=1, **WHAT), each=1, engine=Here())
    first = place.read(name_of(0))
    write_shards(other, *chosen_of(count=2, **WHAT), each=1, engine=Processes(2))
    monkeypatch.setattr(shards, "write_identity", refuse_first(shards.write_identity))
    names = write_shards(place, *chosen_of(count=2, **WHAT), each=1, engine=Here())
    assert names == [name_of(i) for i in range(2)] and place.read(name_of(0)) == first
    assert all(place.read(name) == other.read(name) for name in (*names, SHARDS))
    with pytest.raises(UserError, match="go on with --shard"):
        write_dataset(tmp_path, count=1, **WHAT)
    with pytest.raises(UserError, match="other settings"):
        write_shards(place, *chosen_of(count=1, **(WHAT | {"views": 3})), each=1, engine=Here())
    with pytest.raises(UserError, match="cannot be reached"):
        write_shards(Place("nowhere://heads"), *chosen_of(count=1, **WHAT), each=1, engine=Here())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError):
        write_shards(Place(str(tmp_path / "file")), *chosen_of(count=1, **WHAT), each=1, engine=Here())
    with pytest.raises(UserError, match="multiples of 2"):
        write_shards(place, *chosen_of(count=3, **WHAT), each=2, engine=Here())


def refuse_first(write):
    def again(folder, seed, chosen):
        assert seed > 0  # what is there is kept
        write(folder, seed, chosen)

    return again
