"""The `bouquet` command. Each subcommand imports what it needs when it runs, so that --help is quick.

What belongs to the model is dispatched by dotted name: the front end never imports it.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_ENTRY_POINTS = {
    "worker": ("app.running:worker", "run one worker alone"),
    "train": ("model.train:main", "train a model on photos and write a bundle"),
    "evaluate": ("model.evaluate:main", "score a bundle against photos"),
    "bundle": ("model.bundle_command:main", "sign a bundle, or check it and its signature"),
    "bench": ("benchmarks.__main__:main", "run the benchmarks (from a checkout of the source)"),
}
"""Commands whose arguments, --help included, are read by the function that is named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 failed, 2 wrong options."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command in _ENTRY_POINTS:
        return _compute(command, _ENTRY_POINTS[command][0], rest)
    if command == "generate" and not any(word.split("=")[0] == "--server" for word in rest):
        return _compute(command, "model.generate:main", rest)
    options = _parser().parse_args(arguments)
    return _run(options.command, options.entry_point, options)


def _compute(command: str, entry_point: str, arguments: Sequence[str]) -> int:
    """Run a command that needs the model's libraries, after a look at whether they are there."""
    from app.libraries import missing_libraries

    if not {"-h", "--help"} & set(arguments) and (problem := missing_libraries()) is not None:
        hint = " Or name a server that has it: --server URL." if command == "generate" else ""
        return _fail(command, problem + hint)
    try:
        return _run(command, entry_point, arguments)
    except ModuleNotFoundError as error:
        library = (error.name or "").split(".")[0]
        if library == "benchmarks":
            return _fail(command, "The benchmarks are not installed with Bouquet; run them from a checkout of it.")
        if library in ("app", "model", "worker"):
            raise
        return _fail(command, f"The library {library} is missing. Install it with pip install 'bouquet[train]'.")


def _run(command: str, entry_point: str, argument: object) -> int:
    """Call `module:function` with the options; tell foreseen errors in a line."""
    from app.command_error import CommandError
    from app.settings import SettingsError
    from worker.store import StoreError

    module, _, name = entry_point.partition(":")
    run: Callable[[object], int] = getattr(importlib.import_module(module), name)
    try:
        return run(argument)
    except (CommandError, SettingsError, StoreError) as error:
        return _fail(command, error)
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells have it


def _fail(command: str, problem: object) -> int:
    print(f"bouquet {command}: {problem}", file=sys.stderr)
    return 1


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    """Return a reader of integers within bounds, both included."""

    def read(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {lowest} to {highest}")
        return int(text)

    return read


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(f"bouquet {version('bouquet')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bouquet",
        description="Flowers out of noise. `bouquet serve` starts everything.",
        epilog="`bouquet COMMAND --help` explains a command; docs/settings.md lists the BOUQUET_* variables.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND", required=True)

    def add(name: str, entry_point: str, summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=f"{summary}.", allow_abbrev=False)
        added.set_defaults(entry_point=entry_point)
        return added

    serve = add("serve", "app.running:serve", "run API, workers and an embedded Valkey; Ctrl-C stops all of it")
    api = add("api", "app.running:api", "run the HTTP API alone")
    redis = add("redis", "app.running:embedded_redis", "run the embedded Valkey alone, and tell its URL")
    for command in (serve, api, redis):
        command.add_argument("--home", metavar="DIR", help="folder of queue and images (BOUQUET_HOME, ./.bouquet)")
    for command in (serve, api):
        command.add_argument("--host", metavar="HOST", help="address to listen on (BOUQUET_HOST, 127.0.0.1)")
        command.add_argument(
            "--port",
            metavar="PORT",
            type=_integer(0, 65535),
            help="port to listen on, 0 takes a free one (BOUQUET_PORT, 8000)",
        )
    serve.add_argument("--workers", metavar="N", type=_integer(0, 1024), help="worker processes (BOUQUET_WORKERS, 1)")
    serve.add_argument(
        "--api-processes", metavar="N", type=_integer(1, 64), help="processes of the API (BOUQUET_API_PROCESSES, 1)"
    )
    api.add_argument("--figures", type=Path, help=argparse.SUPPRESS)  # where those that share a port count together
    api.add_argument("--listener", type=_integer(3, 2**20), help=argparse.SUPPRESS)  # what `bouquet serve` opened

    generate = add("generate", "app.remote:generate", "make flowers, in this process or on a server (--server URL)")
    morph = add("morph", "app.remote:morph", "fetch the way from one flower to another, animated, from a server")
    for command in (generate, morph):
        command.add_argument("--server", metavar="URL", required=True, help="the server to ask")
        command.add_argument("--api-key", metavar="KEY", help="for a server that wants one")
        command.add_argument("--steps", metavar="N", type=_integer(1, 1000), default=20, help="denoising steps (20)")
        command.add_argument("--sampler", choices=("ddim", "multistep"), default="ddim", help="kind of steps (ddim)")
        command.add_argument(
            "--kind",
            metavar="NAME",
            help="kind of flower, such as sunflower (as each seed decides); GET /model lists all",
        )
    generate.add_argument("--seed", metavar="N", type=_integer(0, 2**53 - 1), default=0, help="of the first image (0)")
    generate.add_argument(
        "--count", metavar="N", type=_integer(1, 10**6), default=1, help="images, k with seed + k (1)"
    )
    generate.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("flower.png"),
        help="where to (flower.png); several images, up to 64, go to flower-SEED.png",
    )
    generate.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="for any number of images: a folder, of PNG files and a CSV file, or one FILE.npz; "
        "run again, it goes on where it was",
    )
    morph.add_argument("seed", metavar="SEED", type=_integer(0, 2**53 - 1), help="of the first flower")
    morph.add_argument("toward", metavar="TOWARD", type=_integer(0, 2**53 - 1), help="seed of the last flower")
    morph.add_argument("--frames", metavar="N", type=_integer(2, 64), default=16, help="images, both included (16)")
    morph.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=Path("morph.webp"), help="where to (morph.webp)"
    )
    for name, (_, summary) in _ENTRY_POINTS.items():
        commands.add_parser(name, help=summary, add_help=False)  # for the list of commands alone: see main
    return parser
