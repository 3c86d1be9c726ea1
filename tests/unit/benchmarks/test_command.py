"""`bouquet bench`: which benchmarks run, and with which options."""

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.__main__ import NAMES, WITH_OPTIONS, main


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """What was run instead of the benchmarks, which take minutes."""
    runs: list[tuple[str, tuple[Any, ...]]] = []

    def stand_in(module: str) -> SimpleNamespace:
        name = module.removeprefix("benchmarks.")

        def run(*arguments: Any) -> int | None:
            runs.append((name, arguments))
            return 0 if name in WITH_OPTIONS else None

        return SimpleNamespace(main=run)

    monkeypatch.setattr(importlib, "import_module", stand_in)
    return runs


def test_without_names_all_run(runs: list[tuple[str, tuple[Any, ...]]]) -> None:
    assert main([]) == 0
    assert [name for name, _ in runs] == list(NAMES)


def test_several_can_be_named(runs: list[tuple[str, tuple[Any, ...]]]) -> None:
    assert main(["serve", "network"]) == 0
    assert [name for name, _ in runs] == ["serve", "network"]


def test_one_that_has_options_is_given_them(runs: list[tuple[str, tuple[Any, ...]]]) -> None:
    assert main(["serve", "--loads", "0.5", "0.8"]) == 0
    assert runs == [("serve", (["--loads", "0.5", "0.8"],))]


@pytest.mark.parametrize("arguments", [["tulips"], ["network", "--loads", "0.5"], ["network", "simulate"]])
def test_what_there_is_not_is_refused(
    arguments: list[str], runs: list[tuple[str, tuple[Any, ...]]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert runs == []
    assert arguments[-1] in capsys.readouterr().err or arguments[0] in arguments


@pytest.mark.parametrize("name", sorted(WITH_OPTIONS))
def test_the_options_are_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert "--seed" in capsys.readouterr().out


def test_every_benchmark_is_there() -> None:
    for name in {*NAMES, *WITH_OPTIONS}:
        assert importlib.util.find_spec(f"benchmarks.{name}") is not None


def test_a_simulation_prints_a_row_for_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--step-seconds", "1=0.01,2=0.015", "--workers", "1", "2", "--loads", "0.5", "--jobs", "50"]
    assert main(["simulate", *arguments, "--arms", "one", "continuous"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| one", "| cont"))]
    assert [row.split(" | ")[1] for row in rows] == ["1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--hardware"),
        (["--hardware", "no-such-file.json"], "no-such-file.json"),
        (["--step-seconds", "eight"], "SLOTS=SECONDS"),
        (["--step-seconds", "1=0.01", "--loads", "0"], "positive"),
        (["--step-seconds", "1=0.01", "--workers", "0"], "--workers"),
        (["--step-seconds", "1=0.01", "--most-steps", "2000"], "steps"),
    ],
)
def test_a_simulation_says_what_it_cannot_use(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["simulate", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
