"""PanoHead's pickle, read without running anything in it.

The published file holds Python objects and the source code of their classes. Here every object becomes a record of
its attributes, every tensor a tensor, and whatever else the file asks for is refused by name.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from portrait360.checkpoints import Spec, describe
from portrait360.errors import UserError
from portrait360.models.gan3d import GAN3DConfig
from portrait360.models.trigrid import RayConfig

GENERATOR = "G_ema"
PASSENGERS = ("dataset_label_std",)  # what a trainer leaves at the generator, and nobody needs
INERT = ("torch.nn.modules.", "training.", "dnnlib.")  # whose classes become records, too
NUMBER = re.compile(r"[<>=|]?[fiub][1248]")


class Record:
    """Any object of the file: what it holds, and nothing of what it could do."""

    state: Mapping[str, Any]

    def __new__(cls, *args: object, **kwargs: object) -> Record:
        made = super().__new__(cls)
        made.state = {}
        return made

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


class Items(dict[Any, Any]):
    """A dictionary of a class of its own."""


class Number:
    """A kind of number, as numpy names it."""

    def __init__(self, name: object, *_how: object) -> None:
        if not (isinstance(name, str) and NUMBER.fullmatch(name)):
            raise pickle.UnpicklingError(f"numpy.dtype({name!r})")
        self.kind = np.dtype(name)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.kind = self.kind.newbyteorder(state[1])


def _object(meta: object) -> Record:
    made = Record()
    made.__setstate__(meta.get("state") if isinstance(meta, dict) else None)
    return made


def _scalar(kind: object, data: object) -> int | float | bool:
    if not (isinstance(kind, Number) and isinstance(data, bytes)):
        raise pickle.UnpicklingError("a numpy scalar of another kind")
    return np.frombuffer(data, kind.kind, count=1)[0].item()


def _storage(data: object) -> Any:
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a storage that is no bytes")
    file = io.BytesIO(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that typed storages are on their way out
        return torch.load(file, map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_how: object) -> Tensor:
    if not isinstance(storage, torch.TypedStorage | torch.UntypedStorage):
        raise pickle.UnpicklingError("a tensor without storage")
    kind = storage.dtype if isinstance(storage, torch.TypedStorage) else torch.uint8
    flat = torch.empty(0, dtype=kind).set_(storage)  # pyright: ignore[reportArgumentType]
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)


def _parameter(data: object, *_how: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter without tensor")
    return data


MAY: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _object,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _storage,
    "collections.OrderedDict": OrderedDict,
    "dnnlib.util.EasyDict": Items,
    "numpy.dtype": Number,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}


class Restricted(pickle._Unpickler):  # in Python, so that no number in the file reserves memory
    """Knows the names in `MAY`, and no other."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        whole = f"{module}.{name}"
        if whole in MAY:
            return MAY[whole]
        if whole.startswith(INERT) and re.fullmatch(r"[\w.]+", whole):
            return Record
        raise pickle.UnpicklingError(whole)

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("a persistent id")

    def load_build(self: Any) -> None:
        """Only our own objects are given attributes."""
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Record | Number):
            made.__setstate__(state)
        elif not isinstance(made, Items | OrderedDict):
            raise pickle.UnpicklingError(f"attributes for a {type(made).__name__}")

    dispatch[pickle.BUILD[0]] = load_build


def unpickled(file: BinaryIO, what: str) -> Any:
    try:
        return Restricted(file).load()
    except pickle.UnpicklingError as error:
        wanted = str(error)
        if not re.fullmatch(r"[\w.<>()' |=-]+", wanted) or " truncated" in wanted:
            raise UserError(f"{what} is not a whole pickle; download it again.") from error
        raise UserError(
            f"{what} asks for {wanted}, which PanoHead's generator does not need, so it was not opened; "
            "bring the file as its authors publish it."
        ) from error
    except Exception as error:  # damaged bytes reach the unpickler as any error at all
        raise UserError(f"{what} is not a whole pickle; download it again.") from error


class GanFile:
    """The generator in a published file: its tensors by their names, and its sizes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"There is no file {self.path}.")
        with self.path.open("rb") as file:
            held = unpickled(file, str(self.path))
        generator = held.get(GENERATOR) if isinstance(held, dict) else None
        if not isinstance(generator, Record):
            raise UserError(f"{self.path} holds no generator ({GENERATOR}); bring PanoHead's file.")
        found = dict(tensors(generator))
        self._state = {name: value for name, value in found.items() if name not in PASSENGERS}
        self.specs: dict[str, Spec] = describe(self._state)
        try:
            self.config = config_of(generator.state, self.specs)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.path} does not say how its generator is built ({error}).") from error

    def read(self, name: str) -> Tensor:
        return self._state[name]


def tensors(module: Record, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """As `state_dict` would name them."""
    for kind in ("_parameters", "_buffers"):
        for name, value in (module.state.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + str(name), value.detach()
    for name, part in (module.state.get("_modules") or {}).items():
        if isinstance(part, Record):
            yield from tensors(part, f"{prefix}{name}.")


def config_of(state: Mapping[str, Any], specs: Mapping[str, Spec]) -> GAN3DConfig:
    """From what it was made with, and what it was set to later."""
    asked = dict(state["_init_kwargs"])
    how = dict(asked["rendering_kwargs"]) | dict(state.get("rendering_kwargs") or {})
    usual = GAN3DConfig()
    activation = str(how.get("decoder_activation", "none"))
    if activation not in ("none", "sigmoid", "lrelu"):
        raise ValueError(f"a decoder that ends with {activation!r}")
    return GAN3DConfig(
        z=int(asked["z_dim"]),
        w=int(asked["w_dim"]),
        grids=int(how.get("triplane_size", usual.grids)),
        layers=int(how.get("triplane_depth", 1)),
        base=int(asked.get("channel_base", usual.base)),
        widest=int(asked.get("channel_max", usual.widest)),
        mapping_layers=int(dict(asked.get("mapping_kwargs") or {}).get("num_layers", usual.mapping_layers)),
        rate=float(how.get("decoder_lr_mul", 1)),
        activation=activation,
        raw_by_style=bool(how.get("use_torgb_raw", False)),
        background=bool(how.get("use_background", False)),
        larger=(width_of(specs, 0), width_of(specs, 1)),
        clamp=usual.clamp if int(asked.get("sr_num_fp16_res", 0)) > 0 else None,
        label_scale=float(how.get("c_scale", 0)),
        label_zero=bool(how.get("c_gen_conditioning_zero", False)),
        size=int(state.get("neural_rendering_resolution", usual.size)),
        rays=RayConfig(
            float(how["ray_start"]),
            float(how["ray_end"]),
            int(how["depth_resolution"]),
            int(how["depth_resolution_importance"]),
            float(how["box_warp"]),
        ),
    )


def width_of(specs: Mapping[str, Spec], block: int) -> int:
    """Of the super-resolution, whose channels the file does not tell otherwise."""
    return specs[f"superresolution.block{block}.conv1.bias"].shape[0]
