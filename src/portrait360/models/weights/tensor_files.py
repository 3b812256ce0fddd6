"""Tensor files: read without running code in them, written one tensor at a time, and loaded strictly."""

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

from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write

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
ZIP_START = b"PK"
MAX_RECORD = 256 << 20  # bytes of a torch checkpoint's pickle, which holds names and shapes


class Spec(NamedTuple):
    """Shape and type of a tensor, known before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorFile:
    """The tensors of a .safetensors file or of a torch checkpoint (.th, .ckpt, .pt, .bin), read one by one.

    Torch checkpoints are memory-mapped and opened with `weights_only`, which builds tensors and plain containers and
    refuses anything else by name.
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
                f"{self.path} is not a complete safetensors file ({error}); download or make it again."
            ) from error
        unsupported = {s.get_dtype() for s in slices.values()} - set(DTYPES)
        if unsupported:
            raise UserError(
                f"{self.path} has {min(unsupported)} tensors, which are not supported; use a file in fp16 or fp32."
            )
        return {name: Spec(tuple(s.get_shape()), DTYPES[s.get_dtype()]) for name, s in slices.items()}

    @property
    def metadata(self) -> dict[str, str]:
        return {} if self._state is not None else dict(self._file.metadata() or {})

    def read(self, name: str) -> Tensor:
        return self._file.get_tensor(name) if self._state is None else self._state[name]


def _load_torch(path: Path) -> Any:
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; real problems raise an error
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # damaged bytes reach the unpickler as any error at all
        match = re.search(r"GLOBAL (\S+)", str(error))
        imported = match[1] if match else _first_global(path)
        if imported:
            raise UserError(
                f"{path} would run code ({imported}) when opened, so it was not opened; "
                "use a file that contains only tensors, preferably a .safetensors file."
            ) from error
        raise UserError(f"{path} is not a complete torch checkpoint; download or make it again.") from error


def _check_archive(path: Path) -> None:
    """Refuse a zip file whose members would take more memory than it has bytes: torch compresses none of them."""
    with path.open("rb") as file:
        if not (file.read(2) == ZIP_START or zipfile.is_zipfile(file)):
            return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path} is not a complete torch checkpoint; download or make it again.") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError(f"{path} is a compressed zip file, which torch does not write; save it again with torch.")
    records = [member.file_size for member in members if member.filename.endswith("data.pkl")]
    if sum(member.file_size for member in members) > path.stat().st_size or max(records, default=0) > MAX_RECORD:
        raise UserError(f"{path} declares more data than it contains; download or make it again.")


def _first_global(path: Path) -> str | None:
    """Return the name that a bare pickle would import first, read from its opcodes without running them."""
    strings: list[str] = []
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(strings[-2:])
                if isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # not a pickle, or a damaged one
        return None
    return None


def _flat_state(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict, which is the file's content or its entry `state_dict`, as training loops save it."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise UserError(f"{path} contains no named tensors, only a {type(loaded).__name__}.")
    state = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f"{path} contains no named tensors.")
    for name, value in state.items():
        if value.layout != torch.strided or value.dtype not in DTYPE_NAMES:
            raise UserError(f"{path} contains {name} as {value.layout}, {value.dtype}, which is not supported.")
    return state


def write_half(network: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network's weights in half precision, with metadata in the header."""
    state = {name: v.half() if v.is_floating_point() else v for name, v in network.state_dict().items()}
    with atomic_write(path) as temporary:
        write_safetensors(temporary, describe(state), state.__getitem__, metadata)


def write_safetensors(
    path: Path,
    specs: Mapping[str, Spec],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str],
    on_bytes: Callable[[int], None] = lambda count: None,
) -> str:
    """Write a .safetensors file with one tensor in memory at a time and return its SHA-256."""
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

        def write(data: bytes | memoryview) -> None:
            file.write(data)
            digest.update(data)

        write(len(text).to_bytes(8, "little") + text)
        for name, (shape, dtype) in specs.items():
            tensor = read(name).detach().to(device="cpu", dtype=dtype).contiguous()
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} was declared with shape {shape} but has shape {tuple(tensor.shape)}")
            data = tensor.reshape(-1).view(torch.uint8).numpy().data
            write(data)
            on_bytes(len(data))
            del tensor, data  # before the next one is read
    return digest.hexdigest()


def get_specs(network: nn.Module, prefix: str = "") -> dict[str, Spec]:
    """Return the specs of a network's state; a network built on `meta` allocates nothing."""
    return {prefix + name: spec for name, spec in describe(network.state_dict()).items()}


def describe(state: Mapping[str, Tensor]) -> dict[str, Spec]:
    """Return the specs of tensors."""
    return {name: Spec(tuple(value.shape), value.dtype) for name, value in state.items()}


def list_differences(expected: Mapping[str, Spec], actual: Mapping[str, Spec]) -> list[str]:
    """Return a sentence for each tensor that is missing, unexpected, or of the wrong shape or type."""
    problems = [f"{name} is missing" for name in expected if name not in actual]
    problems += [f"{name} is not expected" for name in actual if name not in expected]
    for name, spec in expected.items():
        if name in actual and tuple(actual[name].shape) != tuple(spec.shape):
            problems.append(f"{name} has shape {list(actual[name].shape)}, expected {list(spec.shape)}")
        elif name in actual and actual[name].dtype.is_floating_point != spec.dtype.is_floating_point:
            problems.append(f"{name} is of type {actual[name].dtype}, expected {spec.dtype}")
    return problems


def require_same(expected: Mapping[str, Spec], actual: Mapping[str, Spec], what: str) -> None:
    """Raise an error that names the differences, if there are any."""
    problems = list_differences(expected, actual)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"{what} does not fit: {'; '.join(problems[:3])}{more}.")


def load_fp32(network: nn.Module, file: TensorFile, what: str) -> nn.Module:
    """Load a file, converting its tensors from half to single precision."""
    state = {name: file.read(name) for name in file.specs}
    return load_into(network, {name: v.float() if v.is_floating_point() else v for name, v in state.items()}, what)


def load_into(network: nn.Module, state: Mapping[str, Tensor], what: str) -> nn.Module:
    """Load a state strictly; the network adopts the tensors, so a network built on `meta` needs no copy."""
    require_same(get_specs(network), describe(state), what)
    network.load_state_dict(dict(state), strict=True, assign=True)
    return network


def require_one_precision(specs: Mapping[str, Spec], names: Iterable[str], what: str) -> torch.dtype:
    """Return the floating-point type of these tensors; mixed types mean that the file is bad, which is an error."""
    examples: dict[torch.dtype, str] = {}
    for name in names:
        if specs[name].dtype.is_floating_point:
            examples.setdefault(specs[name].dtype, name)
    if not examples:
        raise UserError(f"{what} contains no floating-point tensors; use another file.")
    if len(examples) > 1:
        kinds = " and ".join(f"{DTYPE_NAMES[dtype]} ({name})" for dtype, name in examples.items())
        raise UserError(f"{what} mixes precisions: {kinds}; use a file in which all tensors have the same precision.")
    return next(iter(examples))
