"""docs/server_mode.md says what the tests of this folder do: the same commands, variables and settings."""

import re
from pathlib import Path

import pytest

from tests.operations import servers, stack
from tests.operations.credentials import random_secrets
from tests.places import ROOT

PAGE = (ROOT / "docs" / "server_mode.md").read_text(encoding="utf-8")
ONLY_IN_TESTS = {  # state apart from the user's own, and less waiting
    "PREFECT_HOME",
    "PREFECT_LOGGING_LEVEL",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS",
    "PREFECT_WORKER_QUERY_SECONDS",
}
URL = "postgresql://name:secret@127.0.0.1:5432/name"


@pytest.mark.parametrize(
    "server",
    [
        servers.mlflow(5000, {}, Path()),
        servers.prefect(4200, {}, Path()),
        servers.worker("one", stack.POOL, Path(), {}, Path()),
    ],
    ids=lambda server: server.name,
)
def test_a_server_is_started_as_the_page_says(server: servers.Server) -> None:
    command = " ".join(["python", *server.command[1:]])
    assert command.removeprefix("python -m ") in PAGE


def test_the_variables_are_those_of_the_page(tmp_path: Path) -> None:
    secrets = random_secrets()
    used = {
        *stack.mlflow_settings(secrets, URL, tmp_path),
        *stack.prefect_settings(secrets, URL, tmp_path),
        *stack.clients(secrets, dict.fromkeys(("prefect", "mlflow"), 1), URL, tmp_path),
        *stack.keys(secrets),
        "MLFLOW_S3_ENDPOINT_URL",
    }
    assert set(re.findall(r"^([A-Z][A-Z0-9_]+)=", PAGE, re.MULTILINE)) == used - ONLY_IN_TESTS


def test_the_logins_file_is_that_of_the_page(tmp_path: Path) -> None:
    stack.mlflow_settings(random_secrets(), URL, tmp_path)
    (shown,) = re.findall(r"```ini\n(\[mlflow\].*?)```", PAGE, re.DOTALL)

    def without_address(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("database_uri")]

    assert without_address(shown) == without_address((tmp_path / "logins.ini").read_text(encoding="utf-8"))


def test_databases_are_created_as_the_page_says() -> None:
    assert set(re.findall(r"^CREATE DATABASE (\w+) OWNER \1;$", PAGE, re.MULTILINE)) == set(stack.DATABASES)
    assert set(re.findall(r"^CREATE EXTENSION (\w+);$", PAGE, re.MULTILINE)) == set(stack.DATABASES["prefect"])
