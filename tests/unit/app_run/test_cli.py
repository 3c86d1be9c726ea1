"""The `bouquet` command: quick where it only talks, clear where it refuses, and ignorant of the model."""

import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app import cli, libraries

ROOT = Path(__file__).parents[3]
COMMANDS = ["serve", "api", "worker", "redis", "generate", "morph", "train", "evaluate", "bundle", "bench"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n    {name} " not in listed] == []


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"bouquet {version}\n"


def imported_by(command: list[str]) -> set[str]:
    """The libraries that a process of its own has imported once the command has talked and ended."""
    script = f"""
import sys
from app import cli
try:
    cli.main({command!r})
except SystemExit:
    pass
print(*{{"fastapi", "httpx", "jax", "keras", "numpy", "pydantic", "redis", "rq", "tensorflow"}} & set(sys.modules),
      file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["serve", "--help"], ["serve", "--port", "x"]])
def test_what_only_talks_imports_nothing_heavy(command: list[str]) -> None:
    assert imported_by(command) == set()


@pytest.mark.parametrize("command", ["train", "evaluate", "generate", "bundle"])
@pytest.mark.parametrize("option", ["--help", "--no-such-option"])
def test_commands_that_compute_read_their_options_before_they_import_what_computes(command: str, option: str) -> None:
    assert not imported_by([command, option]) & {"jax", "keras", "tensorflow"}


def test_the_command_is_quick() -> None:
    """Counted in the processor's seconds, which a busy machine does not stretch: 0.04 is usual."""

    def processor_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = processor_seconds()
    run("--help")
    assert processor_seconds() - before < 0.3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serve", "--port", "65536"], "argument --port: '65536' is not an integer from 0 to 65535"),
        (["serve", "--port", "-1"], "argument --port"),
        (["serve", "--port", "eight"], "argument --port: 'eight' is not"),
        (["serve", "--workers", "1.5"], "argument --workers: '1.5' is not"),
        (["serve", "--hom", "x"], "unrecognized arguments: --hom x"),
        (["generate", "--server", "http://x", "--steps", "0"], "argument --steps: '0' is not an integer from 1"),
        (["generate", "--server=http://x", "--seed", str(2**53)], "argument --seed"),
        (["generate", "--server=http://x", "--count", "1000001"], "argument --count"),
        (["generate", "--server=http://x", "--sampler", "heun"], "argument --sampler: invalid choice: 'heun'"),
        (["morph", "7", "--server=http://x"], "the following arguments are required: TOWARD"),
        (["morph", "7", "9"], "the following arguments are required: --server"),
        (["morph", "7", "-9", "--server=http://x"], "argument TOWARD: '-9' is not an integer"),
        (["morph", "7", "9", "--server=http://x", "--frames", "1"], "argument --frames: '1' is not an integer from 2"),
        (["sevre"], "invalid choice: 'sevre'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("server", ["flowers", "ftp://flowers", "http://", "http://[::1"])
def test_a_server_that_is_no_url_is_told(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--server", server]) == 1
    assert f"bouquet generate: {server} is not a URL" in capsys.readouterr().err


def test_a_store_of_no_kind_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("BOUQUET_STORE", "ftp://images")
    assert cli.main(["api", "--port", "0", "--home", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("bouquet api: BOUQUET_STORE: ftp:// is not a kind of store")


@pytest.mark.parametrize("command", ["train", "evaluate", "bundle", "bench", "generate"])
def test_commands_of_the_model_go_there_with_their_arguments(command: str, tmp_path: Path) -> None:
    """The front end may not import the model, so a package of the same name stands in for it."""
    elsewhere = {"bench": "benchmarks.__main__", "bundle": "model.bundle_command"}
    module = elsewhere.get(command, f"model.{command}")
    package, _, name = module.partition(".")
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / f"{name}.py").write_text("def main(argv): return int(argv == ['--steps', '3', '--help'])")
    script = f"""
import sys
import app.cli
sys.path.insert(0, {str(tmp_path)!r})
sys.exit(app.cli.main([{command!r}, '--steps', '3', '--help']))
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60)
    assert result.returncode == 1


def test_the_worker_reads_its_own_options() -> None:
    result = run("worker", "--redis-url", "redis://127.0.0.1", "--slots", "many")
    assert result.returncode == 2
    assert "bouquet worker: error: argument --slots" in result.stderr


def test_the_range_of_pythons_is_that_of_the_package() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest, newest = libraries.OLDEST_PYTHON, libraries.NEWEST_PYTHON
    assert required == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"


def test_an_unsupported_python_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "NEWEST_PYTHON", (3, 10))
    problem = libraries.missing_libraries()
    assert problem is not None
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]} is not supported" in problem
    assert "make serve" in problem


def test_a_missing_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "no_such_backend")
    assert "no_such_backend cannot be found" in (libraries.missing_libraries() or "")
