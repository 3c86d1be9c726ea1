"""Resumable training state on disk: the last two checkpoints of a run, each whole and checked.

A checkpoint is a safetensors file: the tensors of ``TrainState`` and, as metadata, a JSON object of progress together
with a SHA-256 over both. Whoever reads it never trusts a file that a crash, a full disk or a bad sector has touched.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.atomic import write_atomically

KEPT = 2
"""Checkpoints kept, so that one is left when the newest turns out to be damaged."""

Groups = dict[str, list[npt.NDArray[Any]]]


class CheckpointError(Exception):
    """Training state could not be written, or none of what is there can be used."""


class Checkpoint(NamedTuple):
    """What ``save_checkpoint`` was given."""

    groups: Groups
    """Lists of tensors by name, such as ``weights``."""
    progress: dict[str, Any]
    """Whatever else a run needs in order to go on, JSON."""


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove those before the last ``KEPT``.

    Raises:
        CheckpointError: it could not be written; the ones before are untouched.
    """
    tensors = {
        f"{group}.{index:04d}": np.asarray(value, order="C")
        for group, values in checkpoint.groups.items()
        for index, value in enumerate(values)
    }
    progress = json.dumps(checkpoint.progress)
    path = folder / f"step-{step:09d}.safetensors"
    for half_written in folder.glob(".step-*"):  # by a process that was killed; they take room
        half_written.unlink(missing_ok=True)
    try:
        write_atomically(path, save(tensors, {"progress": progress, "sha256": _digest(progress, tensors)}))
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else os.strerror(error.errno or 0)
        raise CheckpointError(
            f"{path}: {reason}, so the training state of step {step} could not be saved. The checkpoint before it is "
            "untouched: make room and run the same command again to go on from there."
        ) from error
    for old in _paths(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, or None where there is none at all, and a warning for each one passed over.

    Raises:
        CheckpointError: there are checkpoints and all of them are damaged.
    """
    warnings: list[str] = []
    paths = _paths(folder)
    for path in paths:
        try:
            return _read(path), warnings
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            warnings.append(f"{path}: damaged ({error}); using the checkpoint before it")
    if paths:
        raise CheckpointError(f"{folder}: none of its checkpoints can be read; move them away to begin anew")
    return None, warnings


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if _digest(metadata["progress"], tensors) != metadata["sha256"]:
        raise ValueError("its content does not match its hash")
    groups: Groups = {}
    for name in sorted(tensors):
        groups.setdefault(name.rpartition(".")[0], []).append(tensors[name])
    return Checkpoint(groups, json.loads(metadata["progress"]))


def _paths(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _digest(progress: str, tensors: dict[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(progress.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
