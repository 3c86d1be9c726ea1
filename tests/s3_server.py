"""A real HTTP server that speaks S3, for tests: moto's, as a process of its own, with one bucket."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.processes import poll

BUCKET = "flowers"


class S3Server:
    """Keeps its objects in memory: they are gone when it is closed, and stay while it is stopped by `freeze`."""

    def __init__(self, log: Path, host: str = "127.0.0.1") -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "--host", host, "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        poll(lambda: self._found() is not None, "the S3 server listens", 60)
        found = self._found()
        assert found is not None
        self.address = (host, int(found[1]))
        self.url = f"http://{host}:{found[1]}"
        client = http.client.HTTPConnection(*self.address, timeout=20)
        client.request("PUT", f"/{BUCKET}")
        assert client.getresponse().status == 200
        client.close()

    def environment(self, url: str | None = None) -> dict[str, str]:
        """What a client has to be told to find it, perhaps by way of `url`."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": url or self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def get(self, key: str) -> bytes | None:
        """An object, without any of our own code between."""
        client = self.client()
        try:
            data: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        except client.exceptions.NoSuchKey:
            return None
        return data

    def client(self) -> Any:
        """boto3's client, set up by hand rather than by the process' environment."""
        import boto3

        session = boto3.session.Session("test", "test", region_name="us-east-1")
        return session.client("s3", endpoint_url=self.url)

    def freeze(self) -> None:
        """From now on it takes connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def _found(self) -> re.Match[str] | None:
        assert self._process.poll() is None, self._log.read_text()
        return re.search(r"Running on http://[\d.]+:(\d+)", self._log.read_text())
