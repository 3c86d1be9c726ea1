"""How fast a worker's machine is, in figures: what a simulation needs to know of it. Read from JSON, written as JSON.

{"name": "2 CPU cores", "step_seconds": {"1": 0.013, "2": 0.023, "4": 0.043, "8": 0.082},
 "step_counts": [1], "tick_overhead": 0.0006, "job_delay": 0.01}
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class HardwareError(ValueError):
    """The description of a machine cannot be used; the text names the field."""


@dataclasses.dataclass(frozen=True)
class Hardware:
    """A worker's machine. All times are in seconds."""

    name: str
    step_seconds: Mapping[int, float]
    """Slot count -> time of one step of the batch; the slot counts are those that a worker compiles."""
    step_counts: tuple[int, ...] = (1,)
    """The numbers of steps that a tick may have."""
    tick_overhead: float = 0.0
    """Time from a tick's end to the next one's begin."""
    job_delay: float = 0.0
    """What a job takes beside its ticks: on its way in, and to be encoded, stored and booked. Takes up no slot."""

    def __post_init__(self) -> None:
        if not self.step_seconds or min(self.step_seconds) < 1 or min(self.step_seconds.values()) <= 0:
            raise HardwareError(
                f"step_seconds: needs slot counts of 1 or more with positive times: {self.step_seconds}"
            )
        if 1 not in self.step_counts or min(self.step_counts) < 1:
            raise HardwareError(f"step_counts: 1 must be the least of them: {self.step_counts}")
        if min(self.tick_overhead, self.job_delay) < 0:
            raise HardwareError("tick_overhead, job_delay: must be 0 or more")

    @property
    def slot_counts(self) -> tuple[int, ...]:
        return tuple(sorted(self.step_seconds))

    @property
    def slots(self) -> int:
        return max(self.step_seconds)

    @property
    def image_steps_per_second(self) -> float:
        """With all slots taken, for as long as possible a tick: what a worker can do at most."""
        return self.slots / (self.step_seconds[self.slots] + self.tick_overhead / max(self.step_counts))

    def seconds(self, slot_count: int) -> float:
        """Time of a step; as `Scheduler` and `Engine.step_seconds` have it."""
        return self.step_seconds[slot_count]

    def tick_seconds(self, slot_count: int, steps: int) -> float:
        """Time from a tick's begin to the begin of the next."""
        return self.step_seconds[slot_count] * steps + self.tick_overhead

    def to_json(self) -> str:
        fields = dataclasses.asdict(self) | {"step_seconds": {str(n): s for n, s in sorted(self.step_seconds.items())}}
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Hardware:
        """Reads what `to_json` wrote. Raises HardwareError."""
        try:
            fields = json.loads(text)
            known = {field.name for field in dataclasses.fields(cls)}
            if unknown := sorted(fields.keys() - known):
                raise HardwareError(f"{unknown[0]}: is not one of {', '.join(sorted(known))}")
            return cls(**_typed(fields))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise HardwareError(f"not a description of a machine: {error}") from error

    @classmethod
    def read(cls, path: Path) -> Hardware:
        """Reads a file. Raises HardwareError, also if there is none."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise HardwareError(f"cannot read {path}: {error.strerror}") from error


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    typed = dict(fields)
    typed["name"] = str(fields["name"])
    typed["step_seconds"] = {int(slots): float(seconds) for slots, seconds in fields["step_seconds"].items()}
    if "step_counts" in fields:
        typed["step_counts"] = tuple(int(count) for count in fields["step_counts"])
    for name in ("tick_overhead", "job_delay"):
        if name in fields:
            typed[name] = float(fields[name])
    return typed


def read_step_seconds(text: str) -> dict[int, float]:
    """Reads `SLOTS=SECONDS,...`. Raises HardwareError."""
    try:
        pairs = (pair.split("=") for pair in text.split(","))
        return {int(slots): float(seconds) for slots, seconds in pairs}
    except ValueError as error:
        raise HardwareError(f"not SLOTS=SECONDS,...: {error}") from error


def write_step_seconds(step_seconds: Mapping[int, float]) -> str:
    """Writes what `read_step_seconds` reads."""
    return ",".join(f"{slots}={seconds!r}" for slots, seconds in step_seconds.items())
