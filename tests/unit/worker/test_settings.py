from pathlib import Path

import pytest

from worker.__main__ import UNUSABLE_EXIT_CODE, main
from worker.opening import choose_slot_counts
from worker.settings import SettingsError, WorkerSettings

URL = {"BOUQUET_REDIS_URL": "unix:///tmp/s"}
PUBLIC_KEY = "A" * 43 + "="


def test_the_defaults_are_those_that_were_measured() -> None:
    settings = WorkerSettings.from_environ(URL)
    assert (settings.lease_seconds, settings.beat_seconds, settings.maintenance_seconds) == (15, 3.0, 3.0)
    assert settings.store_location == str(Path(".bouquet/images"))


def test_variables_and_the_command_line_are_read() -> None:
    settings = WorkerSettings.from_environ(URL | {"BOUQUET_SLOTS": "4", "BOUQUET_STORE": "/s", "HOME": "x"}, slots=2)
    assert settings.slots == 2
    assert settings.store_location == "/s"
    assert WorkerSettings.from_environ(URL | {"BOUQUET_SLOTS": ""}).slots is None


def test_public_keys_are_a_list() -> None:
    keys = f"{PUBLIC_KEY}, {'B' * 42}A=,"
    read = WorkerSettings.from_environ(URL | {"BOUQUET_BUNDLE_PUBLIC_KEYS": keys}).bundle_public_keys
    assert read == (PUBLIC_KEY, "B" * 42 + "A=")
    assert WorkerSettings.from_environ(URL | {"BOUQUET_BUNDLE_PUBLIC_KEYS": ""}).bundle_public_keys == ()


def test_what_only_the_front_end_reads_is_passed_over() -> None:
    WorkerSettings.from_environ(URL | {"BOUQUET_PORT": "80"})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"BOUQUET_REDIS_URL is not set"),
        ({"BOUQUET_REDIS_URL": "http://x"}, r"BOUQUET_REDIS_URL: must begin with redis://"),
        (URL | {"BOUQUET_SLOT": "4"}, r"BOUQUET_SLOT is not a setting. Did you mean BOUQUET_SLOTS\?"),
        (URL | {"BOUQUET_SLOTS": "many"}, r"BOUQUET_SLOTS: must be a valid integer"),
        (URL | {"BOUQUET_SLOTS": "0"}, r"BOUQUET_SLOTS: must be greater than or equal to 1"),
        (URL | {"BOUQUET_BEAT_SECONDS": "8"}, r"BOUQUET_BEAT_SECONDS: must be at most half of BOUQUET_LEASE_SECONDS"),
        (URL | {"BOUQUET_BUNDLE_PUBLIC_KEYS": " ,"}, r"BOUQUET_BUNDLE_PUBLIC_KEYS: names no key"),
        (URL | {"BOUQUET_BUNDLE_PUBLIC_KEYS": f"{PUBLIC_KEY},abc"}, r"BOUQUET_BUNDLE_PUBLIC_KEYS: a public key is 32"),
        (URL | {"BOUQUET_BUNDLE_PUBLIC_KEYS": "A" * 44}, r"BOUQUET_BUNDLE_PUBLIC_KEYS: a public key is 32"),
        (URL | {"BOUQUET_BUNDLE_PUBLIC_KEYS": "ü" * 44}, r"BOUQUET_BUNDLE_PUBLIC_KEYS: a public key is 32"),
    ],
)
def test_what_is_wrong_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        WorkerSettings.from_environ(environment)


def test_bad_settings_end_the_worker_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOUQUET_SLOTS", "none")
    assert main(["--redis-url", "unix:///nowhere"]) == UNUSABLE_EXIT_CODE
    assert "BOUQUET_SLOTS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("slots", "on_gpu", "counts"),
    [
        (None, False, (1, 2, 4, 8)),
        (1, False, (1,)),
        (6, False, (1, 2, 4, 6)),
        (16, False, (1, 2, 4, 8, 16)),
        (None, True, (64,)),
        (256, True, (256,)),
    ],
)
def test_the_compiled_batches(slots: int | None, on_gpu: bool, counts: tuple[int, ...]) -> None:
    assert tuple(choose_slot_counts(slots, on_gpu)) == counts


def test_the_queues_password_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss:w/rd\n")
    file = {"BOUQUET_REDIS_PASSWORD_FILE": str(secret)}
    settings = WorkerSettings.from_environ(
        file | {"BOUQUET_REDIS_URL": "rediss://worker@queue:6380/1?ssl_ca_certs=/ca"}
    )
    assert settings.redis_url == "rediss://worker:p%40ss%3Aw%2Frd@queue:6380/1?ssl_ca_certs=/ca"
    again = WorkerSettings.from_environ(file | {"BOUQUET_REDIS_URL": settings.redis_url})
    assert again.redis_url == settings.redis_url, "a part that is started by another one gets both"
    assert WorkerSettings.from_environ(file | URL).redis_url == "unix://:p%40ss%3Aw%2Frd@/tmp/s"


@pytest.mark.parametrize(
    ("content", "url", "message"),
    [
        (None, "redis://q", r"BOUQUET_REDIS_PASSWORD_FILE: .*password cannot be read: No such file"),
        (b"", "redis://q", r"BOUQUET_REDIS_PASSWORD_FILE: .*password has an empty first line"),
        (b"\xff\n", "redis://q", r"BOUQUET_REDIS_PASSWORD_FILE: .*password cannot be read: it is not text"),
        (b"other\n", "redis://:hunter2@q", r"BOUQUET_REDIS_PASSWORD_FILE: BOUQUET_REDIS_URL has a password already"),
        (b"other\n", "", r"BOUQUET_REDIS_PASSWORD_FILE: is for BOUQUET_REDIS_URL, which is not set"),
    ],
)
def test_a_password_file_that_cannot_be_used_is_named_and_not_shown(
    tmp_path: Path, content: bytes | None, url: str, message: str
) -> None:
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    environment = {"BOUQUET_REDIS_PASSWORD_FILE": str(tmp_path / "password"), "BOUQUET_REDIS_URL": url}
    with pytest.raises(SettingsError, match=message) as caught:
        WorkerSettings.from_environ(environment)
    assert "other" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
