"""Files of arrays are read by numpy, and depend on nothing but the arrays."""

import io
import time
import zipfile

import numpy as np

from portrait360.utils.array_files import save_arrays

ARRAYS = {
    "points": np.arange(12, dtype=np.float32).reshape(4, 3),
    "name": np.array("é"),
    "none": np.zeros((0, 3)),
    "turned": np.arange(6).reshape(2, 3).T,
    "even": np.zeros((300, 100)),
    "noise": np.random.default_rng(0).normal(size=(300, 100)).T,
}


def write() -> bytes:
    file = io.BytesIO()
    save_arrays(file, ARRAYS)
    return file.getvalue()


def test_numpy_reads_what_was_written():
    with np.load(io.BytesIO(write()), allow_pickle=False) as found:
        assert set(found) == set(ARRAYS)
        for name, values in ARRAYS.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)


def test_the_bytes_do_not_depend_on_the_time(monkeypatch):
    first = write()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert write() == first


def test_only_what_gets_smaller_is_compressed():
    sizes = {info.filename: info.compress_size for info in zipfile.ZipFile(io.BytesIO(write())).infolist()}
    assert sizes["even.npy"] < 0.1 * ARRAYS["even"].nbytes and sizes["noise.npy"] > ARRAYS["noise"].nbytes
