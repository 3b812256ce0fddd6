"""Synthetic heads in WebDataset's tars: a sample is a head, its files `000123.000.png`, `000123.transforms.json`, ….

Shard n holds heads n N to n N + N - 1, whatever the call that made it, so that a data set grows by further calls and
by several machines at once. A shard appears when it is whole.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from portrait360.engine import Engine, sure
from portrait360.errors import UserError
from portrait360.place import Place
from portrait360.progress import step_bar
from portrait360.synth.write import SHARDS, WriteSettings, write_identity


def name_of(shard: int) -> str:
    return f"heads-{shard:06d}.tar"


def write_shards(place: Place, seeds: range, chosen: WriteSettings, *, each: int, engine: Engine) -> list[str]:
    """The names of shards with these heads; those that are there are kept."""
    if len(seeds) % each or seeds.start % each:
        raise UserError(f"With --shard {each}, --count and --seed are multiples of {each}; choose others.")
    _tell(place, {"settings": asdict(chosen), "heads": each})
    shards = range(seeds.start // each, seeds.stop // each)
    missing = [shard for shard in shards if not place.has(name_of(shard))]
    work = partial(write_shard, place=place, each=each, chosen=chosen)
    with step_bar("Shards", len(missing)) as advance:
        for shard, _ in sure(engine.run(work, missing)):
            advance(name_of(shard))
    return [name_of(shard) for shard in shards]


def write_shard(shard: int, place: Place, each: int, chosen: WriteSettings) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        packed = Path(temporary) / "shard.tar"
        with tarfile.open(packed, "w", format=tarfile.USTAR_FORMAT) as tar:
            for seed in range(shard * each, (shard + 1) * each):
                folder = Path(temporary) / f"{seed:06d}"
                write_identity(folder, seed, chosen)
                for name, values in members(folder):
                    entry = tarfile.TarInfo(name)  # no time, no owner: the same heads are the same bytes
                    entry.size = len(values)
                    tar.addfile(entry, io.BytesIO(values))
        place.put(name_of(shard), packed)


def members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """A head's files as those of one sample; its transforms.json names them as they are called in the tar."""
    for path in sorted(folder.iterdir()):
        values = path.read_bytes()
        if path.name == "transforms.json":
            said = json.loads(values)
            for frame in said["frames"]:
                frame |= {key: f"{folder.name}.{frame[key]}" for key in frame if key.endswith("file_path")}
            values = json.dumps(said).encode()
        yield f"{folder.name}.{path.name}", values


def _tell(place: Place, told: dict[str, object]) -> None:
    """Other settings in the same place are refused, not mixed."""
    found = place.read(SHARDS)
    if found is None:
        place.write(SHARDS, json.dumps(told, indent=1).encode())
    elif json.loads(found) != told:
        raise UserError(f"{place.root} holds heads of other settings; choose another place or remove it.")
