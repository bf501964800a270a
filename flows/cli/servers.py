"""Start loopback servers and wait until they answer."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from components.errors import RatchetError

HOST = "127.0.0.1"
PATIENCE_SECONDS = 120


def require_free(port: int, option: str) -> None:
    """Refuse a port that another program holds.

    Raises:
        RatchetError: naming the port and the option that changes it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise RatchetError(f"port {port} on {HOST} is busy ({error.strerror}). Choose another with {option}.") from error


def start(module: str, arguments: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
    """Start ``python -m module arguments`` as a child, with more environment variables."""
    return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=sys.stderr, env={**os.environ, **environment})


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait for a server's health address.

    Raises:
        RatchetError: if it ends or does not answer in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RatchetError(f"the server at {url} ended with code {process.returncode}. Its messages are above.")
        if is_healthy(url):
            return
        time.sleep(0.5)
    process.terminate()
    raise RatchetError(f"{url} did not answer within {PATIENCE_SECONDS} s. Free the machine and try again.")


def is_healthy(url: str) -> bool:
    """Whether an address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def prefect_server(port: int) -> subprocess.Popen[bytes]:
    """A Prefect server on the loopback address."""
    require_free(port, "--prefect-port")
    if "PREFECT_HOME" in os.environ:
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True, mode=0o700)  # the server does not make it
    arguments = ["server", "start", "--host", HOST, "--port", str(port)]
    # The pages ask this address, which is otherwise the default port's whatever --port says.
    process = start("prefect", arguments, PREFECT_SERVER_UI_API_URL=f"http://{HOST}:{port}/api")
    wait_until_healthy(f"http://{HOST}:{port}/api/health", process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a child, politely first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
