"""How much memory each stage needs besides torch and the networks."""

from __future__ import annotations

BYTES_PER_PIXEL = 120  # of the views, while a head is fitted to them
BASE_BYTES = {"proxy": 400 << 20, "views": 150 << 20, "splats": 600 << 20, "fit": 700 << 20, "refine": 2 << 30}
