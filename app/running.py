"""The commands that run the service: all of it (`bouquet serve`), or a part alone (`api`, `worker`, `redis`)."""

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from app.collector import spare_what_is_loaded
from app.command_error import CommandError
from app.common_figures import count_together
from app.home import HomeLock, prepare_home
from app.libraries import missing_libraries
from app.listener import local_url, open_listener, open_listeners
from app.settings import Settings
from app.tether import Tether
from app.valkey import EmbeddedValkey, ValkeyError, answers, socket_url, stop

_CONNECTION_GRACE_SECONDS = 5  # for requests that are being answered when the API stops; an integer for uvicorn
_QUEUE_ANSWER_SECONDS = 5.0


def serve(options: argparse.Namespace) -> int:
    """Run everything until Ctrl-C or SIGTERM."""
    settings = Settings.from_environ(
        home=options.home,
        host=options.host,
        port=options.port,
        workers=options.workers,
        api_processes=options.api_processes,
    )
    if settings.workers and (problem := missing_libraries()) is not None:
        raise CommandError(problem)
    from app.serve import Plan, run

    settings = settings.model_copy(update={"home": prepare_home(settings.home)})
    with contextlib.ExitStack() as stack:
        valkey = None
        tether = Tether()
        stack.callback(tether.close)
        if settings.redis_url is None:
            stack.enter_context(HomeLock(settings.home, "bouquet serve"))
            valkey = EmbeddedValkey(settings.home, tether)
            valkey.command()  # raises where there is none for this machine
        else:
            _check_queue(settings.redis_url)
        listeners = open_listeners(settings.host, settings.port, settings.api_processes)
        for listener in listeners:
            stack.callback(listener.close)
        figures = None
        if settings.api_processes > 1:
            figures = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bouquet-figures-")))
        url = settings.redis_url or socket_url(settings.home)
        return run(Plan(settings, listeners, url, valkey, tether, figures))


def api(options: argparse.Namespace) -> int:
    """Run the HTTP API alone.

    `--listener` is the number of a socket that `bouquet serve` opened, `--figures` the folder in which all the API's
    processes on that socket count what they do.
    """
    settings = Settings.from_environ(home=options.home, host=options.host, port=options.port)
    if options.figures is not None:
        count_together(options.figures)
    import uvicorn

    from app.file_limit import raise_file_limit
    from app.http_protocol import GuardedProtocol
    from app.logs import set_up_logging
    from app.main import create_app

    class Server(uvicorn.Server):
        """Ends event streams when it is told to stop: it waits for all answers, and theirs may be hours long."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.hang_up()
            await super().shutdown(sockets)

    set_up_logging(settings.log_level, settings.log_format)
    raise_file_limit()
    app = create_app(settings, options.figures)

    if options.listener is not None:
        listener = socket.socket(fileno=options.listener)
    else:
        listener = open_listener(settings.host, settings.port)
        if settings.log_format == "json":
            logging.getLogger("bouquet.api").info("listening on %s", local_url(listener))
        else:
            print(f"bouquet api: listening on {local_url(listener)}", flush=True)
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        log_config=None,
        access_log=False,  # app/access.py writes it
        timeout_graceful_shutdown=_CONNECTION_GRACE_SECONDS,
        server_header=False,
    )
    # uvicorn stops in order on these and raises them again afterwards, when they should end nothing more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    spare_what_is_loaded()
    with listener:
        server = Server(config)
        server.run(sockets=[listener])
    return 0 if server.started else 1


def worker(arguments: Sequence[str]) -> NoReturn:
    """Run one worker alone; worker/__main__.py reads the arguments. Without a URL it takes the home's own queue."""
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--home", "--redis-url"):
        ours.add_argument(option)
    given, others = ours.parse_known_args(arguments)
    settings = Settings.from_environ(home=given.home, redis_url=given.redis_url)
    if settings.redis_url is None and not {"-h", "--help"} & set(others):
        if not answers(settings.home):
            raise CommandError(
                f"No queue answers in {settings.home}. Start `bouquet redis` or `bouquet serve` with the same --home "
                "first, or set BOUQUET_REDIS_URL."
            )
        os.environ["BOUQUET_REDIS_URL"] = socket_url(settings.home)
    # Instead of this process, as `bouquet serve` runs it: nothing of the front end stays in memory.
    os.execv(sys.executable, [sys.executable, "-m", "worker", *arguments])  # noqa: S606 (no shell is wanted)


def embedded_redis(options: argparse.Namespace) -> int:
    """Run the embedded Valkey alone, until Ctrl-C or SIGTERM."""
    home = prepare_home(Settings.from_environ(home=options.home).home)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    tether = Tether()
    server = EmbeddedValkey(home, tether)
    with HomeLock(home, "bouquet redis"), contextlib.closing(tether):
        log_length = server.log_path.stat().st_size if server.log_path.exists() else 0
        process = server.spawn()
        try:
            while not server.is_ready() and process.poll() is None:
                time.sleep(0.01)
            if process.returncode is None:
                print(f"bouquet redis: ready. BOUQUET_REDIS_URL={server.url}", flush=True)
                process.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stop(process)
            return 0
        finally:
            server.clean_up()
        print(server.log_since(log_length), file=sys.stderr, end="")
        raise ValkeyError(f"The server ended by itself (exit code {process.returncode}); its log above says why.")


def _check_queue(url: str) -> None:
    """Raise CommandError unless a server answers at BOUQUET_REDIS_URL."""
    import redis

    try:
        with redis.Redis.from_url(
            url, socket_timeout=_QUEUE_ANSWER_SECONDS, socket_connect_timeout=_QUEUE_ANSWER_SECONDS
        ) as connection:
            connection.ping()
    except (redis.RedisError, ValueError) as error:
        raise CommandError(
            f"The queue that BOUQUET_REDIS_URL names does not answer: {error}. Correct the URL, start that server, or "
            "unset BOUQUET_REDIS_URL to use the embedded Valkey."
        ) from error
