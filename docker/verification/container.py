"""A container without an engine: an image's process, first of its namespace, on a file system that it cannot write.

What an engine would do with `--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges`, and the user,
the environment and the command that the image names. The network is the host's.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from verification.report import CheckError

_DEVICES = ("null", "zero", "random", "urandom")


class Container:
    """Started when made; `log` is a file with what it writes."""

    def __init__(
        self,
        root: Path,
        configuration: Mapping[str, Any],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
        command: Sequence[str] | None = None,
        hostname: str = "container",
    ) -> None:
        """`volumes` are folders or files of the host and where they are seen; `command` replaces the image's own."""
        config = configuration["config"]
        self.environment = dict(part.split("=", 1) for part in config["Env"]) | dict(environment or {})
        whole = list(command) if command is not None else [*config["Entrypoint"], *config["Cmd"]]
        self.log = log
        self._output: IO[bytes] = log.open("wb")
        script = _script(root, volumes or {}, hostname, str(config["User"]), self.environment, whole)
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "/bin/sh", "-ec", script],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The host's number of the container's first process."""
        children = self._children()
        if not children:
            raise CheckError(f"the container has ended: {self.text[-2000:]}")
        return children[0]

    def _children(self) -> list[int]:
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(number) for number in path.read_text().split()] if path.exists() else []

    def status(self, field: str) -> str:
        """A line of the first process' /proc/<pid>/status."""
        found = re.search(rf"^{field}:\s*(.*)$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        return found[1] if found else ""

    def wait_for(self, condition: Any, what: str, seconds: float) -> None:
        """Waits until `condition()` holds. Raises CheckError with the end of the log."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise CheckError(f"no {what} within {seconds:.0f} s: {self.text[-2000:]}")
            time.sleep(0.1)

    def terminate(self, seconds: float) -> int:
        """SIGTERM, as `docker stop` sends it; returns the exit code. Raises CheckError if it takes too long."""
        subprocess.run(["kill", "-TERM", str(self.pid)], check=True)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CheckError(f"did not end within {seconds:.0f} s of SIGTERM: {self.text[-2000:]}") from None

    def close(self) -> None:
        """Kills whatever is left."""
        if self._process.poll() is None:
            # The first of its namespace, with which all others end. It does not end with its parent: by another user it
            # has lost the signal that --kill-child would have sent.
            for child in self._children():
                os.kill(child, signal.SIGKILL)
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._output.close()


def _script(
    root: Path,
    volumes: Mapping[Path, str],
    hostname: str,
    user: str,
    environment: Mapping[str, str],
    command: Sequence[str],
) -> str:
    q = shlex.quote
    lines = ["mount --make-rprivate /", f"mount --bind {q(str(root))} {q(str(root))}", f"cd {q(str(root))}"]
    lines += ["mount -t tmpfs -o mode=755 tmpfs dev", "mkdir dev/shm", "mount -t tmpfs -o mode=1777 tmpfs dev/shm"]
    lines += [f"touch dev/{name}; mount --bind /dev/{name} dev/{name}" for name in _DEVICES]
    for source, target in volumes.items():
        place = root / target.lstrip("/")
        make = (
            f"mkdir -p {q(str(place))}"
            if source.is_dir()
            else f"mkdir -p {q(str(place.parent))}; touch {q(str(place))}"
        )
        lines += [make, f"mount --bind {q(str(source))} {q(str(place))}"]
    lines += ["mount -t tmpfs -o mode=1777 tmpfs tmp", "mount -t proc proc proc"]
    lines += [f"mount -o remount,bind,ro {q(str(root))}", f"hostname {q(hostname)}"]
    uid, _, gid = user.partition(":")
    drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    variables = [f"{name}={value}" for name, value in environment.items()]
    inner = ["chroot", ".", *drop, "--inh-caps=-all", "env", "-i", "-C", "/tmp", *variables, *command]
    lines.append("exec " + shlex.join(inner))
    return "\n".join(lines)
