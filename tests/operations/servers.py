"""The servers of server mode as native processes on free loopback ports: S3 (moto), MLflow, Prefect, workers.

Each runs under ``ratchet.flows.servers.supervisor``: it ends with the tests, even if they are killed. Passwords and keys reach
a server by its environment or a file of mode 0600, never by its arguments, which every user of the machine can read.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.commands import environment

HOST = "127.0.0.1"
PATIENCE_SECONDS = 240
POLL_SECONDS = 0.2


@dataclass
class Server:
    """A process that can be started again at the same address."""

    name: str
    command: Sequence[str]
    variables: Mapping[str, str]
    log: Path
    url: str | None = None  # that answers, with whatever status, once it is up
    folder: Path | None = None  # its working directory
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def launch(self) -> None:
        """Start it; it may not answer yet."""
        supervisor = [sys.executable, "-P", "-m", "ratchet.flows.servers.supervisor", str(os.getpid())]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*supervisor, *self.command],
                stdin=subprocess.PIPE,  # its end shows the supervisor that we are gone
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**environment(), **self.variables},
                start_new_session=True,
            )

    def await_answer(self) -> None:
        """
        Raises:
            AssertionError: if it ends or does not answer in time, with the end of its log.
        """
        assert self.process is not None
        assert self.url is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not answers(self.url):
            alive = self.process.poll() is None and time.monotonic() < deadline
            assert alive, f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-3000:]}"
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """SIGTERM, after five seconds SIGKILL; to its whole process group."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL to it and to everything it started, in sessions of their own too: what a power cut would do."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(60)

    def children(self) -> list[psutil.Process]:
        """What it has started itself: a worker's engines."""
        assert self.process is not None
        return [child for one in psutil.Process(self.process.pid).children() for child in one.children()]

    def __enter__(self) -> "Server":
        self.launch()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def answers(url: str) -> bool:
    """Whether an address answers, even with a refusal."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def s3(port: int, logs: Path) -> Server:
    """moto's S3. Its objects are in its memory: it is the one server that cannot be restarted."""
    command = [sys.executable, "-m", "moto.server", "--host", HOST, "--port", str(port)]
    return Server("s3", command, {}, logs / "s3.log", f"http://{HOST}:{port}/moto-api/")


def mlflow(port: int, variables: Mapping[str, str], logs: Path) -> Server:
    """MLflow's server with logins, which alone holds the keys of the artifacts' bucket."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--app-name", "basic-auth"]
    return Server("mlflow", command, variables, logs / "mlflow.log", f"http://{HOST}:{port}/health")


def prefect(port: int, variables: Mapping[str, str], logs: Path) -> Server:
    """Our guarded Prefect server."""
    command = [sys.executable, "-m", "ratchet.flows.servers.prefect_server", "--port", str(port)]
    return Server("prefect", command, variables, logs / "prefect.log", f"http://{HOST}:{port}/api/health")


def worker(name: str, pool: str, folder: Path, variables: Mapping[str, str], logs: Path) -> Server:
    """A process worker that takes one run at a time."""
    start = [
        "worker",
        "start",
        "--pool",
        pool,
        "--name",
        name,
        "--type",
        "process",
        "--install-policy",
        "never",
        "--limit",
        "1",
    ]
    return Server(name, [sys.executable, "-m", "prefect", *start], variables, logs / f"{name}.log", folder=folder)
