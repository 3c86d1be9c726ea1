"""A machine in figures: what is written is read, and what cannot be used is named."""

from pathlib import Path

import pytest

from benchmarks.simulation_hardware import Hardware, HardwareError, read_step_seconds, write_step_seconds

MACHINE = Hardware("two cores", {8: 0.08, 1: 0.012}, (1, 4), tick_overhead=0.004, job_delay=0.01)


def test_what_is_written_is_read() -> None:
    assert Hardware.from_json(MACHINE.to_json()) == MACHINE


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text('{"name": "gpu", "step_seconds": {"64": 0.0004}}')
    assert Hardware.read(tmp_path / "machine.json") == Hardware("gpu", {64: 0.0004})


def test_what_it_does_at_most() -> None:
    assert MACHINE.slot_counts == (1, 8)
    assert MACHINE.image_steps_per_second == pytest.approx(8 / (0.08 + 0.004 / 4))
    assert MACHINE.tick_seconds(8, 4) == pytest.approx(4 * 0.08 + 0.004)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON|not a description"),
        ("[]", "not a description"),
        ('{"step_seconds": {"1": 1}}', "name"),
        ('{"name": "x", "step_seconds": {}}', "step_seconds"),
        ('{"name": "x", "step_seconds": {"0": 1}}', "step_seconds"),
        ('{"name": "x", "step_seconds": {"1": 0}}', "step_seconds"),
        ('{"name": "x", "step_seconds": {"1": 1}, "step_counts": [2]}', "step_counts"),
        ('{"name": "x", "step_seconds": {"1": 1}, "job_delay": -1}', "job_delay"),
        ('{"name": "x", "step_seconds": {"1": 1}, "cores": 2}', "cores"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, named: str) -> None:
    with pytest.raises(HardwareError, match=named):
        Hardware.from_json(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match=r"nowhere\.json"):
        Hardware.read(tmp_path / "nowhere.json")


def test_step_seconds_go_through_a_command_line() -> None:
    assert read_step_seconds(write_step_seconds(MACHINE.step_seconds)) == MACHINE.step_seconds
