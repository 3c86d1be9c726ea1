"""scripts/install leaves the work to uv, and to pip where pip has been told what uv does not know or uv fails."""

import subprocess
from pathlib import Path

import pytest

from tests.unit.project.tree import ROOT

SCRIPT = ROOT / "scripts" / "install"
UV = "uv pip install --quiet --python {python} --require-hashes --requirement requirements/cpu.txt"
PIP = "pip install --no-compile --require-hashes --requirement requirements/cpu.txt"
GET_UV = "pip install --require-hashes --requirement requirements/uv.txt"


def install(
    folder: Path, configuration: str = "", *, uv: int = 0, get_uv: int = 0, pip: int = 0
) -> tuple[int, list[str]]:
    """The exit status, and what was run: a Python and a uv that write it down, and end with these statuses."""
    log, python = folder / "log", folder / "python"
    python.write_text(
        f'''#!/bin/sh
shift 5
case "$*" in
"config list") printf '%s\\n' "{configuration}"; exit 0 ;;
*uv.txt) status={get_uv} ;;
*) status={pip} ;;
esac
echo "pip $*" >>{log}
exit $status
'''
    )
    (folder / "uv").write_text(f'#!/bin/sh\necho "uv $*" >>{log}\nexit {uv}\n')
    for command in (python, folder / "uv"):
        command.chmod(0o755)
    run = subprocess.run([str(SCRIPT), str(python), "requirements/cpu.txt"], cwd=ROOT, timeout=30, check=False)
    return run.returncode, [line.replace(str(python), "{python}") for line in log.read_text().splitlines()]


@pytest.mark.parametrize(
    "configuration", ["", "global.extra-index-url='https://example.org/simple'", "global.cert='a'"]
)
def test_uv_installs(tmp_path: Path, configuration: str) -> None:
    assert install(tmp_path, configuration) == (0, [GET_UV, UV])


@pytest.mark.parametrize(
    "configuration", ["global.index-url='https://example.org/simple'", ":env:.index-url='x'", "user.no-index='1'"]
)
def test_pip_installs_where_it_has_been_told_from_where(tmp_path: Path, configuration: str) -> None:
    assert install(tmp_path, configuration) == (0, [PIP])


def test_pip_installs_where_uv_cannot(tmp_path: Path) -> None:
    assert install(tmp_path, uv=1) == (0, [GET_UV, UV, PIP])


def test_pip_installs_where_there_is_no_uv(tmp_path: Path) -> None:
    assert install(tmp_path, get_uv=1) == (0, [GET_UV, PIP])


def test_who_asks_learns_that_neither_can(tmp_path: Path) -> None:
    assert install(tmp_path, uv=1, pip=2)[0] == 2
