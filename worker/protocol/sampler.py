"""The samplers, by the names that requests and images give them."""

from __future__ import annotations

from typing import Final, Literal, get_args

from worker.protocol.checks import ProtocolError

SamplerName = Literal["ddim", "multistep"]
"""How the steps of an image follow from one another; the first is what a request without a word on it means."""

SAMPLERS: Final[tuple[SamplerName, ...]] = get_args(SamplerName)


def check_sampler(value: object) -> None:
    """Raises ProtocolError unless it is one of SAMPLERS."""
    if value not in SAMPLERS:
        raise ProtocolError("sampler", f"must be one of {', '.join(SAMPLERS)}, not {value!r}")
