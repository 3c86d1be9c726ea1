"""Files as PyTorch wrote them before version 1.6, made here by hand; and others, of which nothing may be run."""

import collections
import io
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.torch_file import TorchFileError, read_tensors

MATRIX = np.arange(12, dtype=np.float32)
COUNT = np.array([7], dtype=np.int64)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """As much of PyTorch as pickle needs in order to name it."""
    package, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(package, name, type(name, (), {"__module__": "torch"}))
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", package)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return package


def _rebuild_tensor_v2(*_: Any) -> None: ...


_rebuild_tensor_v2.__module__ = "torch._utils"


class Stored:
    """Stands for a storage, which PyTorch's pickles only refer to."""

    def __init__(self, kind: type, key: str, count: int) -> None:
        self.id = ("storage", kind, key, "cpu", count, None)


class Tensor:
    def __init__(self, storage: Stored, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self._parts: tuple[Any, ...] = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self._parts


class Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value.id if isinstance(value, Stored) else None


def write(path: Path, tensors: dict[str, Any], storages: dict[str, np.ndarray[Any, Any]]) -> Path:
    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, file, protocol=2)
    Pickler(file, protocol=2).dump(collections.OrderedDict(tensors))
    pickle.dump(sorted(storages), file, protocol=2)
    for key in sorted(storages):
        file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    path.write_bytes(file.getvalue())
    return path


@pytest.fixture
def path(torch: types.ModuleType, tmp_path: Path) -> Path:
    floats, longs = Stored(torch.FloatStorage, "one", 12), Stored(torch.LongStorage, "two", 1)
    tensors = {
        "plain": Tensor(floats, 0, (3, 4), (4, 1)),
        "turned": Tensor(floats, 0, (4, 3), (1, 4)),
        "part": Tensor(floats, 5, (2, 2), (4, 1)),
        "count": Tensor(longs, 0, (), ()),
    }
    return write(tmp_path / "weights.pth", tensors, {"one": MATRIX, "two": COUNT})


def test_tensors_are_read_whatever_their_order_in_the_file(path: Path) -> None:
    tensors = read_tensors(path)
    np.testing.assert_array_equal(tensors["plain"], MATRIX.reshape(3, 4))
    np.testing.assert_array_equal(tensors["turned"], MATRIX.reshape(3, 4).T)
    np.testing.assert_array_equal(tensors["part"], [[5, 6], [9, 10]])
    assert tensors["count"] == 7
    assert tensors["count"].dtype == np.int64


def test_nothing_that_a_file_names_is_called(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    path = write(tmp_path / "weights.pth", {"plain": Harm()}, {})
    with pytest.raises(TorchFileError, match=r"names (posix|nt)\.mkdir, which no tensor needs"):
        read_tensors(path)
    assert not (tmp_path / "harm").exists()


def test_kinds_of_numbers_that_it_does_not_know_are_refused(torch: types.ModuleType, tmp_path: Path) -> None:
    half = Tensor(Stored(torch.HalfStorage, "one", 1), 0, (1,), (1,))
    with pytest.raises(TorchFileError, match=r"names torch\.HalfStorage"):
        read_tensors(write(tmp_path / "weights.pth", {"half": half}, {"one": MATRIX.astype(np.float16)}))


@pytest.mark.parametrize(("offset", "shape", "strides"), [(9, (2, 2), (4, 1)), (0, (13,), (1,)), (3, (2,), (-1,))])
def test_tensors_that_reach_beyond_their_storage_are_refused(
    torch: types.ModuleType, tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    tensor = Tensor(Stored(torch.FloatStorage, "one", 12), offset, shape, strides)
    with pytest.raises(TorchFileError, match="reaches beyond its storage"):
        read_tensors(write(tmp_path / "weights.pth", {"plain": tensor}, {"one": MATRIX}))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TorchFileError, match=r"weights\.pth"):
        read_tensors(path)


def test_another_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(TorchFileError, match="does not begin as such a file does"):
        read_tensors(path)
