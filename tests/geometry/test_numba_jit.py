"""Whether kernels have been compiled by an earlier run, which decides how long this one takes."""

import os
import subprocess
import sys
from types import SimpleNamespace

from portrait360.geometry.numba_jit import is_cached


def twice(number):
    return 2 * number


def test_an_index_counts_while_its_source_is_no_newer(tmp_path):
    kernel = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)), py_func=twice)
    assert not is_cached(kernel)
    index = tmp_path / "test_numba_jit.twice-11.py311.nbi"
    index.touch()
    assert is_cached(kernel)
    os.utime(index, (0, 0))
    assert not is_cached(kernel)
    kernel.stats.cache_path = None  # where no folder can be written
    assert not is_cached(kernel)


def test_numba_names_its_files_so(tmp_path):
    source = tmp_path / "kernels.py"
    source.write_text("def twice(number):\n    return 2 * number\n")
    program = (
        "from portrait360.geometry.numba_jit import cached_njit, is_cached; import kernels;"
        "twice = cached_njit()(kernels.twice); print(is_cached(twice), twice(2), is_cached(twice))"
    )
    places = os.pathsep.join([str(tmp_path), *sys.path])
    environment = os.environ | {"PYTHONPATH": places, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "False 4 True\n", done.stderr
