"""Which GPUs `--devices` means, with and without CUDA_VISIBLE_DEVICES; and what the driver's list says."""

import os
import stat
from pathlib import Path

import pytest

from worker.devices import DevicesError, choose_devices, listed_devices, parse_list

LIST = """\
GPU 0: NVIDIA H200 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000000)
  MIG 3g.20gb     Device  0: (UUID: MIG-33333333-aaaa-bbbb-cccc-000000000000)
  MIG 3g.20gb     Device  1: (UUID: MIG-44444444-aaaa-bbbb-cccc-000000000000)
"""
DEVICES = [
    "GPU-11111111-aaaa-bbbb-cccc-000000000000",
    "MIG-33333333-aaaa-bbbb-cccc-000000000000",
    "MIG-44444444-aaaa-bbbb-cccc-000000000000",
]


def put_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program in the driver's place, since there may be no GPU here."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_the_drivers_list_is_read_with_divided_gpus_part_by_part() -> None:
    assert parse_list(LIST) == DEVICES
    assert parse_list("") == []
    assert parse_list("No devices were found\n") == []


def test_all_are_those_that_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_driver(tmp_path, monkeypatch, f"test \"$1\" = -L && cat <<'END'\n{LIST}END")
    assert choose_devices("all", {}) == DEVICES


@pytest.mark.parametrize("script", ["exit 9", "echo No devices were found"])
def test_no_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    put_driver(tmp_path, monkeypatch, script)
    with pytest.raises(DevicesError, match="no GPU of NVIDIA was found"):
        choose_devices("all", {})


def test_no_driver_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert listed_devices() == []


def test_all_are_no_more_than_cuda_may_see() -> None:
    assert choose_devices("all", {"CUDA_VISIBLE_DEVICES": "2, 3"}) == ["2", "3"]
    assert choose_devices("all", {"CUDA_VISIBLE_DEVICES": "GPU-11,-1,5"}) == ["GPU-11"]
    for nothing in ("", "-1", "none"):
        with pytest.raises(DevicesError, match="CUDA_VISIBLE_DEVICES hides all"):
            choose_devices("all", {"CUDA_VISIBLE_DEVICES": nothing})


def test_numbers_count_what_cuda_may_see() -> None:
    assert choose_devices("0,1", {}) == ["0", "1"]
    assert choose_devices(" 1 , 0 ", {"CUDA_VISIBLE_DEVICES": "4,GPU-11,6"}) == ["GPU-11", "4"]
    assert choose_devices("MIG-33/1/0", {"CUDA_VISIBLE_DEVICES": "4"}) == ["MIG-33/1/0"]
    with pytest.raises(DevicesError, match="there is no GPU 2"):
        choose_devices("0,2", {"CUDA_VISIBLE_DEVICES": "4,6"})


@pytest.mark.parametrize("wanted", ["", "0,", "some", "-1", "0;1", "0.5", "GPU-", "1 2"])
def test_what_is_no_gpu_is_refused(wanted: str) -> None:
    with pytest.raises(DevicesError, match="is not a GPU; write all"):
        choose_devices(wanted, {})


def test_a_gpu_is_not_given_away_twice() -> None:
    with pytest.raises(DevicesError, match="twice"):
        choose_devices("0,1,0", {})
