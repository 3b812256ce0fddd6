"""How loops are compiled.
 All of them let go of the interpreter's lock, so that threads may render side by side, divide without a check
(they guard their denominators), and are kept on disk after the first run. Numba looks only at a kernel's own
file to see whether what it kept is stale: after a change of a helper in another file, remove `__pycache__`.
Where neither the package's folder nor the user's cache can be written nothing is kept, and each run compiles anew: a
folder that anyone can write is no place for code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# Helpers become part of the kernels that call them: a call that passes tuples of arrays copies them word by
# word. They cannot be called from Python, which halves the time that the first run takes to compile.
HELPER: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
LOOSE = {"contract", "reassoc", "arcp", "nsz", "afn"}


def kept(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiled on its first call and kept on disk, if there is a place."""

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:  # numba knows no kinder way to say it
            if "cannot cache" not in str(error):
                raise
            return njit(**options)(function)

    return compiled


# for coverage and depth: rounds exactly as written, so that neighbours that share an edge agree on it
exact = kept(nogil=True, error_model="numpy")
exact_inline = njit(nogil=True, error_model="numpy", **HELPER)

# for shading: may contract and reorder sums, but still knows infinity and NaN
quick = kept(nogil=True, error_model="numpy", fastmath=LOOSE)
quick_inline = njit(nogil=True, error_model="numpy", fastmath=LOOSE, **HELPER)
