"""How loops are compiled. All of them let go of the interpreter's lock, so that threads may render side by
side, divide without a check (they guard their denominators), and are kept on disk after the first run."""

from __future__ import annotations

from numba import njit

# for coverage and depth: rounds exactly as written, so that neighbours that share an edge agree on it
exact = njit(cache=True, nogil=True, error_model="numpy")
exact_inline = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)

# for shading: may contract and reorder sums, but still knows infinity and NaN
LOOSE = {"contract", "reassoc", "arcp", "nsz", "afn"}
quick = njit(cache=True, nogil=True, error_model="numpy", fastmath=LOOSE)

# a call that passes tuples of arrays copies them word by word: helpers called for each pixel become part of
# the caller
quick_inline = njit(cache=True, nogil=True, error_model="numpy", fastmath=LOOSE, forceinline=True)
