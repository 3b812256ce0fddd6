"""Numba decorators that compile the loops of this package.

All kernels release the interpreter's lock, so that threads can render in parallel; they divide without a check (and
guard their denominators), and are cached on disk after the first run. Numba checks only a kernel's own file to see
whether its cache is stale: after a change to a helper in another file, remove `__pycache__`. Where neither the
package's folder nor the user's cache is writable, nothing is cached and each run compiles again: a folder that anyone
can write to is not safe for code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# Helpers are inlined into the kernels that call them, because a real call copies tuples of arrays word by word.
# They cannot be called from Python, which halves the compile time of the first run.
WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
HELPER: dict[str, Any] = {"forceinline": True, **WITHOUT_WRAPPERS}
LOOSE = {"contract", "reassoc", "arcp", "nsz", "afn"}


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function on its first call and caches it on disk where possible."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:  # numba has no more specific error
            if "cannot cache" not in str(error):
                raise
            return njit(**options)(function)

    return decorate


def is_cached(kernel: Any) -> bool:
    """Return whether an earlier run has compiled a kernel and left it on disk, for this version of its file."""
    folder, function = kernel.stats.cache_path, kernel.py_func
    if folder is None:
        return False
    source = Path(inspect.getfile(function))
    indices = Path(folder).glob(f"{source.stem}.{function.__name__}-*.nbi")  # as numba names them
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indices)


# for what only kernels call and what is too long to be inlined everywhere: compiled and cached as a part of them
njit_helper = njit(nogil=True, error_model="numpy", **WITHOUT_WRAPPERS)

# for coverage and depth: rounds exactly as written, so that triangles that share an edge agree on it
njit_exact = cached_njit(nogil=True, error_model="numpy")
njit_exact_inline = njit(nogil=True, error_model="numpy", **HELPER)

# for shading: may contract and reorder sums, but still respects infinity and NaN
njit_fast = cached_njit(nogil=True, error_model="numpy", fastmath=LOOSE)
njit_fast_inline = njit(nogil=True, error_model="numpy", fastmath=LOOSE, **HELPER)
