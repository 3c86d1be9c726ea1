"""What a worker that can be given jobs says of itself."""

from __future__ import annotations

import dataclasses
import json

from worker.protocol.checks import ProtocolError, check_fields, check_integer, check_number, check_text


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerReadiness:
    """What a worker says of itself at `worker_ready_key` once it has loaded its bundle and warmed up.

    `image_steps_per_second` is the measured rate of the network at full slots.
    """

    revision: str
    slots: int
    image_steps_per_second: float

    def to_json(self) -> str:
        """The JSON text at `worker_ready_key`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkerReadiness:
        """Reads what `to_json` wrote. Raises ProtocolError for anything else."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ProtocolError("readiness", "is not JSON") from error
        fields = check_fields("readiness", value, {"revision", "slots", "image_steps_per_second"})
        return cls(
            check_text("revision", fields["revision"]),
            check_integer("slots", fields["slots"], 1, 2**31),
            check_number("image_steps_per_second", fields["image_steps_per_second"]),
        )
