"""Start loopback servers and wait until they answer."""

import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from ratchet.components.errors import RatchetError

HOST = "127.0.0.1"
PATIENCE_SECONDS = 120

Process = subprocess.Popen[bytes]


def listen(port: int, option: str) -> socket.socket:
    """A socket that listens on a loopback port; 0 takes any.

    Raises:
        RatchetError: if another program holds the port, naming it and the option that changes it.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise RatchetError(f"port {port} on {HOST} is busy ({error.strerror}). Choose another with {option}.") from error
    listener.listen()
    return listener


def require_free(port: int, option: str) -> None:
    """Refuse a port that another program holds.

    Raises:
        RatchetError: naming the port and the option that changes it.
    """
    listen(port, option).close()


def start(module: str, arguments: Sequence[str], **environment: str) -> Process:
    """Start ``python -m module arguments`` with more environment variables; it ends with this process, however that ends."""
    python = [sys.executable, "-P", "-m"]  # -P: no file of the working directory is taken for a module
    return subprocess.Popen(
        [*python, "ratchet.flows.servers.supervisor", str(os.getpid()), *python, module, *arguments],
        stdin=subprocess.PIPE,  # its end is this process's end
        stdout=sys.stderr,
        env={**os.environ, **environment},
        start_new_session=True,  # what ends our process group must not end who ends the program's
    )


def wait_until_healthy(url: str, process: Process) -> None:
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
        time.sleep(0.1)
    process.terminate()
    raise RatchetError(f"{url} did not answer within {PATIENCE_SECONDS} s. Free the machine and try again.")


def is_healthy(url: str) -> bool:
    """Whether an address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def silence(url: str) -> str | None:
    """Why nothing answers an address; None where something does, even by an error or by a certificate of its own."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def stop(process: Process) -> None:
    """End a child, politely first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
