"""What lives as long as the front end does; the lifespan makes it, handlers find it in `request.state`."""

from __future__ import annotations

import dataclasses

from app.event_hub import EventHub
from app.metrics import Exposition, FrontEndMetrics
from app.queue_load import LoadMeter
from app.service import FlowerService
from app.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The parts that handlers use."""

    settings: Settings
    service: FlowerService
    meter: LoadMeter
    hub: EventHub
    metrics: FrontEndMetrics
    exposition: Exposition
