"""A queue, a front end and a worker out of the images, and a flower through all of them."""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from verification.container import Container
from verification.report import CheckError, Report

_IMAGES: Final = "/var/lib/bouquet/images"
_PASSWORD: Final = "/run/secrets/redis_password"
_VALKEY: Final = "import app.valkey as valkey, os, sys; os.execv(valkey.find_binary(), ['valkey-server', '-'])"


def try_service(
    report: Report, folder: Path, api: tuple[Path, Mapping[str, Any]], worker: tuple[Path, Mapping[str, Any]]
) -> None:
    """Runs the images and checks what they do. Each image is its file system and its configuration."""
    if folder.exists():
        shutil.rmtree(folder)
    images = folder / "images"
    images.mkdir(parents=True)
    user = int(str(api[1]["config"]["User"]).partition(":")[0])
    shutil.chown(images, user, user)
    password = folder / "password"
    password.write_text(secrets.token_urlsafe(24) + "\n")
    password.chmod(0o444)
    queue_port, port = _free_port(), _free_port()
    volumes = {images: _IMAGES, password: _PASSWORD}
    environment = {
        "BOUQUET_REDIS_URL": f"redis://127.0.0.1:{queue_port}/0",
        "BOUQUET_REDIS_PASSWORD_FILE": _PASSWORD,
        "BOUQUET_STORE": _IMAGES,
    }
    configuration = folder / "valkey.conf"
    configuration.write_text(
        f"port {queue_port}\nbind 127.0.0.1\nrequirepass {password.read_text().strip()}\ndir /tmp\n"
        "appendonly yes\nmaxmemory-policy noeviction\n"
    )
    configuration.chmod(0o444)
    started: list[Container] = []

    def start(name: str, image: tuple[Path, Mapping[str, Any]], **options: Any) -> Container:
        container = Container(*image, folder / f"{name}.log", hostname=f"{name}-1", **options)
        started.append(container)
        return container

    try:
        valkey = _VALKEY.replace("'-'", "'/etc/valkey.conf'")
        start("queue", api, volumes={configuration: "/etc/valkey.conf"}, command=["python", "-c", valkey])
        front = start("api", api, environment=environment | {"BOUQUET_PORT": str(port)}, volumes=volumes)
        url = f"http://127.0.0.1:{port}"
        report.check("the API answers", lambda: front.wait_for(lambda: _status(f"{url}/health/live") == 200, "API", 60))
        report.check("the API's health check", lambda: _healthy(front, api))
        report.check("the API is not ready without a worker", lambda: _expect(_status(f"{url}/health/ready"), 503))
        began = time.monotonic()
        crew = start("worker", worker, environment=environment, volumes=volumes)
        report.check("a worker loads its bundle and is ready", lambda: _ready(crew, url, began))
        report.check("the worker's health check", lambda: _healthy(crew, worker))
        report.check("a flower", lambda: _flower(url))
        report.check("the same flower again, out of the store", lambda: _same_again(url, images))
        for name, container in (("API", front), ("worker", crew)):
            report.check(
                f"the {name} runs as nobody, with no rights", functools.partial(_unprivileged, container, user)
            )
        report.check("the worker ends in order on SIGTERM, and finishes what it began", lambda: _drains(url, crew))
        report.check("the API ends in order on SIGTERM", lambda: _expect(front.terminate(20), 0))
    finally:
        for container in reversed(started):
            container.close()


def _ready(worker: Container, url: str, began: float) -> str:
    worker.wait_for(lambda: _status(f"{url}/health/ready") == 200, "worker", 300)
    return f"after {time.monotonic() - began:.0f} s"


def _flower(url: str) -> str:
    body = json.dumps({"seed": 7, "steps": 20}).encode()
    headers = {"Content-Type": "application/json", "Prefer": "wait=30"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/generate", body, headers), timeout=60) as answer:
        job = json.load(answer)
    if job["status"] != "succeeded":
        raise CheckError(f"the job is {job['status']}: {job['error']}")
    image = job["images"][0]
    with urllib.request.urlopen(url + image["url"], timeout=30) as answer:
        picture = answer.read()
    if not picture.startswith(b"\x89PNG") or hashlib.sha256(picture).hexdigest() != image["sha256"]:
        raise CheckError(f"{image['url']} is not what the job says")
    return f"seed 7, 20 steps, {image['width']} x {image['height']}, {len(picture)} bytes"


def _same_again(url: str, images: Path) -> str:
    (stored,) = images.rglob("*.png")
    with urllib.request.urlopen(f"{url}/flowers/7.png?steps=20", timeout=60) as answer:
        if answer.read() != stored.read_bytes():
            raise CheckError("it is another one")
    return stored.name


def _drains(url: str, worker: Container) -> str:
    """A job that runs when SIGTERM comes is done, or waits in the queue again: never lost."""
    body = json.dumps({"seed": 100, "steps": 60, "count": 8}).encode()
    request = urllib.request.Request(f"{url}/generate", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        address = url + answer.headers["Location"]
    worker.wait_for(lambda: _job(address)["status"] != "queued", "start of the job", 60)
    _expect(worker.terminate(45), 0)
    status = _job(address)["status"]
    if status not in ("succeeded", "queued"):
        raise CheckError(f"the job is {status}")
    return f"exit code 0, the job is {status}"


def _job(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return dict(json.load(answer))


def _healthy(container: Container, image: tuple[Path, Mapping[str, Any]]) -> str:
    """Runs the image's health check where the container runs, as an engine would."""
    test = image[1]["config"]["Healthcheck"]["Test"][1:]
    variables = [f"{name}={value}" for name, value in container.environment.items()]
    enter = ["nsenter", f"--target={container.pid}", "--mount", "--pid", "--uts", "--root", "--wd=/tmp"]
    done = subprocess.run([*enter, "env", "-i", *variables, *test], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CheckError(f"{done.stdout}{done.stderr}")
    return done.stdout.strip()


def _unprivileged(container: Container, user: int) -> str:
    uids, capabilities = set(container.status("Uid").split()), container.status("CapBnd")
    if uids != {str(user)} or int(capabilities, 16) or container.status("NoNewPrivs") != "1":
        raise CheckError(f"user {uids}, capabilities {capabilities}")
    return f"user {user}, no capabilities, a read-only file system"


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _expect(found: int, wanted: int) -> str:
    if found != wanted:
        raise CheckError(f"{found} instead of {wanted}")
    return str(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
