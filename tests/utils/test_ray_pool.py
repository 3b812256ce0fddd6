"""Jobs and portraits on a Ray cluster of two nodes, both on this machine."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.batch.runner import ROW, Batch, run_batch
from portrait360.pipeline.options import MakeOptions
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.files import sha256
from portrait360.utils.images import save_picture
from portrait360.utils.parallel.process_pool import ProcessPool
from portrait360.utils.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="Ray is for Linux and macOS")]


def named(job: int, folder: Path) -> tuple[int, str]:
    time.sleep(0.2)
    (folder / f"{job}").write_text(f"{job * job}")
    return job * job, os.environ["OMP_NUM_THREADS"]


def refuses(job: int) -> int:
    raise ValueError(f"not {job}")


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_node_that_is_killed_takes_nothing_with_it(cluster, tmp_path):
    from portrait360.utils.parallel.ray_pool import RayPool

    folder, found = tmp_path / "a", []
    folder.mkdir()
    for done in RayPool(cluster.address, 2).run(partial(named, folder=folder), range(40)):
        found.append(done)
        if len(found) == 12:
            cluster.remove_node(list(cluster.worker_nodes)[0], allow_graceful=False)
    assert sorted(done.job for done in found) == list(range(40))  # all there, none twice
    assert all(done.result == (done.job**2, "1") and not done.lost for done in found)
    (tmp_path / "b").mkdir()
    assert len(list(ProcessPool(1).run(partial(named, folder=tmp_path / "b"), range(40)))) == 40
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    with pytest.raises(ValueError, match="not 7"):
        list(RayPool(cluster.address, 1).run(refuses, [7, 8]))


def test_forty_portraits_a_lost_node_and_three_bad_photos(cluster, tmp_path):
    """Real ones, to the views: all there, none twice, the same bytes as by one process."""
    from portrait360.utils.parallel.ray_pool import RayPool

    photos = tmp_path / "photos"
    photos.mkdir()
    list(ProcessPool(2).run(partial(photograph, folder=photos), range(37)))
    for name, bad in (("cut.png", b"\x89PNG\r\n"), ("text.png", b"no picture"), ("none.jpg", b"")):
        (photos / name).write_bytes(bad)
    wish, rows = MakeOptions(fit=False, views=4, size=64), []

    def on_row(row):
        rows.append(row)
        if len(rows) == 15:
            cluster.remove_node(list(cluster.worker_nodes)[0], allow_graceful=False)

    run_batch(Batch(str(photos), Storage(str(tmp_path / "a")), wish), RayPool(cluster.address, 2), on_row)
    assert len({row.name for row in rows}) == len(rows) == 40
    failed = {Path(row.photo).name: row.error for row in rows if row.state == "failed"}
    assert set(failed) == {"cut.png", "text.png", "none.jpg"}, failed
    assert all(
        "not a JPEG" in sentence or "empty file" in sentence or "damaged" in sentence for sentence in failed.values()
    )
    table = parquet.read_table(tmp_path / "a" / "report.parquet").to_pylist()
    assert sorted(row["name"] for row in table) == sorted(row.name for row in rows)
    run_batch(Batch(str(photos), Storage(str(tmp_path / "b")), wish), ProcessPool(1))
    one, other = (pictures(tmp_path / name) for name in "ab")
    assert one == other and len({name.split("/")[0] for name in one}) == 37


def photograph(seed: int, folder: Path) -> None:
    seen = render(prepare_scene(build(sample(seed, "human"))), Camera(look_at(5 * (seed % 9) - 20), 2.7), 256)
    save_picture(
        folder / f"{seed:02d}.png", np.asarray(composite_over(seen.rgb, seen.alpha, np.float32(0.6)), np.float32)
    )


def pictures(folder: Path) -> dict[str, str]:
    """Every file but the records, which tell the time."""
    records = ("run.json", ROW, "report.parquet", "report.csv")
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name not in records)
    return {str(f.relative_to(folder)): sha256(f) for f in files}
