"""Lets the benchmarks run from a checkout in which nothing is installed but torch, numpy, numba, opencv, scipy and
safetensors: call `prepare` before anything of the package is imported."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from math import prod
from pathlib import Path
from types import ModuleType

from torch import Tensor

Groups = tuple[tuple[str, ...], ...]  # the axes that each dimension holds

SOURCES = Path(__file__).parent.parent / "src"


def prepare() -> list[str]:
    """Make the package importable; return what stands in for something that is not installed."""
    if importlib.util.find_spec("portrait360") is None:
        sys.path.insert(0, str(SOURCES))
    if importlib.util.find_spec("einops") is not None:
        return []
    module = ModuleType("einops")
    module.rearrange = rearrange  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules["einops"] = module
    return ["einops.rearrange"]


def rearrange(x: Tensor, pattern: str, /, **sizes: int) -> Tensor:
    """Do what `einops.rearrange` does, for patterns without an ellipsis."""
    left, right = parse_pattern(pattern)
    if len(left) != x.ndim:
        raise ValueError(f"{pattern!r} does not fit a tensor of shape {tuple(x.shape)}")
    known = dict(sizes)
    for axes, size in zip(left, x.shape, strict=True):
        unknown = [axis for axis in axes if axis not in known]
        if unknown:
            known[unknown[0]] = size // prod(known[axis] for axis in axes if axis in known)
        if len(unknown) > 1 or prod(known[axis] for axis in axes) != size:
            raise ValueError(f"{pattern!r} does not fit a tensor of shape {tuple(x.shape)} with {sizes}")
    order = [axis for axes in left for axis in axes]
    apart = x.reshape([known[axis] for axis in order])
    turned = apart.permute([order.index(axis) for axes in right for axis in axes])
    return turned.reshape([prod(known[axis] for axis in axes) for axes in right])


@lru_cache(maxsize=64)
def parse_pattern(pattern: str) -> tuple[Groups, Groups]:
    """ "b (h w) 1 -> b h w" -> the axes of each dimension on both sides; "1" is a dimension without axes."""
    left, right = (_parse_side(side) for side in pattern.split("->"))
    return left, right


def _parse_side(side: str) -> Groups:
    groups: list[tuple[str, ...]] = []
    open_group: list[str] | None = None
    for word in side.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            open_group = []
        elif word == ")":
            groups.append(tuple(open_group or ()))
            open_group = None
        elif open_group is not None:
            open_group.append(word)
        else:
            groups.append(() if word == "1" else (word,))
    return tuple(groups)
