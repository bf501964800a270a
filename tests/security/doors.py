"""Commands that start a Prefect server, started as a user does, and their servers as a web page finds them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.places import ROOT

MICRO = str(ROOT / "tests" / "recipes" / "micro.yaml")
PATIENCE_SECONDS = 240
# A training that outlives every test here.
ENDLESS = [f"--set={pair}" for pair in ("train.steps=1000000", "train.evaluate_every=1000000", "train.sentinel.looks=[]")]


def new_project(path: Path, database: Path | None = None) -> Path:
    """A project directory; with a database of Prefect's, its server need not make one, which takes seconds."""
    (path / "mlflow").mkdir(parents=True)
    shutil.copy(ROOT / "mlflow" / "model-card.md.j2", path / "mlflow")
    if database is not None:
        (path / ".ratchet" / "prefect").mkdir(parents=True)
        shutil.copy(database, path / ".ratchet" / "prefect")
    return path


def environment() -> dict[str, str]:
    """A shell's that knows nothing of any server yet, with ``ratchet`` and ``prefect`` on its path."""
    hidden = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME")
    hidden += ("PREFECT_SERVER_EPHEMERAL_ENABLED",)
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MLFLOW_WORKERS": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], Any]) -> Any:
    """The first true value, retried while processes start or end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, psutil.Error):
            if value := what():
                return value
        time.sleep(0.2)
    raise AssertionError(f"nothing came within {PATIENCE_SECONDS} s")


def healthy(port: int, path: str = "/api/health") -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        return bool(reply.status == 200)


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def listening_port(process: subprocess.Popen[bytes]) -> int | None:
    """The port of a child that was not told one which we know."""
    ports = [connection.laddr.port for child in children(process) for connection in listeners(child)]
    return ports[0] if ports else None


def listeners(process: psutil.Process) -> list[Any]:
    return [connection for connection in process.net_connections("tcp") if connection.status == psutil.CONN_LISTEN]


def suspend_all_but_servers(process: subprocess.Popen[bytes]) -> None:
    """Hold a run where it is, which costs no time then; its server answers as before."""
    for each in [psutil.Process(process.pid), *children(process)]:
        if not listeners(each):
            each.suspend()


@contextlib.contextmanager
def started(project: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """``ratchet arguments`` in a session of its own, which is ended whole; what it prints is in ``printed`` in the project."""
    command = [sys.executable, "-m", "ratchet", *arguments]
    with (project / "printed").open("wb") as printed:
        process = subprocess.Popen(
            command, cwd=project, env=environment(), start_new_session=True, stdout=printed, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@dataclass(frozen=True)
class Door:
    """A Prefect server as its users and a web page find it."""

    project: Path
    process: subprocess.Popen[bytes]
    port: int
    mlflow_port: int | None = None

    @property
    def token(self) -> str:
        """The one that the server itself was started with."""
        found = {child.environ().get("PREFECT_SERVER_API_AUTH_STRING") for child in children(self.process)}
        (token,) = found - {None}
        assert token is not None
        return token

    @property
    def printed(self) -> str:
        return (self.project / "printed").read_text(encoding="utf-8")
