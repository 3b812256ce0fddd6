"""Jobs on a Ray cluster of two nodes, both on this machine."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from portrait360.engine import Processes

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
    from portrait360.cluster import Actors

    folder, found = tmp_path / "a", []
    folder.mkdir()
    for done in Actors(cluster.address, 2).run(partial(named, folder=folder), range(40)):
        found.append(done)
        if len(found) == 12:
            cluster.remove_node(list(cluster.worker_nodes)[0], allow_graceful=False)
    assert sorted(done.job for done in found) == list(range(40))  # all there, none twice
    assert all(done.result == (done.job**2, "1") and not done.lost for done in found)
    (tmp_path / "b").mkdir()
    assert len(list(Processes(1).run(partial(named, folder=tmp_path / "b"), range(40)))) == 40
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    with pytest.raises(ValueError, match="not 7"):
        list(Actors(cluster.address, 1).run(refuses, [7, 8]))
