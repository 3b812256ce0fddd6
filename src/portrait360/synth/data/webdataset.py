"""Synthetic heads as WebDataset tars: one sample per head, with files `000123.000.png`, `000123.transforms.json`, ….

Shard n of N heads each holds heads n N to n N + N - 1, whichever call wrote it, so a data set can grow by further
calls and on several machines at once. A shard appears only when it is complete.
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

from portrait360.synth.data.writer import SHARDS, WriteSettings, write_identity
from portrait360.utils.errors import UserError
from portrait360.utils.parallel.scheduler import Engine, require_all
from portrait360.utils.progress import progress_bar
from portrait360.utils.storage import Storage


def shard_name(shard: int) -> str:
    return f"heads-{shard:06d}.tar"


def write_shards(storage: Storage, seeds: range, settings: WriteSettings, *, each: int, engine: Engine) -> list[str]:
    """Write the shards that hold these heads, keep existing ones, and return the names of all."""
    if len(seeds) % each or seeds.start % each:
        raise UserError(f"With `shard={each}`, `count=` and `seed=` must be multiples of {each}.")
    _check_settings(storage, {"settings": asdict(settings), "heads": each})
    shards = range(seeds.start // each, seeds.stop // each)
    missing = [shard for shard in shards if not storage.has(shard_name(shard))]
    work = partial(write_shard, storage=storage, each=each, settings=settings)
    with progress_bar("Shards", len(missing)) as bar:
        for shard, _ in require_all(engine.run(work, missing)):
            bar.advance(shard_name(shard))
    return [shard_name(shard) for shard in shards]


def write_shard(shard: int, storage: Storage, each: int, settings: WriteSettings) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "shard.tar"
        with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
            for seed in range(shard * each, (shard + 1) * each):
                folder = Path(temporary) / f"{seed:06d}"
                write_identity(folder, seed, settings)
                for name, values in tar_members(folder):
                    member = tarfile.TarInfo(name)  # no time, no owner: the same heads produce the same bytes
                    member.size = len(values)
                    tar.addfile(member, io.BytesIO(values))
        storage.put(shard_name(shard), archive)


def tar_members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a head's files as the files of one sample; transforms.json refers to them by their names in the tar."""
    for path in sorted(folder.iterdir()):
        values = path.read_bytes()
        if path.name == "transforms.json":
            transforms = json.loads(values)
            for frame in transforms["frames"]:
                frame |= {key: f"{folder.name}.{frame[key]}" for key in frame if key.endswith("file_path")}
            values = json.dumps(transforms).encode()
        yield f"{folder.name}.{path.name}", values


def _check_settings(storage: Storage, record: dict[str, object]) -> None:
    """Record the settings in the storage, or refuse to add heads of other settings to it."""
    existing = storage.read(SHARDS)
    if existing is None:
        storage.write(SHARDS, json.dumps(record, indent=1).encode())
    elif json.loads(existing) != record:
        raise UserError(
            f"{storage.root} contains heads made with other settings; choose another folder or delete it."
        )
