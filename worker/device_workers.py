"""`bouquet worker --devices`: one worker process a GPU, started again when it dies, and stopped in order.

They know nothing of one another; what they share is the queue and the store, as workers on several hosts do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from worker.devices import VISIBLE

UNUSABLE_EXIT_CODE: Final = 2
"""How a worker ends whose settings or bundle cannot be used: starting it again cannot help."""

_SHORTEST_DELAY_SECONDS: Final = 1.0
_LONGEST_DELAY_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60.0
_GRACE_SECONDS: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class DeviceWorkers:
    """Runs a command once for each device, until it is told to stop."""

    def __init__(self, command: Sequence[str], name: str, devices: Sequence[str], drain_seconds: float) -> None:
        """Starts nothing.

        Args:
            command: of a worker, without its name.
            name: what the names of the workers begin with; `-gpu0` and so on follows.
            devices: as CUDA_VISIBLE_DEVICES has them.
            drain_seconds: how long a worker that is to stop may go on.
        """
        self._command = list(command)
        self._names = {device: f"{name}-gpu{number}" for number, device in enumerate(devices)}
        self._drain_seconds = drain_seconds
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Returns when all have ended: 0 if each did so in order, else the exit code of one that did not."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop)
        keepers = [asyncio.create_task(self._keep(device)) for device in self._names]
        guard = asyncio.create_task(self._force())
        codes = await asyncio.gather(*keepers)
        guard.cancel()
        return next((code if code > 0 else 128 - code for code in codes if code), 0)

    async def _force(self) -> None:
        """Ends those that do not end by themselves once they have been told to stop."""
        await self._stopping.wait()
        await asyncio.sleep(self._drain_seconds + _GRACE_SECONDS)
        self._say("not all workers ended in time; they are forced to")
        self._send(signal.SIGKILL)

    async def _keep(self, device: str) -> int:
        """Runs the worker of a device again and again; returns its last exit code (subprocess' convention)."""
        name, delay = self._names[device], _SHORTEST_DELAY_SECONDS
        while True:
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--name",
                name,
                env=os.environ | {VISIBLE: device},
                stdin=asyncio.subprocess.DEVNULL,
                preexec_fn=_die_with(os.getpid()),
            )
            self._processes[device] = process
            self._say(f"{name} is process {process.pid}, on {device}")
            if self._stopping.is_set():  # while it was being started
                process.terminate()
            code = await process.wait()
            del self._processes[device]
            if self._stopping.is_set() or code == 0:
                return code
            if code == UNUSABLE_EXIT_CODE:
                self._say(f"{name} cannot start; its lines above say what to change")
                self._stop()
                return code
            if time.monotonic() - began > _STEADY_SECONDS:
                delay = _SHORTEST_DELAY_SECONDS
            how = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            self._say(f"{name} has ended ({how}); it is started again in {delay:g} s")
            try:
                await asyncio.wait_for(self._stopping.wait(), delay)
            except TimeoutError:
                delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
            else:
                return 0

    def _stop(self) -> None:
        """Tells all to stop; once more, and they give back what they have."""
        self._stopping.set()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            process.send_signal(number)

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(f"bouquet worker: {text}\n")


def _die_with(parent: int) -> Callable[[], None]:
    """For a child to be: the kernel ends it when we are killed with no chance to say so. Its leases lapse then."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def tie() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:  # that was before the kernel was told
                os._exit(1)

    return tie
