"""Images built by buildah, with chroot isolation and the vfs driver: neither daemon nor kernel module is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_NEEDLESS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/lib/apt/lists",
    "var/cache/apt",
)
"""What Debian's slim images leave out as well."""


class Builder:
    """Keeps its storage in a folder of its own, and takes it away with `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
        self._containers: list[str] = []

    def run(self, *arguments: str) -> str:
        """Returns buildah's answer. Raises CalledProcessError, after telling what it said."""
        command = ["buildah", *self._storage, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            print(done.stdout[-3000:], done.stderr[-5000:], sep="\n", file=sys.stderr)
            done.check_returncode()
        return done.stdout.strip()

    def make_base(self, suite: str, name: str) -> None:
        """A small Debian with Python, out of Debian's packages alone."""
        archive = self.folder / f"{suite}.tar"
        if not archive.exists():
            root = self.folder / "bootstrap"
            shutil.rmtree(root, ignore_errors=True)
            packages = "ca-certificates,python3,python3-venv"
            bootstrap = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root)]
            with (self.folder / "debootstrap.log").open("w") as log:
                subprocess.run(bootstrap, stdout=log, stderr=log, check=True)
            for place in _NEEDLESS:
                shutil.rmtree(root / place, ignore_errors=True)
                (root / place).mkdir(parents=True, exist_ok=True)
            subprocess.run(["tar", "-C", str(root), "--exclude=./dev/*", "-cf", str(archive), "."], check=True)
            shutil.rmtree(root)
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(archive), "/")
        self.run("commit", "--quiet", container, name)
        self.run("rm", container)

    def build(self, target: str, tag: str, base: str, arguments: dict[str, str]) -> None:
        """`docker build --target` of docker/Dockerfile in the working folder."""
        pip = pip_configuration()
        secret = self.folder / "pip.conf"
        secret.write_text(pip.text)
        options = [f"--build-arg={name}={value}" for name, value in ({"BASE": base} | arguments).items()]
        options += [f"--volume={place}:{place}:ro" for place in pip.places]
        self.run(
            *("build", "--isolation", "chroot", "--network", "host", "--format", "docker", "--layers=false"),
            *("--pull-never", "--secret", f"id=pip,src={secret}", "--ignorefile", ".dockerignore", *options),
            *("--target", target, "--tag", tag, "--file", "docker/Dockerfile", "."),
        )

    def configuration(self, tag: str) -> dict[str, Any]:
        """What the image says of itself, in Docker's form."""
        return dict(json.loads(self.run("inspect", "--type", "image", tag))["Docker"])

    def mount(self, tag: str) -> Path:
        """The image's file system, as a container has it."""
        container = self.run("from", "--pull-never", tag)
        self._containers.append(container)
        return Path(self.run("mount", container))

    def close(self, *, keep: bool) -> None:
        """Removes the containers; and all but the base unless `keep`."""
        for container in self._containers:
            self.run("rm", container)
        if not keep:
            shutil.rmtree(self.folder / "storage", ignore_errors=True)
            shutil.rmtree(self.folder / "run", ignore_errors=True)


class PipConfiguration:
    """How pip on this host reaches its registries, as a pip.conf, and the places of this host that it names."""

    def __init__(self, options: dict[str, str]) -> None:
        self.text = "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(options.items()))
        words = " ".join(options.values()).split()
        found = [Path(word.removeprefix("file://")) for word in words if word.startswith(("/", "file:///"))]
        # An index refers to files beside itself, and a file cannot be mounted where the image has none.
        folders = [path.parent if path.is_file() or path.name == "simple" else path for path in found if path.exists()]
        self.places = sorted({str(folder) for folder in folders})


def pip_configuration() -> PipConfiguration:
    """Read from pip itself; used while an image is built, and never part of one."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    options = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        scope, _, option = name.partition(".")
        if scope in ("global", "site", "user", "install", ":env:"):
            options[option] = value.strip("'\"").replace("\\n", " ")
    options |= {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"
    }
    return PipConfiguration(options)


def missing_commands(commands: Sequence[str]) -> list[str]:
    """Those that this host does not have."""
    return [command for command in commands if shutil.which(command) is None]
