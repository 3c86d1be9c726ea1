"""`docker/verify`: builds, checks and runs both images, and validates the compose files."""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from verification import compose, images, service
from verification.builder import Builder, missing_commands
from verification.report import Report

_COMMANDS = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "npm": "npm",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
"""What is needed, and Debian's package that has it."""

_MODEL = ("jax", "jaxlib", "keras", "numpy", "pillow", "pil", "tensorflow", "tensorflow_cpu", "torch")
_TRAINING = ("matplotlib", "tensorflow_datasets", "pytest", "moto")


def main() -> int:
    """Exit code 0 if everything holds."""
    parser = argparse.ArgumentParser(prog="docker/verify", description=__doc__)
    parser.add_argument("--work", type=Path, help="keep what is downloaded and built in this folder (some 8 GB)")
    parser.add_argument("--suite", default="bookworm", help="Debian's release for the base (default: bookworm)")
    parser.add_argument("--only", choices=["compose", "images"], help="a part of it")
    options = parser.parse_args()
    needed = {} if options.only == "compose" else _COMMANDS
    if missing := missing_commands(list(needed)):
        print(f"docker/verify: apt-get install {' '.join(sorted({needed[command] for command in missing}))}")
        return 2
    if needed and os.geteuid() != 0:
        print("docker/verify: making a base and entering an image needs root.")
        return 2
    folder = options.work or Path(tempfile.mkdtemp(prefix="bouquet-verify-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = Report()
    try:
        if options.only != "images":
            report.check("the compose files follow the specification", lambda: compose.check_schema(folder / "compose"))
            report.check("Docker Compose reads them", lambda: compose.check_with_compose(folder / "compose"))
        if options.only != "compose":
            _images(report, folder.absolute(), options.suite, keep=options.work is not None)
    finally:
        if options.work is None:
            shutil.rmtree(folder, ignore_errors=True)
    return report.verdict()


def _images(report: Report, folder: Path, suite: str, *, keep: bool) -> None:
    builder = Builder(folder)
    version = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    arguments = {"VERSION": version, "REVISION": revision or "unknown"}
    base = "localhost/bouquet-base"
    try:
        if not report.check(f"a base of Debian {suite} with Python", lambda: builder.make_base(suite, base)):
            return
        base_size = images.size(builder.mount(base))
        built = {}
        plans: tuple[tuple[str, dict[str, str], int | None, tuple[str, ...]], ...] = (
            ("api", {}, images.API_LIMIT, _MODEL + _TRAINING),
            ("worker", {"DEVICE": "cpu"}, None, _TRAINING),
        )
        for target, more, limit, strangers in plans:
            tag = f"localhost/bouquet-{target}"
            build = functools.partial(builder.build, target, tag, base, arguments | more)
            if not report.check(f"the {target} image is built", build):
                return
            root, configuration = builder.mount(tag), builder.configuration(tag)
            built[target] = (root, configuration)
            for what, check in (
                ("size", functools.partial(images.check_size, root, base_size, limit)),
                ("what it says", functools.partial(images.check_configuration, configuration, version)),
                ("what is in it", functools.partial(images.check_contents, root, without=strangers)),
            ):
                report.check(f"{target}: {what}", check)
        service.try_service(report, folder / "service", built["api"], built["worker"])
    finally:
        builder.close(keep=keep)


if __name__ == "__main__":
    sys.exit(main())
