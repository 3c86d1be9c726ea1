"""Which GPUs there are, found out without TensorFlow: it takes seconds, and would hold on to all of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
"""The variable that tells CUDA, and so every backend, which GPUs a process may use."""

_PATIENCE_SECONDS: Final = 30.0
_NAME = re.compile(r"[0-9]{1,4}|(?:GPU|MIG)-[0-9A-Za-z/-]+", re.ASCII)
_LISTED = re.compile(r"\s*(GPU|MIG) .*\(UUID: ((?:GPU|MIG)-[0-9A-Za-z/-]+)\)", re.ASCII)


class DevicesError(ValueError):
    """The devices that were asked for cannot be had. The message says why, and what to do."""


def choose_devices(wanted: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """The GPUs that `--devices` names, each as CUDA_VISIBLE_DEVICES has it.

    Args:
        wanted: `all`; or numbers or UUIDs, with commas between them. Numbers count the GPUs that this process may use.
        environ: the environment (that of the process).

    Raises:
        DevicesError: there is none, or not that one, or it is not clear which.
    """
    environ = os.environ if environ is None else environ
    visible = _visible(environ)
    if wanted.strip() == "all":
        found = listed_devices() if visible is None else visible
        if not found:
            raise DevicesError(
                "--devices all: no GPU of NVIDIA was found (nvidia-smi lists none, or CUDA_VISIBLE_DEVICES hides all). "
                "Check the driver; or leave --devices out for one worker on whatever there is, the CPU for example."
            )
        return found
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if not _NAME.fullmatch(name):
            raise DevicesError(f"--devices: {name!r} is not a GPU; write all, or numbers like 0,1, or UUIDs of GPUs.")
    chosen = [_among(name, visible) if visible is not None and name.isdecimal() else name for name in names]
    if len(set(chosen)) < len(chosen):
        raise DevicesError(f"--devices: {wanted} names a GPU twice; a worker wants one for itself.")
    return chosen


def listed_devices() -> list[str]:
    """The UUIDs of all GPUs, as the driver lists them; of one that is divided (MIG), those of its parts."""
    if (command := shutil.which("nvidia-smi")) is None:
        return []
    try:
        answer = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DevicesError(f"--devices all: nvidia-smi does not list the GPUs: {error}. Name them: 0,1.") from error
    return parse_list(answer.stdout) if answer.returncode == 0 else []


def parse_list(text: str) -> list[str]:
    """Reads what `nvidia-smi -L` prints."""
    devices: list[list[str]] = []
    for line in text.splitlines():
        if (match := _LISTED.match(line)) is None:
            continue
        if match[1] == "GPU":
            devices.append([match[2]])
        elif devices:
            devices[-1].append(match[2])
    return [name for device in devices for name in (device[1:] or device)]


def _visible(environ: Mapping[str, str]) -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES lets us use; None if it says nothing. It counts up to the first -1, as CUDA does."""
    if (text := environ.get(VISIBLE)) is None:
        return None
    names = [name.strip() for name in text.split(",")]
    end = next((place for place, name in enumerate(names) if not _NAME.fullmatch(name)), len(names))
    return names[:end]


def _among(number: str, visible: Sequence[str]) -> str:
    if int(number) >= len(visible):
        raise DevicesError(f"--devices: there is no GPU {number}; CUDA_VISIBLE_DEVICES leaves {len(visible)} of them.")
    return visible[int(number)]
