"""The settings of the front end and of the command line: BOUQUET_* variables, read here and never at import."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from worker.secret_file import SecretFileError, first_line, with_password_of

PREFIX: Final = "BOUQUET_"

WORKER_SETTINGS: Final = frozenset(
    {
        "BOUQUET_BEAT_SECONDS",
        "BOUQUET_BUNDLE_PUBLIC_KEYS",
        "BOUQUET_IMAGES_MAX_BYTES",
        "BOUQUET_JOBS_HELD",
        "BOUQUET_LEASE_SECONDS",
        "BOUQUET_MAINTENANCE_SECONDS",
        "BOUQUET_SLOTS",
        "BOUQUET_STALL_SECONDS",
        "BOUQUET_STORE_SECONDS",
    }
)
"""The variables that only worker/settings.py reads. Named here too, because a misspelt variable must stop every part
and the front end may not import the worker; a test holds the two lists together."""


class SettingsError(ValueError):
    """The environment does not make settings. The message names each variable and says what it may be."""


class Settings(BaseSettings):
    """What the front end and `bouquet serve` can be told. Immutable; every field is BOUQUET_<NAME> in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(
        default=Path(".bouquet"),
        description="Folder of the embedded queue's append-only file and of the images.",
    )
    redis_url: str | None = Field(
        default=None,
        description="A Redis or Valkey to use instead of the embedded one: redis://, rediss:// or unix://.",
    )
    redis_password_file: Path | None = Field(
        default=None, description="A file whose first line is the password that BOUQUET_REDIS_URL leaves out."
    )
    store: str | None = Field(
        default=None,
        description="Where the images are: a folder, or s3://bucket/prefix. Default: `images` in the home folder.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address that the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port that the API listens on; 0 takes a free one.")
    workers: int = Field(default=1, ge=0, le=1024, description="Worker processes that `bouquet serve` starts.")
    api_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes of the API that `bouquet serve` starts, which share the port; each can fill a core.",
    )
    drain_seconds: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds that a stopping worker may take to finish what it began; the rest goes back to the queue.",
    )
    bundle: Path | None = Field(
        default=None,
        description="The bundle that workers serve. Default: the trained one that ships with Bouquet.",
    )
    queue_limit: int = Field(
        default=500_000,
        ge=1,
        description="Image-steps that may wait in the queue; what does not fit is answered with 429.",
    )
    job_ttl: int = Field(
        default=24 * 3600,
        ge=60,
        le=366 * 24 * 3600,
        description="Seconds for which an ended job can be asked for; a failed one seven times as long.",
    )
    wait_limit: float = Field(
        default=30.0,
        ge=0,
        le=600,
        description="Seconds that `Prefer: wait` and `GET /flowers` hold a request at most.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Keys, separated by commas, one of which every request needs (all but health). Empty: no key.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="A file with such keys, one a line or separated by commas; they count besides the others.",
    )
    public_images: bool = Field(
        default=False,
        description="Whether images, flowers and morphs may be fetched without a key.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins, separated by commas, whose pages may use the API from a browser; `*` for all.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important messages that are logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How they are logged: a line of text each, or of JSON."
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

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            text = key.get_secret_value()
            if len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text:
                raise ValueError("a key has 16 or more printable ASCII characters and no space")
        return keys

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @property
    def images_are_public(self) -> bool:
        """Whether images, flowers and morphs are for everybody: all is without keys, and they may be with them."""
        return self.public_images or not self.api_keys

    @property
    def store_location(self) -> str:
        """Where the images are, the default resolved."""
        return self.store if self.store is not None else str(self.home / "images")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Reads the BOUQUET_* variables; `overrides` (from the command line; None means not given) win.

        Raises:
            SettingsError: a secret's file cannot be used; a variable is unknown or has a bad value.
        """
        environ = os.environ if environ is None else environ
        given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        known = {PREFIX + name.upper() for name in cls.model_fields} | WORKER_SETTINGS
        if problems := [_unknown(name, known) for name in sorted(given.keys() - known)]:
            raise SettingsError("\n".join(problems))
        values: dict[str, Any] = {
            name: given[PREFIX + name.upper()] for name in cls.model_fields if given.get(PREFIX + name.upper())
        }
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            if (password_file := values.get("redis_password_file")) is not None:
                values["redis_url"] = with_password_of(values.get("redis_url"), Path(password_file))
            if (keys_file := values.get("api_keys_file")) is not None:
                given_keys = values.get("api_keys", "")
                values["api_keys"] = f"{given_keys},{_keys_in(Path(keys_file))}"
            return cls(**values)
        except SecretFileError as error:
            raise SettingsError(str(error)) from None
        except ValidationError as error:
            raise SettingsError("\n".join(_bad_values(error))) from None


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.removeprefix(PREFIX), [other.removeprefix(PREFIX) for other in known], n=1)
    hint = f"Did you mean {PREFIX}{near[0]}?" if near else "docs/settings.md lists those that there are."
    return f"{name} is not a setting. {hint}"


def _bad_values(error: ValidationError) -> Iterable[str]:
    """One line a bad value. Never shows the value: it may be a secret."""
    for problem in error.errors(include_url=False, include_input=False):
        name = PREFIX + str(problem["loc"][0]).upper()
        reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        yield f"{name}: {'must be ' if problem['msg'].startswith('Input should be') else ''}{reason}."


def _keys_in(path: Path) -> str:
    """The keys in a file, separated by commas. Raises SecretFileError if there are none."""
    first_line("BOUQUET_API_KEYS_FILE", path)
    return ",".join(path.read_text(encoding="utf-8").split("\n"))
