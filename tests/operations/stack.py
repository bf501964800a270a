"""Server mode put up whole, as docs/server_mode.md says: PostgreSQL, S3, MLflow with logins, Prefect, and a project on them."""

import json
import shutil
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import yaml

from tests.commands import environment, free_port, new_project, ratchet
from tests.operations import servers
from tests.operations.credentials import random_secrets
from tests.operations.servers import HOST, Server
from tests.places import MICRO
from tests.postgres import Postgres

POOL = "ratchet"
ADMIN, USER = "admin", "nightly"  # of MLflow
DATA, MODELS = "data", "models"  # buckets
DATABASES = {"ledger": (), "mlflow": (), "prefect": ("pg_trgm",)}  # and the extensions of each


@dataclass(frozen=True)
class Stack:
    """The servers, and the environment by which the project's commands and workers find them."""

    project: Path
    logs: Path
    secrets: Mapping[str, str]
    postgres: Postgres
    databases: Mapping[str, str]  # their URLs
    mlflow: Server
    prefect: Server
    variables: Mapping[str, str]

    def call(self, *command: str) -> str:
        """Run a command in the project: its stdout. All that it says is kept among the logs."""
        variables = {**environment(), **self.variables}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run(command, cwd=self.project, env=variables, check=False, timeout=600, **pipes)
        with (self.logs / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"{command}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def verb(self, *arguments: str) -> str:
        """``ratchet ...`` in the project."""
        return self.call(*ratchet(*arguments))

    def worker(self, name: str) -> Server:
        """A process worker of the project's pool."""
        return servers.worker(name, POOL, self.project, self.variables, self.logs)

    def dump(self, database: str) -> str:
        """Everything in a database, as SQL."""
        place = urlsplit(self.databases[database])
        command = [str(self.postgres.programs / "pg_dump"), f"--host={HOST}", f"--port={place.port}", f"--username={database}"]
        variables = {**environment(), "PGPASSWORD": password_of(self.databases[database])}
        done = subprocess.run([*command, database], env=variables, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout

    def restart_servers(self) -> None:
        """PostgreSQL, Prefect and MLflow at once, as after a power cut."""
        self.postgres.stop()
        self.postgres.start()
        for server in (self.prefect, self.mlflow):
            server.stop()
            server.launch()
        for server in (self.prefect, self.mlflow):
            server.await_answer()


@contextmanager
def stack(postgres: Postgres, root: Path) -> Iterator[Stack]:
    """All servers; they end in the reverse order."""
    logs, ports = root / "logs", {name: free_port() for name in ("s3", "mlflow", "prefect")}
    logs.mkdir()
    databases = {name: postgres.database(name, *extensions) for name, extensions in DATABASES.items()}
    secrets = random_secrets() | {f"database {name}": password_of(url) for name, url in databases.items()}
    bucket = {**keys(secrets), "MLFLOW_S3_ENDPOINT_URL": f"http://{HOST}:{ports['s3']}"}
    with ExitStack() as started:
        s3 = started.enter_context(servers.s3(ports["s3"], logs))
        settings = mlflow_settings(secrets, databases["mlflow"], root)
        mlflow = started.enter_context(servers.mlflow(ports["mlflow"], {**settings, **bucket}, logs))
        prefect = started.enter_context(
            servers.prefect(ports["prefect"], prefect_settings(secrets, databases["prefect"], root), logs)
        )
        s3.await_answer()
        make_buckets(f"http://{HOST}:{ports['s3']}", secrets)
        mlflow.await_answer()
        add_mlflow_user(f"http://{HOST}:{ports['mlflow']}", secrets)
        prefect.await_answer()
        variables = {**keys(secrets), **clients(secrets, ports, databases["ledger"], root)}
        project = server_project(root / "project", ports["s3"])
        yield Stack(project, logs, secrets, postgres, databases, mlflow, prefect, variables)


def password_of(url: str) -> str:
    return unquote(urlsplit(url).password or "")


def keys(secrets: Mapping[str, str]) -> dict[str, str]:
    """Of S3."""
    return {
        "AWS_ACCESS_KEY_ID": secrets["s3_id"],
        "AWS_SECRET_ACCESS_KEY": secrets["s3_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def clients(secrets: Mapping[str, str], ports: Mapping[str, int], ledger: str, root: Path) -> dict[str, str]:
    """What workers and the project's commands need for Prefect, MLflow and the ledger."""
    return {
        "PREFECT_API_URL": f"http://{HOST}:{ports['prefect']}/api",
        "PREFECT_API_AUTH_STRING": f"ratchet:{secrets['prefect_api']}",
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{ports['mlflow']}",
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": secrets["mlflow_user"],
        "RATCHET_LEDGER_URL": ledger,
    }


def mlflow_settings(secrets: Mapping[str, str], database: str, root: Path) -> dict[str, str]:
    """MLflow's runs, models and users are in one database; its clients' artifacts pass through it."""
    url = database.replace("postgresql://", "postgresql+psycopg://")
    logins = {
        "default_permission": "READ",
        "database_uri": url.replace("%", "%%"),  # of an .ini file
        "admin_username": ADMIN,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": "60",  # without it, each request waits for a PBKDF2 hash
    }
    file = root / "logins.ini"
    file.touch(0o600)
    file.write_text("\n".join(["[mlflow]", *(f"{name} = {value}" for name, value in logins.items())]), encoding="utf-8")
    return {
        "MLFLOW_BACKEND_STORE_URI": url,
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{MODELS}",
        "MLFLOW_AUTH_CONFIG_PATH": str(file),
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets["mlflow_admin"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets["mlflow_session"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def add_mlflow_user(url: str, secrets: Mapping[str, str]) -> None:
    """The user of the nightly runs, who manages what it creates."""
    body = json.dumps({"username": USER, "password": secrets["mlflow_user"]}).encode()
    login = b64encode(f"{ADMIN}:{secrets['mlflow_admin']}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/api/2.0/mlflow/users/create", body, headers), timeout=60).close()


def prefect_settings(secrets: Mapping[str, str], database: str, root: Path) -> dict[str, str]:
    """Prefect's server, which looks for due schedules every 5 s instead of every 60."""
    place = urlsplit(database)
    return {
        "PREFECT_HOME": str(root / "prefect-server"),
        "PREFECT_SERVER_API_AUTH_STRING": f"ratchet:{secrets['prefect_api']}",
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": HOST,
        "PREFECT_SERVER_DATABASE_PORT": str(place.port),
        "PREFECT_SERVER_DATABASE_NAME": "prefect",
        "PREFECT_SERVER_DATABASE_USER": "prefect",
        "PREFECT_SERVER_DATABASE_PASSWORD": password_of(database),
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
    }


def make_buckets(endpoint: str, secrets: Mapping[str, str]) -> None:
    login = {"aws_access_key_id": secrets["s3_id"], "aws_secret_access_key": secrets["s3_key"]}
    client = boto3.client("s3", "us-east-1", endpoint_url=endpoint, **login)
    for name in (DATA, MODELS):
        client.create_bucket(Bucket=name)


def server_project(path: Path, s3: int) -> Path:
    """A project with the micro recipe, whose data go to a bucket."""
    project = new_project(path)
    shutil.copy(MICRO, project / "ratchet.yaml")
    (project / ".dvc").mkdir()
    remote = f"['remote \"s3\"']\n    url = s3://{DATA}\n    endpointurl = http://{HOST}:{s3}\n"
    (project / ".dvc" / "config").write_text(f"[core]\n    remote = s3\n{remote}", encoding="utf-8")
    return project


def deployment(name: str, overrides: Sequence[str], seconds: float) -> str:
    """The text of a ``prefect.yaml`` with one deployment, due every so many seconds."""
    one = {
        "name": name,
        "entrypoint": "ratchet.flows.finetune.finetune",
        "parameters": {"recipe": "ratchet.yaml", "overrides": list(overrides)},
        "schedules": [{"interval": seconds, "slug": name}],
        "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE"},
        "work_pool": {"name": POOL},
    }
    return yaml.safe_dump({"name": "night", "deployments": [one]}, sort_keys=False)
