"""The files that no other test starts: their structure, and that they fit the code and the libraries they speak to."""

import configparser
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ratchet.flows.servers import prefect_server
from tests.places import ROOT

INFRA = ROOT / "infra"
DOCUMENTS = [
    *sorted(path for path in INFRA.rglob("*") if path.suffix in {".yaml", ".json"}),
    ROOT / "prefect.yaml",
    ROOT / "mlflow" / "MLproject",
    ROOT / "mlflow" / "python_env.yaml",
]
VERBS = {"run", "evaluate", "gate", "data", "reward", "train"}
REQUIRED_SECRET = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")


def load(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def pairs(node: Any) -> list[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(node, dict):
        return [pair for key, value in node.items() for pair in [(str(key), value), *pairs(value)]]
    if isinstance(node, list):
        return [pair for item in node for pair in pairs(item)]
    return []


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{\{\s*([\w.]+)\s*\}\}", text))


COMPOSE = load(INFRA / "compose.yaml")
DEPLOYMENTS = load(ROOT / "prefect.yaml")["deployments"]
ENTRY_POINTS = load(ROOT / "mlflow" / "MLproject")["entry_points"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_parses_and_holds_no_secret(path: Path) -> None:
    document = load(path)
    assert isinstance(document, dict)
    for key, value in pairs(document):
        if isinstance(value, str) and re.search(r"password|auth_?string|token", key, re.IGNORECASE):
            assert REQUIRED_SECRET.fullmatch(value), f"{key} has a literal value or a default"
    assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", path.read_text(encoding="utf-8")), "a password in a URL"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_deployment_fits_the_flow(deployment: dict[str, Any]) -> None:
    flow = import_entrypoint(deployment["entrypoint"])
    assert set(deployment["parameters"]) <= set(inspect.signature(flow.fn).parameters)


def import_entrypoint(name: str) -> Any:
    """A module path, so that a file of the same name in a worker's directory is not taken for ours."""
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_deployment_queues_one_run_of_a_recipe_that_ships(deployment: dict[str, Any]) -> None:
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    recipe = ROOT / deployment["parameters"]["recipe"]
    if not recipe.exists():
        pytest.skip(f"{recipe.relative_to(ROOT)} is not there yet")
    assert isinstance(load(recipe), dict)


def test_nightly_runs_at_two_utc() -> None:
    schedules = next(deployment["schedules"] for deployment in DEPLOYMENTS if deployment["name"] == "nightly")
    assert [(schedule["cron"], schedule["timezone"]) for schedule in schedules] == [("0 2 * * *", "UTC")]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_service_is_private_and_checked(name: str) -> None:
    service = COMPOSE["services"][name]
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service.get("restart") == "no" or service["healthcheck"]["test"]  # what runs once is not watched
    if "build" in service:
        assert (INFRA / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
        environment = service["environment"]
        assert environment["DO_NOT_TRACK"] == environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (source.startswith("./") and (INFRA / source).exists())


def test_every_compose_volume_is_used() -> None:
    used = {volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


def test_each_worker_starts_with_its_profile_only() -> None:
    services = COMPOSE["services"]
    found = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert found == {"worker": ["cpu"], "worker-gpu": ["gpu"], "mlflow-user": ["setup"]}
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_each_image_has_the_extra_for_servers() -> None:
    for name, extras in (("Dockerfile", "server,train"), ("Dockerfile.gpu", "gpu,server")):
        text = (INFRA / name).read_text(encoding="utf-8")
        assert f'-e ".[{extras}]"' in text
        assert "--extra server" in text
    mlflow = (INFRA / "mlflow.Dockerfile").read_text(encoding="utf-8")
    assert {"boto3", '"mlflow[auth]"', '"psycopg[binary]"'} <= set(mlflow.split())


def test_mlflow_asks_for_a_login_and_the_workers_have_one() -> None:
    server, user, worker = (COMPOSE["services"][name] for name in ("mlflow", "mlflow-user", "worker"))
    assert "--app-name=basic-auth" in server["command"]
    assert {"MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"} <= set(server["environment"])
    assert user["environment"]["RATCHET_MLFLOW_USER"] == worker["environment"]["MLFLOW_TRACKING_USERNAME"]
    assert user["environment"]["RATCHET_MLFLOW_PASSWORD"] == worker["environment"]["MLFLOW_TRACKING_PASSWORD"]
    logins = configparser.ConfigParser()
    logins.read(INFRA / "mlflow-auth.ini")
    assert f"--backend-store-uri={logins['mlflow']['database_uri']}" in server["command"]
    assert "admin_password" not in logins["mlflow"]


def test_the_ledger_of_the_workers_is_in_postgresql_and_the_driver_is_ours() -> None:
    for name in ("worker", "worker-gpu"):
        environment = COMPOSE["services"][name]["environment"]
        assert environment["RATCHET_LEDGER_URL"] == "${RATCHET_LEDGER_URL:-postgresql://ratchet@postgres:5432/ratchet}"
        assert "PGPASSWORD" in environment


@pytest.mark.parametrize("path", sorted(INFRA.glob("*Dockerfile*")), ids=lambda path: path.name)
def test_image_is_constrained_and_runs_as_an_ordinary_user(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "constraints.txt" in text
    users = re.findall(r"^USER (\w+)$", text, re.MULTILINE)
    assert users
    assert users[-1] != "root"


def test_databases_take_their_passwords_from_the_environment() -> None:
    sql = (INFRA / "postgres" / "databases.sql").read_text(encoding="utf-8")
    assert set(re.findall(r"^\\getenv \w+ (\w+)$", sql, re.MULTILINE)) <= set(COMPOSE["services"]["postgres"]["environment"])
    assert set(re.findall(r"PASSWORD (\S+);", sql)) == {":'prefect_password'", ":'mlflow_password'", ":'ledger_password'"}
    assert set(re.findall(r"CREATE DATABASE (\w+)", sql)) == {"prefect", "mlflow", "ratchet"}


def called(url: str) -> str:
    host = urlsplit(url).hostname
    assert host is not None
    return host


def test_compose_starts_prefect_behind_the_guard_under_the_names_that_call_it() -> None:
    server, worker = COMPOSE["services"]["prefect"], COMPOSE["services"]["worker"]
    assert server["entrypoint"] == ["python", "-m", "ratchet.flows.servers.prefect_server"]
    names = prefect_server.parse(server["command"]).names.split(",")
    (check,) = re.findall(r"http://[^']+", server["healthcheck"]["test"][-1])
    assert set(names) == {called(worker["environment"]["PREFECT_API_URL"]), called(check), "localhost"}
    assert prefect_server.SERVER_VARIABLE in server["environment"]


def test_the_chart_starts_prefect_behind_the_guard_under_the_names_that_call_it() -> None:
    values, worker = (load(INFRA / "helm" / f"prefect-{name}-values.yaml") for name in ("server", "worker"))
    server = values["server"]
    assert server["command"] == ["python", "-m", "ratchet.flows.servers.prefect_server"]
    names = prefect_server.parse(server["args"]).names.split(",")
    worker_calls = called(worker["worker"]["selfHostedServerApiConfig"]["apiUrl"])
    assert set(names) == {"127.0.0.1", "localhost", worker_calls, "$(POD_IP)"}  # the last are the kubelet's probes
    assert [variable["valueFrom"]["fieldRef"]["fieldPath"] for variable in server["env"]] == ["status.podIP"]
    assert server["basicAuth"]["enabled"]


def test_job_template_is_closed() -> None:
    template = load(INFRA / "k8s" / "base-job-template.json")
    declared = set(template["variables"]["properties"])
    assert placeholders(json.dumps(template["job_configuration"])) == declared
    variables = next(item for item in DEPLOYMENTS if item["name"] == "gpu")["work_pool"]["job_variables"]
    assert set(variables) <= declared


def test_job_asks_for_a_gpu_shared_memory_and_its_state() -> None:
    manifest = load(INFRA / "k8s" / "base-job-template.json")["job_configuration"]["job_manifest"]
    pod = manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpu_limit }}"
    assert container["command"] == ["/usr/bin/env"]  # the image's entrypoint would swallow the worker's command
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert {"/dev/shm", "/state"} <= {mount["mountPath"] for mount in container["volumeMounts"]}


def test_automation_fits_prefect_and_waits_for_three_heartbeats() -> None:
    from prefect.events.schemas.automations import AutomationCore
    from prefect.settings.models.flows import FlowsSettings

    automation = AutomationCore.model_validate(load(INFRA / "zombie-automation.yaml"))
    assert automation.trigger.within.total_seconds() >= 3 * FlowsSettings.model_fields["heartbeat_frequency"].default
    assert [action.type for action in automation.actions] == ["change-flow-run-state"]


def run_entry_point(name: str, folder: Path, environment: dict[str, str], **parameters: str) -> dict[str, Any]:
    """Run an entry point as MLflow does, with a ``ratchet`` that reports how it was called."""
    project = folder / "mlflow"
    project.mkdir()
    stub = folder / "bin" / "ratchet"
    stub.parent.mkdir()
    stub.write_text('#!/bin/bash\npwd; echo "${MLFLOW_TRACKING_URI-unset}${MLFLOW_RUN_ID-}"; printf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    defaults = {key: spec["default"] for key, spec in ENTRY_POINTS[name]["parameters"].items()}
    quoted = {key: shlex.quote(value) for key, value in {**defaults, **parameters}.items()}
    result = subprocess.run(
        ["bash", "-c", ENTRY_POINTS[name]["command"].format(**quoted)],
        cwd=project,
        env={"PATH": f"{stub.parent}:{os.environ['PATH']}", "MLFLOW_RUN_ID": "wrapper", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    where, tracking, *arguments = result.stdout.splitlines()
    return {"where": Path(where), "tracking": tracking, "arguments": arguments}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_point_runs_a_known_verb_from_the_root(name: str, tmp_path: Path) -> None:
    call = run_entry_point(name, tmp_path, {})
    assert call["where"] == tmp_path
    assert call["arguments"][0] in VERBS
    assert call["arguments"][0] == ("run" if name == "main" else name)
    assert call["arguments"][1:] == ["--recipe=recipes/quickstart.yaml"]


def test_entry_point_passes_values_on_as_data(tmp_path: Path) -> None:
    call = run_entry_point("run", tmp_path, {}, recipe="a b;$(touch x).yaml", overrides="train.k=8 seed=* $(y)")
    assert call["arguments"][1:] == ["--recipe=a b;$(touch x).yaml", "--set=train.k=8", "--set=seed=*", "--set=$(y)"]


def test_entry_point_drops_what_mlflow_made_up_and_keeps_what_a_user_set(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    made_up = run_entry_point("run", tmp_path / "a", {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/a/mlflow.db"})
    chosen = run_entry_point("run", tmp_path / "b", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    assert made_up["tracking"] == "unset"
    assert chosen["tracking"] == "http://127.0.0.1:5000"


def test_server_settings_have_names_that_mlflow_knows() -> None:
    import mlflow.environment_variables as variables
    from mlflow.cli import server

    lines = (ROOT / "mlflow" / "server.env").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    known = {option.envvar for option in server.params if isinstance(option.envvar, str)}
    assert [name for name in settings if name not in known and not hasattr(variables, name)] == ["DO_NOT_TRACK"]
    assert settings["MLFLOW_HOST"] == "127.0.0.1"
    assert settings["DO_NOT_TRACK"] == settings["MLFLOW_DISABLE_TELEMETRY"] == "true"
