from pathlib import Path

import pytest

from app.settings import Settings, SettingsError


def test_nothing_needs_to_be_set() -> None:
    settings = Settings.from_environ({"PATH": "/bin"})
    assert settings.port == 8000
    assert settings.store_location == str(Path(".bouquet") / "images")


def test_reads_what_is_set() -> None:
    settings = Settings.from_environ(
        {
            "BOUQUET_PORT": "9000",
            "BOUQUET_API_KEYS": "0123456789abcdef, fedcba9876543210",
            "BOUQUET_PUBLIC_IMAGES": "true",
            "BOUQUET_STORE": "/srv/images",
            "BOUQUET_REDIS_URL": "",
        }
    )
    assert settings.port == 9000
    assert [key.get_secret_value() for key in settings.api_keys] == ["0123456789abcdef", "fedcba9876543210"]
    assert settings.public_images
    assert settings.store_location == "/srv/images"
    assert settings.redis_url is None


def test_the_command_line_wins() -> None:
    assert Settings.from_environ({"BOUQUET_PORT": "9000"}, port=9001, host=None).port == 9001


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BOUQUET_PRT", "1", "BOUQUET_PRT is not a setting. Did you mean BOUQUET_PORT?"),
        ("BOUQUET_ZZZZ", "1", "docs/settings.md lists"),
        ("BOUQUET_PORT", "http", "BOUQUET_PORT: must be a valid integer"),
        ("BOUQUET_PORT", "65536", "BOUQUET_PORT: must be less than or equal to 65535"),
        ("BOUQUET_REDIS_URL", "localhost:6379", "BOUQUET_REDIS_URL: must begin with redis://"),
        ("BOUQUET_LOG_LEVEL", "loud", "BOUQUET_LOG_LEVEL: must be 'debug'"),
        ("BOUQUET_API_KEYS", "short", "BOUQUET_API_KEYS: a key has 16 or more"),
    ],
)
def test_refuses_with_the_name_and_the_reason(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: value})
    assert says in str(caught.value)


def test_a_refused_key_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"BOUQUET_API_KEYS": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_secrets_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "keys").write_text("0123456789abcdef\nfedcba9876543210, 00112233445566778899\n")
    settings = Settings.from_environ(
        {
            "BOUQUET_REDIS_URL": "redis://queue:6379",
            "BOUQUET_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
            "BOUQUET_API_KEYS": "aaaaaaaaaaaaaaaa",
            "BOUQUET_API_KEYS_FILE": str(tmp_path / "keys"),
        }
    )
    assert settings.redis_url == "redis://:secret@queue:6379"
    keys = [key.get_secret_value() for key in settings.api_keys]
    assert keys == ["aaaaaaaaaaaaaaaa", "0123456789abcdef", "fedcba9876543210", "00112233445566778899"]


@pytest.mark.parametrize("variable", ["BOUQUET_API_KEYS_FILE", "BOUQUET_REDIS_PASSWORD_FILE"])
def test_a_file_of_secrets_that_is_not_there_stops_the_start(tmp_path: Path, variable: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: .*nowhere cannot be read: No such file"):
        Settings.from_environ({"BOUQUET_REDIS_URL": "redis://q", variable: str(tmp_path / "nowhere")})


def test_an_empty_file_of_keys_does_not_open_the_doors(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")
    with pytest.raises(SettingsError, match=r"BOUQUET_API_KEYS_FILE: .* empty first line"):
        Settings.from_environ({"BOUQUET_API_KEYS_FILE": str(tmp_path / "keys")})
