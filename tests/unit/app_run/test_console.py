import io
import json
import signal

import pytest

from app.console import Console
from app.part import describe_exit


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_names_are_aligned() -> None:
    stream = io.StringIO()
    console = Console(stream, ["api", "worker-1"])
    console.line("api", "one")
    console.line("worker-1", "two")
    assert stream.getvalue() == "api      | one\nworker-1 | two\n"


def test_colours_are_for_terminals_and_not_for_those_who_want_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Terminal()
    Console(coloured, ["api"]).line("api", "text")
    assert coloured.getvalue() == "\x1b[36mapi |\x1b[0m text\n"

    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    Console(plain, ["api"]).line("api", "text")
    assert plain.getvalue() == "api | text\n"


def test_a_console_that_is_gone_is_no_error() -> None:
    stream = io.StringIO()
    console = Console(stream, ["api"])
    stream.close()
    console.line("api", "to nobody")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-signal.SIGTERM, "killed by signal 15, SIGTERM"),
        (-signal.SIGKILL, "killed by signal 9, SIGKILL; out of memory?"),
        (-63, "killed by signal 63, unknown"),
    ],
)
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_json_lines_are_passed_on_and_others_made_into_some() -> None:
    stream = io.StringIO()
    console = Console(stream, ["api", "valkey"], as_json=True)
    console.line("api", '{"message": "one", "request_id": "r"}')
    console.line("valkey", "a line of text")
    console.line("valkey", "{not JSON")
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert first == {"part": "api", "message": "one", "request_id": "r"}
    assert (second["part"], second["message"]) == ("valkey", "a line of text")
    assert {"time", "level", "logger"} <= second.keys()
    assert third["message"] == "{not JSON"
