"""Reads PanoHead's pickle without running any code in it.

The published file holds Python objects and the source code of their classes. Here every object becomes a record of
its attributes, tensors stay tensors, and everything else that the file would import is refused by name.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from portrait360.models.panohead import GAN3DConfig
from portrait360.models.trigrid import RayConfig
from portrait360.models.weights.tensor_files import Spec, describe
from portrait360.utils.errors import UserError

GENERATOR = "G_ema"
UNUSED_TENSORS = ("dataset_label_std",)  # left in the generator by its trainer
INERT = ("torch.nn.modules.", "training.", "dnnlib.")  # packages whose classes become records, too
NUMBER = re.compile(r"[<>=|]?[fiub][1248]")
MOST_ODD_KEYS = 1000  # keys other than text: their hashes can be made to collide, which takes time quadratic in them
MOST_CHANNELS, MOST_LAYERS = 1 << 16, 64  # of a generator's config


class Record:
    """An object of the file, reduced to its attributes, without behaviour."""

    state: Mapping[str, Any]

    def __new__(cls, *args: object, **kwargs: object) -> Record:
        record = super().__new__(cls)
        record.state = {}
        return record

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


class EasyDict(dict[Any, Any]):
    """Stands for dnnlib's dictionary class, which is filled after it is made."""

    def __init__(self, *contents: object) -> None:
        _require_empty(contents)


def _build_ordered_dict(*contents: object) -> OrderedDict[Any, Any]:
    _require_empty(contents)
    return OrderedDict()


def _require_empty(contents: tuple[object, ...]) -> None:
    if contents:
        raise pickle.UnpicklingError("a dictionary that is made from a list")


class NumpyDtype:
    """Stands for a numpy dtype; accepts only numbers."""

    def __init__(self, name: object, *_args: object) -> None:
        if not (isinstance(name, str) and NUMBER.fullmatch(name)):
            raise pickle.UnpicklingError(f"numpy.dtype({name!r})")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _build_record(meta: object) -> Record:
    record = Record()
    record.__setstate__(meta.get("state") if isinstance(meta, dict) else None)
    return record


def _read_scalar(kind: object, data: object) -> int | float | bool:
    if not (isinstance(kind, NumpyDtype) and isinstance(data, bytes)):
        raise pickle.UnpicklingError("a numpy scalar of another kind")
    return np.frombuffer(data, kind.dtype, count=1)[0].item()


def _load_storage(data: object) -> Any:
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a storage that is not bytes")
    file = io.BytesIO(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # typed storages are deprecated
        return torch.load(file, map_location="cpu", weights_only=True)


def _build_tensor(
    storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_args: object
) -> Tensor:
    if not isinstance(storage, torch.TypedStorage | torch.UntypedStorage):
        raise pickle.UnpicklingError("a tensor without storage")
    dtype = storage.dtype if isinstance(storage, torch.TypedStorage) else torch.uint8
    flat = torch.empty(0, dtype=dtype).set_(storage)  # pyright: ignore[reportArgumentType]
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)


def _build_parameter(data: object, *_args: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter without tensor")
    return data


ALLOWED: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _build_record,
    "torch._utils._rebuild_parameter": _build_parameter,
    "torch._utils._rebuild_tensor_v2": _build_tensor,
    "torch.storage._load_from_bytes": _load_storage,
    "collections.OrderedDict": _build_ordered_dict,
    "dnnlib.util.EasyDict": EasyDict,
    "numpy.dtype": NumpyDtype,
    "numpy.core.multiarray.scalar": _read_scalar,
    "numpy._core.multiarray.scalar": _read_scalar,
}


class RestrictedUnpickler(pickle._Unpickler):  # in Python, so that no number in the file can reserve memory
    """Resolves the names in `ALLOWED`, turns classes of inert packages into records, and refuses all other names."""

    dispatch = dict(pickle._Unpickler.dispatch)
    odd_keys = 0

    def find_class(self, module: str, name: str) -> Any:
        qualified_name = f"{module}.{name}"
        if qualified_name in ALLOWED:
            return ALLOWED[qualified_name]
        if qualified_name.startswith(INERT) and re.fullmatch(r"[\w.]+", qualified_name):
            return Record
        raise pickle.UnpicklingError(qualified_name)

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("a persistent id")

    def load_build(self: Any) -> None:
        """Set attributes of our own objects only."""
        state, instance = self.stack.pop(), self.stack[-1]
        if isinstance(instance, Record | NumpyDtype):
            instance.__setstate__(state)
        elif not isinstance(instance, EasyDict | OrderedDict):
            raise pickle.UnpicklingError(f"attributes for a {type(instance).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def count_odd_keys(self, keys: Iterable[object]) -> None:
        self.odd_keys += sum(not isinstance(key, str) for key in keys)
        if self.odd_keys > MOST_ODD_KEYS:
            raise pickle.UnpicklingError("many keys that are no names")

    def count_item_keys(self: Any, opcode: int) -> None:
        """Count the keys that an opcode is about to put into a dictionary or a set."""
        items = self.stack[-2:] if opcode == pickle.SETITEM[0] else self.stack
        is_set = opcode in (pickle.ADDITEMS[0], pickle.FROZENSET[0])
        self.count_odd_keys(items if is_set else items[::2])
        pickle._Unpickler.dispatch[opcode](self)

    for _opcode in (*pickle.SETITEM, *pickle.SETITEMS, *pickle.DICT, *pickle.ADDITEMS, *pickle.FROZENSET):
        dispatch[_opcode] = partial(count_item_keys, opcode=_opcode)

    def load_put(self: Any, read: Callable[[Any], None]) -> None:
        """Picklers number what they remember in a row; a number far beyond counts as an odd key."""
        count = len(self.memo)
        read(self)
        if len(self.memo) > count and next(reversed(self.memo)) > count + MOST_ODD_KEYS:
            self.count_odd_keys([None])

    for _opcode in (*pickle.PUT, *pickle.LONG_BINPUT):
        dispatch[_opcode] = partial(load_put, read=pickle._Unpickler.dispatch[_opcode])


def unpickle(file: BinaryIO, what: str) -> Any:
    try:
        return RestrictedUnpickler(file).load()
    except pickle.UnpicklingError as error:
        reason = str(error)
        if not re.fullmatch(r"[\w.<>()' |=-]+", reason) or " truncated" in reason:
            raise UserError(f"{what} is not a complete pickle; download it again.") from error
        raise UserError(
            f"{what} refers to {reason}, which PanoHead's generator does not need, so it was not opened; "
            "use the authors' original file."
        ) from error
    except Exception as error:  # damaged bytes reach the unpickler as any error at all
        raise UserError(f"{what} is not a complete pickle; download it again.") from error


class GanFile:
    """The generator in a published file: its tensors by name, and its config."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"There is no file {self.path}.")
        with self.path.open("rb") as file:
            content = unpickle(file, str(self.path))
        generator = content.get(GENERATOR) if isinstance(content, dict) else None
        if not isinstance(generator, Record):
            raise UserError(f"{self.path} contains no generator ({GENERATOR}); use PanoHead's file.")
        try:
            state = dict(iterate_tensors(generator, set()))
            self._state = {name: value for name, value in state.items() if name not in UNUSED_TENSORS}
            self.specs: dict[str, Spec] = describe(self._state)
            self.config = read_config(generator.state, self.specs)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise UserError(f"{self.path} does not say how its generator is built ({error}).") from error

    def read(self, name: str) -> Tensor:
        return self._state[name]


def iterate_tensors(module: Record, visited: set[int], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of a module under the names of its `state_dict`.

    No module is visited twice: a few that hold each other would make more names than can be counted.
    """
    if id(module) in visited:
        return
    visited.add(id(module))
    for kind in ("_parameters", "_buffers"):
        for name, value in (module.state.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + str(name), value.detach()
    for name, part in (module.state.get("_modules") or {}).items():
        if isinstance(part, Record):
            yield from iterate_tensors(part, visited, f"{prefix}{name}.")


def read_count(value: Any, most: int = MOST_CHANNELS) -> int:
    """Return a number of channels, layers or pixels; a ValueError for one that no generator has."""
    count = int(value)
    if not 0 <= count <= most:
        raise ValueError(f"sizes above {most}")
    return count


def read_config(state: Mapping[str, Any], specs: Mapping[str, Spec]) -> GAN3DConfig:
    """Build the config from the generator's constructor arguments and the rendering options that override them."""
    init_kwargs = dict(state["_init_kwargs"])
    rendering = dict(init_kwargs["rendering_kwargs"]) | dict(state.get("rendering_kwargs") or {})
    defaults = GAN3DConfig()
    activation = str(rendering.get("decoder_activation", "none"))
    if activation not in ("none", "sigmoid", "lrelu"):
        raise ValueError(f"unknown decoder activation {activation!r}")
    return GAN3DConfig(
        z=read_count(init_kwargs["z_dim"]),
        w=read_count(init_kwargs["w_dim"]),
        grids=read_count(rendering.get("triplane_size", defaults.grids)),
        layers=read_count(rendering.get("triplane_depth", 1)),
        base=read_count(init_kwargs.get("channel_base", defaults.base)),
        widest=read_count(init_kwargs.get("channel_max", defaults.widest)),
        mapping_layers=read_count(
            dict(init_kwargs.get("mapping_kwargs") or {}).get("num_layers", defaults.mapping_layers), MOST_LAYERS
        ),
        rate=float(rendering.get("decoder_lr_mul", 1)),
        activation=activation,
        raw_by_style=bool(rendering.get("use_torgb_raw", False)),
        background=bool(rendering.get("use_background", False)),
        larger=(read_sr_width(specs, 0), read_sr_width(specs, 1)),
        clamp=defaults.clamp if int(init_kwargs.get("sr_num_fp16_res", 0)) > 0 else None,
        label_scale=float(rendering.get("c_scale", 0)),
        label_zero=bool(rendering.get("c_gen_conditioning_zero", False)),
        size=read_count(state.get("neural_rendering_resolution", defaults.size)),
        rays=RayConfig(
            float(rendering["ray_start"]),
            float(rendering["ray_end"]),
            read_count(rendering["depth_resolution"]),
            read_count(rendering["depth_resolution_importance"]),
            float(rendering["box_warp"]),
        ),
    )


def read_sr_width(specs: Mapping[str, Spec], block: int) -> int:
    """Return the channels of a super-resolution block, which the file's options do not include."""
    return specs[f"superresolution.block{block}.conv1.bias"].shape[0]
