"""The settings of a worker: BOUQUET_* variables, read here and never at import."""

from __future__ import annotations

import base64
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import ByteSize, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.secret_file import SecretFileError, with_password_of

PREFIX: Final = "BOUQUET_"

FRONT_END_SETTINGS: Final = frozenset(
    {
        "BOUQUET_API_KEYS",
        "BOUQUET_API_KEYS_FILE",
        "BOUQUET_API_PROCESSES",
        "BOUQUET_CORS_ORIGINS",
        "BOUQUET_HOST",
        "BOUQUET_JOB_TTL",
        "BOUQUET_PORT",
        "BOUQUET_PUBLIC_IMAGES",
        "BOUQUET_QUEUE_LIMIT",
        "BOUQUET_WAIT_LIMIT",
        "BOUQUET_WORKERS",
    }
)
"""The variables that only app/settings.py reads. Named here too, because a misspelt variable must stop every part and
neither part may import the other; a test holds the lists together."""


class SettingsError(ValueError):
    """The environment does not make settings. The message names each variable and says what it may be."""


class WorkerSettings(BaseSettings):
    """What a worker can be told. Immutable; every field is BOUQUET_<NAME> in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(default=Path(".bouquet"), description="Folder of the images, if BOUQUET_STORE names no other.")
    redis_url: str = Field(description="The Redis or Valkey of the queue: redis://, rediss:// or unix://.")
    redis_password_file: Path | None = Field(
        default=None, description="A file whose first line is the password that BOUQUET_REDIS_URL leaves out."
    )
    store: str | None = Field(default=None, description="Where the images are: a folder, or s3://bucket/prefix.")
    bundle: Path | None = Field(default=None, description="The bundle that is served.")
    bundle_public_keys: tuple[str, ...] = Field(
        default=(), description="Public keys, separated by commas, one of which must have signed the bundle."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important messages that are logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How they are logged: a line of text each, or of JSON."
    )
    slots: int | None = Field(
        default=None, ge=1, le=1024, description="Images computed at the same time. Default: 8 on a CPU, 64 on a GPU."
    )
    jobs_held: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Jobs a worker has begun at the same time. Default: four for each slot.",
    )
    lease_seconds: int = Field(
        default=15, ge=2, le=3600, description="How long a worker's jobs are its own after a beat."
    )
    beat_seconds: float = Field(
        default=3.0, gt=0, le=1200, description="Seconds between beats, each of which renews the leases."
    )
    maintenance_seconds: float = Field(
        default=3.0, gt=0, le=3600, description="Seconds between looks for jobs whose worker died."
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="Seconds that a stopping worker may take to finish what it began."
    )
    stall_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="Seconds without progress after which a worker counts as hung."
    )
    store_seconds: float = Field(
        default=5.0, ge=0, le=600, description="Seconds for which a store that refuses an image is tried again."
    )
    images_max_bytes: ByteSize = Field(
        default=ByteSize(10_000_000_000),
        ge=0,
        description="Size that the images of a store in a folder are kept to; 0: no limit.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes nothing but what `from_environ` hands over, so that tests and child processes are alike."""
        return (init_settings,)

    @field_validator("bundle_public_keys", mode="before")
    @classmethod
    def _split_public_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = tuple(part.strip() for part in value.split(",") if part.strip())
        if not keys:  # or a comma alone would switch the check off
            raise ValueError("names no key; unset it to serve bundles without a signature")
        return keys

    @field_validator("bundle_public_keys")
    @classmethod
    def _check_public_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            try:
                good = len(key) == 44 and len(base64.b64decode(key, validate=True)) == 32
            except ValueError:
                good = False
            if not good:
                raise ValueError("a public key is 32 bytes in base64, as `bouquet bundle keygen` shows it")
        return keys

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @model_validator(mode="after")
    def _check_beat(self) -> Self:
        if self.beat_seconds * 2 > self.lease_seconds:
            raise ValueError(
                "BOUQUET_BEAT_SECONDS: must be at most half of BOUQUET_LEASE_SECONDS, or one late beat loses the jobs"
            )
        return self

    @property
    def store_location(self) -> str:
        """Where the images are, the default resolved."""
        return self.store if self.store is not None else str(self.home / "images")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Reads the BOUQUET_* variables; `overrides` (from the command line; None means not given) win.

        Raises:
            SettingsError: a secret's file cannot be used; a variable is unknown, missing or has a bad value.
        """
        environ = os.environ if environ is None else environ
        given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        known = {PREFIX + name.upper() for name in cls.model_fields} | FRONT_END_SETTINGS
        if problems := [_unknown(name, known) for name in sorted(given.keys() - known)]:
            raise SettingsError("\n".join(problems))
        values: dict[str, Any] = {
            name: given[PREFIX + name.upper()] for name in cls.model_fields if given.get(PREFIX + name.upper())
        }
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            if (password_file := values.get("redis_password_file")) is not None:
                values["redis_url"] = with_password_of(values.get("redis_url"), Path(password_file))
            return cls(**values)
        except SecretFileError as error:
            raise SettingsError(str(error)) from None
        except ValidationError as error:
            raise SettingsError("\n".join(_bad_values(error))) from None


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "docs/settings.md lists those that there are."
    return f"{name} is not a setting. {hint}"


def _bad_values(error: ValidationError) -> Iterable[str]:
    """One line a bad value. Never shows the value: it may be a secret."""
    for problem in error.errors(include_url=False, include_input=False):
        reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if not problem["loc"]:  # about several variables, and names them itself
            yield f"{reason}."
        elif problem["type"] == "missing":
            yield (
                f"{PREFIX}{str(problem['loc'][0]).upper()} is not set. Name the queue's Redis or Valkey with it, "
                "or start the worker with `bouquet worker` or `bouquet serve`."
            )
        else:
            must = "must be " if problem["msg"].startswith("Input should be") else ""
            yield f"{PREFIX}{str(problem['loc'][0]).upper()}: {must}{reason}."
