"""Commands that start a Prefect server, started as a user does, and their servers as a web page finds them."""

import contextlib
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests import commands
from tests.commands import environment, ratchet
from tests.places import ROOT

MICRO = str(ROOT / "tests" / "recipes" / "micro.yaml")
# A training that outlives every test here.
ENDLESS = [f"--set={pair}" for pair in ("train.steps=1000000", "train.evaluate_every=1000000", "train.sentinel.looks=[]")]


def new_project(path: Path, database: Path | None = None) -> Path:
    """A project directory; with a database of Prefect's, its server need not make one, which takes seconds."""
    commands.new_project(path)
    if database is not None:
        (path / ".ratchet" / "prefect").mkdir(parents=True)
        shutil.copy(database, path / ".ratchet" / "prefect")
    return path


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
    with (project / "printed").open("wb") as printed:
        process = subprocess.Popen(
            ratchet(*arguments),
            cwd=project,
            env=environment(),
            start_new_session=True,
            stdout=printed,
            stderr=subprocess.STDOUT,
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
