"""`bouquet serve`: embedded Valkey, workers and API as child processes of one supervisor.

Order of start: Valkey until it answers, then API and workers together. Order of stop: the API stops accepting, the
workers drain, Valkey last. A part that dies is started again, later each time it dies soon.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.common_figures import forget_present_state
from app.console import Console
from app.listener import local_address, local_url
from app.part import Part, describe_exit
from app.settings import Settings
from app.tether import Tether
from app.valkey import EmbeddedValkey, ValkeyError

API_GRACE_SECONDS = 10.0
VALKEY_GRACE_SECONDS = 15.0
_DRAIN_MARGIN_SECONDS = 10.0  # for a worker to give its jobs back once its drain limit is over
_UNUSABLE = 2  # a part's exit code for settings or a bundle that cannot be used: starting it again cannot help
_SHORTEST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_STEADY_SECONDS = 60.0  # a part that was up for so long is started again without delay to speak of
_PROBE_SECONDS = 0.2
_REMINDER_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """What to run. `settings.home` is absolute, the home prepared and, for an embedded queue, locked."""

    settings: Settings
    listeners: Sequence[socket.socket]
    """One for each process of the API, all on one port."""
    redis_url: str
    valkey: EmbeddedValkey | None
    tether: Tether
    figures: Path | None = None
    """The folder in which several processes of the API count together; None for one process."""

    def environment(self) -> dict[str, str]:
        """The children's environment: this one's, with what the command line and the defaults made of it."""
        host, port = self.listeners[0].getsockname()[:2]
        return os.environ | {
            "BOUQUET_HOME": str(self.settings.home),
            "BOUQUET_REDIS_URL": self.redis_url,
            "BOUQUET_HOST": host,
            "BOUQUET_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        }


class Supervisor:
    """Runs a plan until SIGINT, SIGTERM or SIGHUP. A second SIGINT forces the parts."""

    def __init__(self, plan: Plan, console: Console | None = None) -> None:
        self._plan = plan
        worker_names = [f"worker-{number}" for number in range(1, plan.settings.workers + 1)]
        processes = plan.settings.api_processes
        api_names = ["api"] if processes == 1 else [f"api-{number}" for number in range(1, processes + 1)]
        names = ["bouquet", "valkey", *api_names, *worker_names]
        self._console = console or Console(sys.stdout, names, as_json=plan.settings.log_format == "json")
        environment = plan.environment()
        self._apis = [
            self._api(name, listener.fileno(), environment)
            for name, listener in zip(api_names, plan.listeners, strict=True)
        ]
        self._workers = [self._part(name, ["-m", "worker"], environment) for name in worker_names]
        self._valkey: Part | None = None
        self._valkey_log_offset = 0
        if (valkey := plan.valkey) is not None:
            self._valkey = Part("valkey", lambda: self._launch_valkey(valkey), self._console)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ready = False
        self._exit_code = 0
        self._keepers: list[asyncio.Task[None]] = []

    def _api(self, name: str, listener: int, environment: Mapping[str, str]) -> Part:
        command = ["-m", "app", "api", "--listener", str(listener)]
        if self._plan.figures is not None:
            command += ["--figures", str(self._plan.figures)]
        return self._part(name, command, environment, [listener])

    def _part(self, name: str, command: Sequence[str], env: Mapping[str, str], fds: Sequence[int] = ()) -> Part:
        def launch() -> "subprocess.Popen[bytes]":
            return subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=fds,
                # A terminal sends Ctrl-C to its whole foreground group; the parts are stopped in order instead.
                start_new_session=True,
                # The queue survives this, and a job's lease runs out by itself: no reason to be gentle.
                preexec_fn=self._plan.tether.in_child(signal.SIGKILL),
            )

        return Part(name, launch, self._console)

    def _launch_valkey(self, valkey: EmbeddedValkey) -> "subprocess.Popen[bytes]":
        log = valkey.log_path
        self._valkey_log_offset = log.stat().st_size if log.exists() else 0
        return valkey.spawn(stdout=subprocess.PIPE)

    def _say(self, text: str) -> None:
        self._console.line("bouquet", text)

    async def run(self) -> int:
        """Start everything, keep it running, stop everything; return the exit code for the shell."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._check_parts)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._request_stop, number)
        queue = "an embedded Valkey" if self._valkey is not None else "the queue of BOUQUET_REDIS_URL"
        workers = f"{len(self._workers)} worker{'' if len(self._workers) == 1 else 's'}"
        api = "the API" if len(self._apis) == 1 else f"{len(self._apis)} processes of the API"
        self._say(f"starting {workers} and {api} on {queue}; home {self._plan.settings.home}")
        try:
            if await self._start_valkey():
                for part in [*self._apis, *self._workers]:
                    self._start(part)
                self._watch(asyncio.create_task(self._announce()))
                await self._stopping.wait()
        finally:
            await self._stop_all()
        return self._exit_code

    @property
    def _parts(self) -> list[Part]:
        return [*([self._valkey] if self._valkey is not None else []), *self._apis, *self._workers]

    def _check_parts(self) -> None:
        for part in self._parts:
            process_id = part.process_id
            part.check()
            if process_id is not None and part.process_id is None:
                self._plan.tether.release(process_id)
                if part in self._apis and self._plan.figures is not None:
                    forget_present_state(self._plan.figures, process_id)

    def _request_stop(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            if number == signal.SIGINT:
                self._hurry.set()
            return
        self._say(f"{number.name}: stopping (Ctrl-C again forces it)")
        self._stopping.set()

    # --- starting ---

    async def _start_valkey(self) -> bool:
        """Start the embedded Valkey, if there is to be one, and wait until it answers. Returns whether to go on."""
        if self._valkey is None or self._plan.valkey is None:
            return True
        try:
            self._begin(self._valkey)
        except (ValkeyError, OSError) as error:
            return self._give_up(str(error))
        while not self._plan.valkey.is_ready():  # A long file takes long to load: no limit but its life.
            if self._stopping.is_set():
                return False
            if self._valkey.process_id is None:
                self._explain_valkey(await self._valkey.ended())
                return self._give_up(
                    f"The queue in {self._plan.valkey.queue_folder} cannot be served. The lines above say why; "
                    "a damaged file can be moved away (its jobs are then lost, the images are not)."
                )
            await asyncio.sleep(0.01)
        _forget_former_workers(self._plan.redis_url)
        self._keep(self._valkey)
        return True

    def _give_up(self, reason: str) -> bool:
        for line in reason.splitlines():
            self._say(line)
        self._exit_code = 1
        self._stopping.set()
        return False

    def _start(self, part: Part) -> None:
        self._begin(part)
        self._keep(part)

    def _begin(self, part: Part) -> None:
        part.start()
        self._say(f"{part.name} is process {part.process_id}")

    # --- keeping ---

    def _keep(self, part: Part) -> None:
        self._watch(asyncio.create_task(self._restart_for_ever(part), name=part.name))

    def _watch(self, keeper: asyncio.Task[None]) -> None:
        """Stop, and show the fault at the end, if a keeper breaks: parts that nobody keeps must not go on."""
        keeper.add_done_callback(lambda task: self._stopping.set() if task.exception() is not None else None)
        self._keepers.append(keeper)

    async def _restart_for_ever(self, part: Part) -> None:
        delay = _SHORTEST_DELAY_SECONDS
        while True:
            code = await part.ended()
            if self._stopping.is_set():
                return
            if part is self._valkey:
                self._explain_valkey(code)
            if code == _UNUSABLE and not self._ready:
                self._give_up(f"{part.name} cannot start; its lines above say what to change")
                return
            if part.seconds_up >= _STEADY_SECONDS:
                delay = _SHORTEST_DELAY_SECONDS
            self._say(f"{part.name} ended ({describe_exit(code)}); starting it again in {delay:g} s")
            while True:
                if await self._stopped_within(delay):
                    return
                delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
                try:
                    self._begin(part)
                    break
                except (ValkeyError, OSError) as error:
                    self._say(f"{part.name} cannot be started ({error}); trying again in {delay:g} s")

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _explain_valkey(self, code: int) -> None:
        if self._plan.valkey is not None and code != 0:
            for line in self._plan.valkey.log_since(self._valkey_log_offset).splitlines():
                self._console.line("valkey", line)

    # --- telling ---

    async def _announce(self) -> None:
        """Say when the service can be used: not before a worker has loaded its bundle and run a warm-up."""
        loop = asyncio.get_running_loop()
        url, began = local_url(self._plan.listeners[0]), loop.time()
        while await self._probe("/health/live") != 200:
            if await self._stopped_within(_PROBE_SECONDS):
                return
        wait = (
            "the model is warming up" if self._workers else "no worker was asked for: start one with `bouquet worker`"
        )
        self._say(f"the API answers at {url} after {loop.time() - began:.1f} s; {wait}")
        remind_at = loop.time() + _REMINDER_SECONDS
        while await self._probe("/health/ready") != 200:
            if loop.time() > remind_at:
                self._say(f"still not ready; {url}/health/ready says what is missing")
                remind_at += _REMINDER_SECONDS
            if await self._stopped_within(_PROBE_SECONDS):
                return
        self._ready = True
        self._say(f"ready after {loop.time() - began:.1f} s: {url} (Ctrl-C stops everything)")

    async def _probe(self, path: str) -> int:
        """Return the status of a GET, 0 for no answer."""
        host, port = local_address(self._plan.listeners[0])
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(request.encode())
                    return int((await reader.readline()).split()[1])
                finally:
                    writer.close()
        except (OSError, TimeoutError, IndexError, ValueError):
            return 0

    # --- stopping ---

    async def _stop_all(self) -> None:
        self._stopping.set()
        for listener in self._plan.listeners:  # The API holds its own; once those are closed too, nobody waits.
            listener.close()
        await self._stop("api", self._apis, API_GRACE_SECONDS)
        drain = self._plan.settings.drain_seconds + _DRAIN_MARGIN_SECONDS
        await self._stop("workers", self._workers, drain)
        if self._valkey is not None and self._plan.valkey is not None:
            await self._stop("valkey", [self._valkey], VALKEY_GRACE_SECONDS)
            self._plan.valkey.clean_up()
        await asyncio.gather(*self._keepers)
        self._say("all parts have ended")

    async def _stop(self, what: str, parts: Sequence[Part], grace_seconds: float) -> None:
        running = [part for part in parts if part.process_id is not None]
        if running:
            self._say(f"stopping {what}")
            stops: list[Awaitable[int | None]] = [part.stop(grace_seconds, self._hurry) for part in running]
            await asyncio.gather(*stops)


def _forget_former_workers(redis_url: str) -> None:
    """Remove what workers of an earlier run said of themselves: their word outlives a kill by some seconds.

    All workers of an embedded queue that has just started are still to come, and say it again once it is true.
    """
    import redis  # here, since `bouquet --help` has no use for it

    from worker.protocol import MODEL_KEY, READY_KEY_PATTERN

    with redis.Redis.from_url(redis_url) as client:
        stale: list[bytes | str] = [*client.scan_iter(READY_KEY_PATTERN), MODEL_KEY]
        client.delete(*stale)


def run(plan: Plan) -> int:
    """Run the supervisor in this process' main thread; return the exit code."""

    async def main() -> int:
        return await Supervisor(plan).run()

    return asyncio.run(main())
