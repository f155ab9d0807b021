"""docker-compose.yml, the images and Grafana's provisioning fit together. tests/integration/test_compose.py runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from aurea_celery._version import __version__
from tests.support.compose import COMPOSE_FILE, VARIABLE, read_compose
from tests.support.installation import ROOT
from tests.unit.test_docs import source_text

TEXT = COMPOSE_FILE.read_text()
FILE = read_compose()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
REQUIRED = {found[2] for found in VARIABLE.finditer(TEXT) if found[2]}
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
PUBLIC_IMAGES = ("postgres:", "valkey/valkey:", "grafana/grafana:")


class ComposeSnippets(yaml.SafeLoader):
    """Reads Compose's own tags too, as nothing."""


ComposeSnippets.add_multi_constructor("!", lambda *_: None)


def documented_services() -> list[dict[str, Any]]:
    """The services in the Compose snippets of the documentation."""
    found: list[dict[str, Any]] = []
    for page in sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")}):
        for snippet in re.findall(r"```ya?ml\n(.*?)```", page.read_text(), re.DOTALL):
            content = yaml.load(snippet, Loader=ComposeSnippets)  # noqa: S506 - a safe loader
            if isinstance(content, dict):
                found += content.get("services", {}).values()
    return found


def test_it_is_valid_by_the_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout


def real_compose() -> list[str]:
    """Docker Compose 2, as a plugin or as a program."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            if asked.returncode == 0 and int(asked.stdout.lstrip("v").split(".")[0]) > 1:
                return command
    pytest.skip("Docker Compose 2 is not installed on this machine; test_it_is_valid_by_the_schema runs without it")


def test_compose_itself_reads_it_as_these_tests_do(tmp_path: Path) -> None:
    secrets = {name: f"{name.lower()}0" for name in REQUIRED}
    found = configured([*real_compose(), "--file", str(COMPOSE_FILE)], tmp_path, secrets)
    assert found.returncode == 0, found.stderr
    read = json.loads(found.stdout)["services"]
    expected = read_compose(secrets)["services"]
    assert set(read) == set(expected)
    for name, service in expected.items():
        for key in ("command", "environment", "user", "image", "pull_policy", "restart", "read_only"):
            assert (unescaped(read[name].get(key)) or None) == (service.get(key) or None), f"{name}: {key}"
        if "healthcheck" in service:
            assert unescaped(read[name]["healthcheck"]["test"]) == service["healthcheck"]["test"]


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_compose_refuses_to_start_without_a_secret(tmp_path: Path, missing: str) -> None:
    secrets = {name: "" if name == missing else "x" for name in REQUIRED}
    found = configured([*real_compose(), "--file", str(COMPOSE_FILE)], tmp_path, secrets)
    assert found.returncode != 0
    assert found.stderr.strip().endswith(
        f"required variable {missing} is missing a value: copy .env.example to .env and fill it in"
    )


def test_the_documented_override_puts_another_worker_in_place(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "compose.md").read_text()
    override = tmp_path / "override.yml"
    override.write_text(page.split("```yaml\n")[1].split("```")[0])
    compose = [*real_compose(), "--file", str(COMPOSE_FILE), "--file", str(override)]
    found = configured(compose, tmp_path, dict.fromkeys(REQUIRED, "x"))
    assert found.returncode == 0, found.stderr
    for name in ("worker", "writer"):
        service = json.loads(found.stdout)["services"][name]
        assert "build" not in service
        assert (service["image"], service["pull_policy"]) == ("shop:1.0", "never")
        assert service["environment"]["AUREA_OUTBOX_DIR"] == service["volumes"][0]["target"]


def configured(compose: list[str], folder: Path, secrets: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What such a command's ``config`` says beside such a ``.env``."""
    env_file = folder / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
    command = [*compose, "--env-file", str(env_file), "config", "--format", "json"]
    environ = {name: value for name, value in os.environ.items() if name not in REQUIRED}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def unescaped(value: Any) -> Any:
    """What ``config`` prints can be read again: its dollars are doubled."""
    return json.loads(json.dumps(value).replace("$$", "$"))


def test_nothing_starts_without_its_secrets_and_each_is_explained() -> None:
    assert len(re.findall(r"(?<!\$)\$\{?\w", TEXT)) == sum(bool(found[2]) for found in VARIABLE.finditer(TEXT))
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"# .+\n(\w+)=\n", example)) == REQUIRED


def test_the_documentation_makes_every_secret(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "compose.md").read_text()
    commands, _, _ = page.split("```bash\n")[1].partition("docker compose up")
    subprocess.run(["/bin/bash", "-euc", commands], cwd=tmp_path, check=True, timeout=30)
    made = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert set(made) == REQUIRED
    assert all(re.fullmatch(r"(read:)?[0-9a-f]{48}", secret) for secret in made.values())
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_every_service_and_volume_is_documented() -> None:
    table = (ROOT / "docs" / "compose.md").read_text().split("## What runs")[1].split("##")[0]
    assert {name for name in (*SERVICES, *FILE["volumes"]) if f"`{name}`" not in table} == set()


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":\d+\.\d+[\w.-]*$", service["image"]), f"{name}: {service['image']}"
    assert re.search(r"^ARG BASE_IMAGE=python:3\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    for name in OURS:
        target = SERVICES[name]["build"]["target"]
        assert SERVICES[name]["image"] == f"aurea-celery/{target}:{__version__}"
        assert f" AS {target}\n" in DOCKERFILE


def test_no_registry_is_asked_for_an_image_that_is_built_here() -> None:
    """Whoever registers its name would be given the secrets."""
    assert {name: SERVICES[name].get("pull_policy") for name in OURS} == dict.fromkeys(OURS, "never")
    assert {name for name, service in SERVICES.items() if is_local_name(service["image"])} == OURS


def test_nor_by_a_documented_override() -> None:
    local = [service for service in documented_services() if is_local_name(service.get("image", ""))]
    assert local, "docs/compose.md has one"
    assert [service for service in local if service.get("pull_policy") != "never"] == []


def is_local_name(image: str) -> bool:
    """Whether an image is neither one of the pinned public ones nor named with its registry."""
    registry, _, rest = image.partition("/")
    is_qualified = bool(rest) and ("." in registry or ":" in registry)
    return bool(image) and not is_qualified and not image.startswith(PUBLIC_IMAGES)


def test_only_the_api_and_grafana_are_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:4000:4000"], "grafana": ["127.0.0.1:3000:3000"]}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is (name != "grafana")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    is_job = service["restart"] == "no"
    assert service["restart"] == ("no" if is_job else "unless-stopped")
    assert ("healthcheck" in service) is not is_job
    for other, wanted in service.get("depends_on", {}).items():
        expected = "service_completed_successfully" if SERVICES[other]["restart"] == "no" else "service_healthy"
        assert wanted == {"condition": expected}


def test_who_is_told_of_a_server_can_reach_it_and_the_worker_no_database() -> None:
    for name, service in SERVICES.items():
        told = json.dumps(service.get("environment", {}))
        for server in ("database", "broker"):
            if name not in ("grafana", server):
                assert (f"@{server}:" in told) is (server in service["networks"]), f"{name}: {server}"
    assert FILE["networks"]["database"] == {"internal": True}
    assert SERVICES["worker"]["networks"] == ["broker"]


def test_mounted_files_exist_and_volumes_belong_to_who_uses_them() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = [one for one in mounted if isinstance(one, dict)]
    named = {one.split(":")[0] for one in mounted if isinstance(one, str)}
    assert named == set(FILE["volumes"])
    for one in files:
        assert one["read_only"]
        assert (ROOT / one["source"]).exists(), f"{one['source']} does not exist"
    for name in OURS:
        for volume in SERVICES[name].get("volumes", []):
            assert f"--mode=700 {volume.split(':')[1]}\n" in DOCKERFILE


def test_every_variable_of_ours_is_known() -> None:
    source = source_text() + (ROOT / "worker_example" / "app.py").read_text()
    for name in OURS:
        for variable in SERVICES[name].get("environment", {}):
            is_setting = variable.startswith("AUREA_") and f"    {variable.removeprefix('AUREA_').lower()}: " in source
            assert is_setting or f'"{variable}"' in source, f"{name}: nobody reads {variable}"


def test_images_do_alone_what_they_do_here() -> None:
    stages = {stage.split("\n")[0].split(" AS ")[1]: stage for stage in DOCKERFILE.split("\nFROM ")[1:]}
    assert f"USER {SERVICES['api']['user']}\n" in stages["installed"]
    assert f"CMD {json.dumps(SERVICES['worker']['command'])}\n" in stages["worker-example"]
    assert f"CMD {json.dumps(SERVICES['api']['command'])}\n" in stages["aurea-celery"]
    kind, *check = SERVICES["api"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert f"CMD {json.dumps(check)}\n" in stages["aurea-celery"]


def test_the_build_context_has_what_is_copied() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY ([^-].*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def test_grafana_reads_as_the_reader_from_where_everything_is() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "aurea.yaml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == ("aurea-postgres", "grafana-postgresql-datasource")
    database = SERVICES["database"]["environment"]
    assert source["jsonData"]["database"] == database["POSTGRES_DB"]
    assert source["jsonData"]["maxOpenConns"] > 0
    assert source["url"] == "database:5432"
    assert source["user"] == "aurea_reader" != database["POSTGRES_USER"]
    assert source["secureJsonData"]["password"].removeprefix("$") in SERVICES["grafana"]["environment"]


def test_grafana_finds_dashboard_and_alerts() -> None:
    targets = {one["target"] for one in SERVICES["grafana"]["volumes"] if isinstance(one, dict)}
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "aurea.yaml").read_text())["providers"]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert str(home) in targets
    assert "/etc/grafana/provisioning" in targets
    assert (PROVISIONING / "alerting" / "aurea.yaml").is_file()
