"""Reads the tensors of a PyTorch file of the older kind without PyTorch, and without running what a file may hold.

Such a file is a row of pickles (a magic number, the protocol, the machine, the tensors' names and shapes, the names of
their storages) and then, for each storage, its length and its bytes (``torch.save`` with
``_use_new_zipfile_serialization=False``). Pickles can name any function to be called; only the few names that tensors
need are answered to here, by functions of our own.
"""

from __future__ import annotations

import collections
import pickle
import struct
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class TorchFileError(ValueError):
    """The file is none that can be read."""


class _Storage(NamedTuple):
    """A flat array in the file."""

    key: str
    dtype: np.dtype[Any]


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All tensors by name.

    Raises:
        TorchFileError: the file is damaged, of another kind, or holds something else than tensors.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            if _unpickled(file) != _MAGIC:
                raise TorchFileError("it does not begin as such a file does")
            for _ in ("protocol", "machine"):
                _unpickled(file)
            tensors, keys = dict(_unpickled(file)), list(_unpickled(file))
            storages: dict[str, npt.NDArray[Any]] = {}
            known = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
            for key in keys:
                (count,) = struct.unpack("<q", file.read(8))
                content = file.read(count * known[key].itemsize)
                storages[key] = np.frombuffer(content, known[key], count)
            return {name: _view(storages[tensor.storage.key], tensor) for name, tensor in tensors.items()}
        except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError, struct.error) as error:
            raise TorchFileError(f"{path}: not a PyTorch file of the older kind, or damaged: {error}") from error
        except ValueError as error:
            raise TorchFileError(f"{path}: {error}") from error


def _view(storage: npt.NDArray[Any], tensor: _Tensor) -> npt.NDArray[Any]:
    """A tensor's values, copied out of its storage. Raises ValueError where they reach beyond it."""
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides, 0)) < 0 or last >= len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides).copy()


def _unpickled(file: IO[bytes]) -> Any:
    return _TensorUnpickler(file, encoding="utf-8").load()


class _TensorUnpickler(pickle.Unpickler):
    """Knows the names that tensors are made of, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no tensor needs")

    def persistent_load(self, persistent_id: Any) -> _Storage:
        _, dtype, key, *_ = persistent_id
        return _Storage(str(key), np.dtype(dtype))


def _rebuilt(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
