"""What ships Bouquet holds together: images, compose files, Kubernetes manifests, and the settings that they name.

`docker/verify` builds and runs the images; these are the faults that can be seen without.
"""

import json
import os
import re
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.unit.project.tree import ROOT, pyproject, tracked_files
from worker.settings import WorkerSettings

KUBERNETES = "1.34"
MANIFESTS = sorted((ROOT / "docker" / "kubernetes").glob("*.yaml"))
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
SETTINGS = {f"BOUQUET_{name.upper()}" for kind in (Settings, WorkerSettings) for name in kind.model_fields}
NAME = re.compile(r"\bBOUQUET_[A-Z_]+\b")


class ComposeLoader(yaml.SafeLoader):
    """Knows compose's own tags: what is reset is null."""


ComposeLoader.add_constructor("!reset", lambda loader, node: None)


@cache
def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    with (ROOT / name).open(encoding="utf-8") as file:
        return dict(yaml.load(file, ComposeLoader))


@cache
def manifests() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name}: {manifest['kind']} {manifest.get('metadata', {}).get('name', '')}", manifest)
        for path in MANIFESTS
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for _, manifest in manifests() if manifest["kind"] == kind}


def pod_specs() -> dict[str, dict[str, Any]]:
    workloads = of_kind("Deployment") | of_kind("StatefulSet")
    return {name: workload["spec"]["template"]["spec"] for name, workload in workloads.items()}


# --- images ---


def test_the_base_is_an_argument_and_pinned() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)", DOCKERFILE))
    assert {base for base in bases if base not in stages} == {"${BASE}", "${BUILD_BASE}"}
    (default,) = re.findall(r"(?m)^ARG BASE=(\S+)", DOCKERFILE)
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", default), default


def test_what_is_installed_is_locked() -> None:
    installs = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if "pip install" in line]
    assert len(installs) == 4
    for line in installs:
        assert "--require-hashes" in line or "--no-deps --no-build-isolation ." in line, line
        assert "--no-build-isolation" in line or "--only-binary :all:" in line, line


def test_images_run_as_a_number_that_is_not_root_and_get_signals() -> None:
    assert re.findall(r"(?m)^USER (.*)$", DOCKERFILE) == ["10001:10001"]
    assert re.findall(r"(?m)^(?:ENTRYPOINT|CMD) (.*)$", DOCKERFILE) == ['["bouquet"]', '["worker"]', '["api"]']
    assert len(re.findall(r"(?m)^HEALTHCHECK .*--start-period=\d+s", DOCKERFILE)) == 2


def test_nothing_gets_into_the_build_that_nobody_named() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = {
        part.rstrip("/") for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", DOCKERFILE) for part in line.split()
    }
    assert "*" in lines
    assert {line.strip("!/") for line in lines if line.startswith("!")} == copied


def test_scripts_can_be_run() -> None:
    scripts = [ROOT / "docker" / "verify", ROOT / "docker" / "clean-venv"]
    assert [path for path in scripts if not os.access(path, os.X_OK)] == []


# --- compose ---


def test_the_settings_that_are_named_exist() -> None:
    files = [ROOT / "docker-compose.yml", ROOT / ".env.example", ROOT / "docker" / "Dockerfile", *MANIFESTS]
    files += [path for path in tracked_files() if path.is_relative_to(ROOT / "docker") and path.suffix == ".yml"]
    named = {name: path.name for path in files for name in NAME.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 12
    assert {name: path for name, path in named.items() if name not in SETTINGS} == {}


def test_the_example_lists_every_variable_and_its_default() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    listed = dict(line.lstrip("#").split("=", 1) for line in lines if re.match(r"#?[A-Z_0-9]+=", line))
    text = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("docker-compose.yml", "docker/compose.cpu.yml")
    )
    used = dict(re.findall(r"(?<!\$)\$\{([A-Z_0-9]+):-([^}]*)\}", text))
    assert listed.keys() == used.keys()
    different = {name: (listed[name], used[name]) for name in used if listed[name] != used[name]}
    assert different.keys() <= {"WORKER_IMAGE"}, "it has a default for each of the two files"


@pytest.mark.parametrize("service", ["api", "grafana", "prometheus", "redis", "secrets", "worker"])
def test_services_are_held_on_a_short_leash(service: str) -> None:
    options = compose()["services"][service]
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert options["logging"]["options"]["max-size"]
    assert options["restart"] == ("no" if service == "secrets" else "unless-stopped")
    assert "privileged" not in options


def test_the_queue_keeps_what_it_accepted() -> None:
    queue = compose()["services"]["redis"]
    script = queue["entrypoint"][-1]
    for option in ("appendonly yes", "maxmemory-policy noeviction", "requirepass", "maxmemory %s"):
        assert option in script
    assert "queue:/data" in queue["volumes"]
    assert "ports" not in queue


def test_parts_wait_for_a_healthy_queue_and_are_given_time_to_stop() -> None:
    services = compose()["services"]
    for part in ("api", "worker"):
        assert services[part]["depends_on"] == {"redis": {"condition": "service_healthy"}}
    drain = int(re.search(r"DRAIN_SECONDS:-(\d+)", str(services["worker"]["environment"]))[1])  # type: ignore[index]
    grace = int(re.search(r"STOP_GRACE:-(\d+)s", services["worker"]["stop_grace_period"])[1])  # type: ignore[index]
    assert grace > drain + 5


def test_a_bundle_of_ones_own_can_be_mounted_and_named() -> None:
    worker = compose()["services"]["worker"]
    mount = next(volume for volume in worker["volumes"] if "BUNDLES_FOLDER" in volume)
    assert mount.endswith(":/var/lib/bouquet/bundles:ro")
    assert {"BOUQUET_BUNDLE", "BOUQUET_BUNDLE_PUBLIC_KEYS"} <= worker["environment"].keys()
    assert "/var/lib/bouquet/bundles/" in (ROOT / ".env.example").read_text(encoding="utf-8")


def test_only_this_host_is_served_unless_told_otherwise() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports == ["${BIND_ADDRESS:-127.0.0.1}:${PORT:-8000}:8000", "127.0.0.1:${GRAFANA_PORT:-3000}:3000"]


def test_a_worker_has_the_gpus_but_where_there_is_none() -> None:
    worker = compose()["services"]["worker"]
    assert (worker["gpus"], worker["command"]) == ("all", ["worker", "--devices", "all"])
    other = compose("docker/compose.cpu.yml")["services"]["worker"]
    assert (other["gpus"], other["command"]) == (None, ["worker"])
    assert other["build"]["args"] == {"DEVICE": "cpu"}
    assert "ARG DEVICE=gpu" in DOCKERFILE


def test_the_files_that_are_mounted_exist() -> None:
    mounts = [volume for service in compose()["services"].values() for volume in service["volumes"]]
    # A folder that can be chosen stands there as ${NAME:-default}.
    sources = [re.sub(r"^\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0] for volume in mounts]
    assert [source for source in sources if source.startswith("./") and not (ROOT / source).exists()] == []
    assert {source for source in sources if not source.startswith("./")} == compose()["volumes"].keys()


def test_dashboards_ask_the_data_source_that_is_provided() -> None:
    provisioned = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    provider = yaml.safe_load((ROOT / "docker/grafana/provisioning/dashboards/bouquet.yml").read_text())["providers"][0]
    mount = next(volume for volume in compose()["services"]["grafana"]["volumes"] if volume.startswith("./"))
    folder, place = mount.split(":")[:2]
    dashboards = list((ROOT / folder / provider["options"]["path"].removeprefix(f"{place}/")).glob("*.json"))
    assert dashboards
    for path in dashboards:
        asked = set(re.findall(r'"uid":\s*"([^"$]+)"', json.dumps(json.loads(path.read_text())["panels"])))
        assert asked <= {source["uid"]}, path.name


def test_prometheus_finds_its_rules_and_the_front_end() -> None:
    folder, place = compose()["services"]["prometheus"]["volumes"][0].split(":")[:2]
    assert f"--config.file={place}/prometheus.yml" in compose()["services"]["prometheus"]["command"]
    settings = yaml.safe_load((ROOT / folder / "prometheus.yml").read_text(encoding="utf-8"))
    assert [name for name in settings["rule_files"] if not (ROOT / folder / name).is_file()] == []
    assert settings["scrape_configs"][0]["dns_sd_configs"][0]["names"] == ["api"]


# --- Kubernetes ---


@pytest.mark.parametrize(("name", "manifest"), manifests(), ids=[name for name, _ in manifests()])
def test_a_manifest_is_one(name: str, manifest: dict[str, Any]) -> None:
    if manifest["kind"] not in ("Kustomization", "ScaledObject"):  # of kubectl and of KEDA, with tests of their own
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_a_manifest_that_is_wrong_is_seen() -> None:
    wrong = json.loads(json.dumps(of_kind("Deployment")["api"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["imagination"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_kustomize_takes_them_all_and_the_version_that_there_is() -> None:
    text = (ROOT / "docker/kubernetes/kustomization.yaml").read_text(encoding="utf-8")
    (kustomization,) = yaml.safe_load_all(text)
    optional = set(re.findall(r"# - (\S+\.yaml)", text))
    listed = set(kustomization["resources"]) | optional
    there = {path.name.replace(".example", "") for path in MANIFESTS} - {"kustomization.yaml"}
    assert listed == there
    assert {image["newTag"] for image in kustomization["images"]} == {pyproject()["project"]["version"]}


@pytest.mark.parametrize("name", pod_specs())
def test_pods_have_no_rights(name: str) -> None:
    spec = pod_specs()[name]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_pods_are_given_the_time_to_drain() -> None:
    drain = int(of_kind("ConfigMap")["bouquet"]["data"]["BOUQUET_DRAIN_SECONDS"])
    assert pod_specs()["worker"]["terminationGracePeriodSeconds"] > drain + 10
    assert pod_specs()["worker"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_selectors_find_the_pods_they_mean() -> None:
    labels = {
        workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for workload in (of_kind("Deployment") | of_kind("StatefulSet")).values()
    }
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        for manifest in of_kind(kind).values():
            assert manifest["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] in labels
    meant = re.findall(
        r"bouquet-\w+", json.dumps([manifest for _, manifest in manifests() if "Policy" in manifest["kind"]])
    )
    assert set(meant) == labels


def test_what_pods_mount_and_read_is_there() -> None:
    known = set(of_kind("ConfigMap")) | set(of_kind("Secret")) | {"redis-tls"}  # which an authority makes
    text = json.dumps(pod_specs())
    named = set(re.findall(r'"(?:configMap|secretRef|configMapRef)": \{"name": "([^"]+)"', text))
    named |= set(re.findall(r'"secretName": "([^"]+)"', text))
    assert named <= known
    for spec in pod_specs().values():
        volumes = {volume["name"] for volume in [*spec["volumes"], {"name": "data"}]}
        assert {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]} <= volumes


def test_scaling_asks_for_figures_that_there_are() -> None:
    scaled = of_kind("ScaledObject")["worker"]
    assert (scaled["apiVersion"], scaled["spec"]["scaleTargetRef"]["name"]) == ("keda.sh/v1alpha1", "worker")
    assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"]
    (trigger,) = scaled["spec"]["triggers"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes text alone"
    asked = set(re.findall(r"bouquet_\w+", trigger["metadata"]["query"]))
    assert asked
    source = (ROOT / "app" / "metrics.py").read_text(encoding="utf-8")
    assert {name for name in asked if f'"{name}"' not in source} == set()


def test_no_secret_is_in_the_templates() -> None:
    values = [value for secret in of_kind("Secret").values() for value in secret["stringData"].values()]
    for value in values:
        assert value in ("", "CHANGE-ME") or ">CHANGE-ME " in value


# --- documents ---


def test_what_the_threat_model_calls_a_test_is_one() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| who ", "|---"))]
    assert len(rows) > 15
    for row in rows:
        held_by = row.split("|")[3]
        named = re.findall(r"(tests/[\w/]+\.py|docker/verify)(?:::(\w+))?", held_by)
        assert named, row
        for path, test in named:
            assert (ROOT / path).is_file(), path
            assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"


def test_the_licence_of_all_that_is_shipped_is_told() -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    told = set(re.findall(r"(?m)^\| ([a-z0-9._-]+) \|", page))
    for lock in ("api", "cpu", "gpu-worker"):
        text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        shipped = {name.lower() for name in re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", text)}
        assert shipped - told == set(), "make licences"
