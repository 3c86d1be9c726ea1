"""Images in S3, or in anything that speaks it: `s3://<bucket>/<prefix>`.

Where it is and who we are comes from where every S3 client looks: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a
role of the machine; AWS_REGION; AWS_ENDPOINT_URL_S3 for a server that is not Amazon's. Every call has a limit of time,
and is repeated a few times if it fails.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, Final

try:
    import boto3
    import botocore.exceptions
    from botocore.config import Config
except ModuleNotFoundError as error:
    from worker.store import StoreError

    raise StoreError(
        f"BOUQUET_STORE: a store in S3 needs {error.name}, which is not installed. pip install 'bouquet[s3]'."
    ) from error

from worker.protocol import parse_image_name
from worker.store import StoreError

_CONNECT_SECONDS: Final = 2.0
_READ_SECONDS: Final = 5.0
_TRIES: Final = 3
_CONNECTIONS: Final = 40  # as many as the front end has threads that may read at the same time
_LOCATION: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.ASCII)
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"IEND\xaeB`\x82"


class S3Store:
    """Images as objects: `<prefix>/<revision>/<two hex digits>/<name>`. Threads may share one.

    Invariant: the first whole image under a name stays. Writes are conditional (If-None-Match: *), so that a worker
    that was thought dead and comes back late cannot touch what others may have served already.
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        """`client` is boto3's, for S3. Touches no network."""
        self._client = client
        self.bucket = bucket
        self.prefix = prefix.strip("/")

    def key(self, name: str) -> str:
        """Where an image is, or would be. Raises ProtocolError for what is not an image name."""
        address = parse_image_name(name)
        path = f"{address.revision}/{address.seed % 256:02x}/{name}"
        return f"{self.prefix}/{path}" if self.prefix else path

    def put(self, name: str, data: bytes) -> None:
        key = self.key(name)
        with self._explained("write", key):
            if not self._write(key, data, {"IfNoneMatch": "*"}) and not _is_whole(self._read(key) or b"", data):
                self._write(key, data, {})

    def get(self, name: str) -> bytes | None:
        key = self.key(name)
        with self._explained("read", key):
            return self._read(key)

    def exists(self, name: str) -> bool:
        key = self.key(name)
        with self._explained("read", key):
            try:
                self._client.head_object(Bucket=self.bucket, Key=key)
            except botocore.exceptions.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
            return True

    def delete(self, name: str) -> None:
        key = self.key(name)
        with self._explained("delete", key):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def _write(self, key: str, data: bytes, condition: dict[str, str]) -> bool:
        """Returns False where the condition does not hold: something is there already."""
        kind = "image/webp" if key.endswith(".webp") else "image/png"
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentType=kind, CacheControl=_IMMUTABLE, **condition
            )
        except botocore.exceptions.ClientError as error:
            if condition and _status(error) == 412:
                return False
            raise
        return True

    def _read(self, key: str) -> bytes | None:
        """The object; the client repeats a request that fails, but not one whose answer breaks off."""
        for attempt in range(_TRIES):
            try:
                data: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except botocore.exceptions.ClientError as error:
                if _code(error) == "NoSuchKey":
                    return None
                raise
            except (botocore.exceptions.IncompleteReadError, botocore.exceptions.HTTPClientError):
                if attempt == _TRIES - 1:
                    raise
            else:
                return data
        return None

    @contextlib.contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as error:
            reason = f"{_code(error)} (HTTP {_status(error)})"
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError) as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            return
        raise StoreError(
            f"Cannot {verb} s3://{self.bucket}/{key} in the image store: {reason}. Check the bucket that BOUQUET_STORE "
            "names, AWS_ENDPOINT_URL_S3 and AWS_REGION, and the rights of the key or role that is used."
        )


def open_s3_store(location: str) -> S3Store:
    """The store at `s3://<bucket>/<prefix>`; the prefix may be left out. Touches no network.

    Raises:
        StoreError: the location is not of that form, or the AWS_* variables cannot be used.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise StoreError("BOUQUET_STORE: must be s3://<bucket> or s3://<bucket>/<prefix>, the bucket in small letters.")
    try:
        client = _client({"addressing_style": "auto"})
        if not client.meta.endpoint_url.rstrip("/").endswith((".amazonaws.com", ".amazonaws.com.cn")):
            client = _client({"addressing_style": "path"})  # others seldom have a host name for each bucket
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise StoreError(
            f"BOUQUET_STORE: the store in S3 cannot be set up: {error}. Check the AWS_* variables."
        ) from error
    return S3Store(client, match[1], match[2] or "")


def _client(s3: dict[str, str]) -> Any:
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        max_pool_connections=_CONNECTIONS,
        # Servers that are not Amazon's may not know the newer checksums; requests are signed with a hash as it is.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=s3,
    )
    return boto3.session.Session(region_name=_region()).client("s3", config=config)


def _region() -> str | None:
    """The region that a variable names, None if configuration files may. boto3 takes an empty one for a region."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or ("us-east-1" if "AWS_DEFAULT_REGION" in os.environ else None)


def _status(error: botocore.exceptions.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: botocore.exceptions.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _is_whole(found: bytes, data: bytes) -> bool:
    """Whether what is there may stay: the same bytes, or another PNG that is not cut off."""
    return found == data or (found.startswith(_PNG_START) and found.endswith(_PNG_END))
