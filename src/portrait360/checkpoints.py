"""Files of tensors: read without running anything in them, written a tensor at a time, loaded without silence."""

from __future__ import annotations

import hashlib
import json
import math
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from portrait360.errors import UserError
from portrait360.files import whole

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


class Spec(NamedTuple):
    """What a tensor is before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorFile:
    """The tensors of a .safetensors file or of a torch checkpoint (.th, .ckpt, .pt, .bin), read one by one.

    Torch checkpoints are memory-mapped, and opened with `weights_only`, which builds tensors and plain containers
    and refuses anything else by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"There is no file {self.path}.")
        self._state: dict[str, Tensor] | None = None
        if self.path.suffix == ".safetensors":
            self.specs = self._open_safetensors()
        else:
            self._state = _flat_state(_load_torch(self.path), self.path)
            self.specs = describe(self._state)

    def _open_safetensors(self) -> dict[str, Spec]:
        try:
            self._file = safe_open(self.path, framework="pt")
            slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{self.path} is not a whole safetensors file ({error}); download or make it again."
            ) from error
        strange = {s.get_dtype() for s in slices.values()} - set(DTYPES)
        if strange:
            raise UserError(
                f"{self.path} holds {min(strange)} tensors, which cannot be read here; bring fp16 or fp32."
            )
        return {name: Spec(tuple(s.get_shape()), DTYPES[s.get_dtype()]) for name, s in slices.items()}

    @property
    def metadata(self) -> dict[str, str]:
        return {} if self._state is not None else dict(self._file.metadata() or {})

    def read(self, name: str) -> Tensor:
        return self._file.get_tensor(name) if self._state is None else self._state[name]


def _load_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters is raised
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # damaged bytes reach the unpickler as any error at all
        told = re.search(r"GLOBAL (\S+)", str(error))
        wanted = told[1] if told else _first_global(path)
        if wanted:
            raise UserError(
                f"{path} wants to run code ({wanted}) when it is opened, so it was not opened; "
                "bring a file that holds tensors only, if possible a .safetensors file."
            ) from error
        raise UserError(f"{path} is not a whole torch checkpoint; download or make it again.") from error


def _first_global(path: Path) -> str | None:
    """What a bare pickle would import first, read from its opcodes without running them."""
    words: list[str] = []
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(words[-2:])
                if isinstance(argument, str):
                    words.append(argument)
    except Exception:  # no pickle, or a damaged one
        return None
    return None


def _flat_state(loaded: Any, path: Path) -> dict[str, Tensor]:
    """A state dict is the file itself or lies under `state_dict`, as training loops save it."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise UserError(f"{path} holds no named tensors but a {type(loaded).__name__}.")
    state = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f"{path} holds no named tensors.")
    for name, value in state.items():
        if value.layout != torch.strided or value.dtype not in DTYPE_NAMES:
            raise UserError(f"{path} holds {name} as {value.layout}, {value.dtype}, which cannot be read here.")
    return state


def write_half(network: nn.Module, path: Path, about: Mapping[str, str]) -> None:
    """A trained network's weights in half precision, with what is to be known of them in the header."""
    state = {name: value.half() for name, value in network.state_dict().items()}
    with whole(path) as temporary:
        write_safetensors(temporary, describe(state), state.__getitem__, about)


def write_safetensors(
    path: Path,
    specs: Mapping[str, Spec],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str],
    on_bytes: Callable[[int], None] = lambda count: None,
) -> str:
    """Write a .safetensors file holding one tensor in memory at a time; returns its SHA-256."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, (shape, dtype) in specs.items():
        size = math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(data: bytes | memoryview) -> None:
            file.write(data)
            digest.update(data)

        put(len(text).to_bytes(8, "little") + text)
        for name, (shape, dtype) in specs.items():
            tensor = read(name).detach().to(device="cpu", dtype=dtype).contiguous()
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} was announced as {shape} but is {tuple(tensor.shape)}")
            data = tensor.reshape(-1).view(torch.uint8).numpy().data
            put(data)
            on_bytes(len(data))
            del tensor, data  # before the next one is read
    return digest.hexdigest()


def specs_of(network: nn.Module, prefix: str = "") -> dict[str, Spec]:
    """What a network's state consists of; build it on `meta` and nothing is allocated."""
    return {prefix + name: spec for name, spec in describe(network.state_dict()).items()}


def describe(state: Mapping[str, Tensor]) -> dict[str, Spec]:
    """What tensors are, without their values."""
    return {name: Spec(tuple(value.shape), value.dtype) for name, value in state.items()}


def differences(expected: Mapping[str, Spec], found: Mapping[str, Spec]) -> list[str]:
    """Every missing, unexpected or wrongly shaped tensor, each in words."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not expected" for name in found if name not in expected]
    for name, spec in expected.items():
        if name in found and tuple(found[name].shape) != tuple(spec.shape):
            problems.append(f"{name} has shape {list(found[name].shape)}, expected {list(spec.shape)}")
        elif name in found and found[name].dtype.is_floating_point != spec.dtype.is_floating_point:
            problems.append(f"{name} is of type {found[name].dtype}, expected {spec.dtype}")
    return problems


def require_same(expected: Mapping[str, Spec], found: Mapping[str, Spec], what: str) -> None:
    problems = differences(expected, found)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"{what} does not fit: {'; '.join(problems[:3])}{more}.")


def load_single(network: nn.Module, file: TensorFile, what: str) -> nn.Module:
    """All of a file that was written in half precision, to be calculated with in single."""
    return load_into(network, {name: file.read(name).float() for name in file.specs}, what)


def load_into(network: nn.Module, state: Mapping[str, Tensor], what: str) -> nn.Module:
    """Strict loading; the tensors become the network's own, so a network built on `meta` costs no copy."""
    require_same(specs_of(network), describe(state), what)
    network.load_state_dict(dict(state), strict=True, assign=True)
    return network


def one_precision(specs: Mapping[str, Spec], names: Iterable[str], what: str) -> torch.dtype:
    """The floating-point type of these tensors; a mixture means that something went wrong with the file."""
    examples: dict[torch.dtype, str] = {}
    for name in names:
        if specs[name].dtype.is_floating_point:
            examples.setdefault(specs[name].dtype, name)
    if len(examples) != 1:
        kinds = " and ".join(f"{DTYPE_NAMES[dtype]} ({name})" for dtype, name in examples.items())
        raise UserError(f"{what} mixes precisions: {kinds or 'no floating-point tensor at all'}; bring a whole one.")
    return next(iter(examples))
