"""The thread that keeps the leases alive while the worker works, and lets them go when it hangs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

import redis

log = logging.getLogger(__name__)

HUNG_EXIT_CODE: Final = 70
"""How a worker that hangs ends itself (EX_SOFTWARE of sysexits.h)."""


class LeaseKeeper:
    """Beats every `beat` seconds as long as the worker makes progress.

    The worker calls `pulse` whenever it has got somewhere. If it does not for `stall` seconds, the beats stop, so that
    its leases lapse and others take its jobs over; if it still does not when they have lapsed, the process ends.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        *,
        beat_seconds: float,
        lease_seconds: float,
        stall_seconds: float,
        end_process: Callable[[int], None] = os._exit,
    ) -> None:
        """Prepares the thread.

        Args:
            beat: renews everything; called from the thread. A RedisError is waited out.
            beat_seconds: seconds between beats.
            lease_seconds: how long a lease lives after the last beat.
            stall_seconds: how long the worker may go without a pulse.
            end_process: what to do with a process that hangs, given an exit code.
        """
        self._beat = beat
        self._beat_seconds = beat_seconds
        self._lease_seconds = lease_seconds
        self._stall_seconds = stall_seconds
        self._end_process = end_process
        self._pulse = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self.pulse()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, waiting for a beat that is on its way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._lease_seconds)

    def pulse(self) -> None:
        """Says that the worker has got somewhere. Costs nothing."""
        self._pulse = time.monotonic()

    def _run(self) -> None:
        stalled = False
        began = time.monotonic()
        # A beat that was held up renewed the leases from when it began: the next one must not wait.
        while not self._stop.wait(max(0.0, began + self._beat_seconds - time.monotonic())):
            began = time.monotonic()
            silent = time.monotonic() - self._pulse
            if silent < self._stall_seconds:
                stalled = False
                self._beat_once()
            elif silent > self._stall_seconds + 2 * self._lease_seconds:
                log.critical("no progress for %.0f s and the leases have lapsed: this worker ends itself", silent)
                logging.shutdown()
                self._end_process(HUNG_EXIT_CODE)
                return
            elif not stalled:
                stalled = True
                log.error("no progress for %.0f s: the leases are left to lapse, others take the jobs over", silent)

    def _beat_once(self) -> None:
        try:
            self._beat()
        except redis.RedisError as error:
            log.warning("cannot renew the leases: %s", error)
        except Exception:
            log.exception("a beat failed")
