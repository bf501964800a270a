"""Our Prefect servers (``flows/prefect_server.py``): the project's own, and a temporary one for a run."""

import atexit
import fcntl
import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from components.home import Home
from flows.api_token import SERVER_VARIABLE, SIGN_IN_PATH, client_environment, folder, new_token, token_of
from flows.cli.servers import HOST, Process, listen, stop, wait_until_healthy


def api_url(port: int) -> str:
    return f"http://{HOST}:{port}/api"


def sign_in_url(port: int) -> str:
    return f"http://{HOST}:{port}{SIGN_IN_PATH}"


def start_guarded(listener: socket.socket, token: str, *arguments: str, keep: tuple[int, ...] = ()) -> Process:
    """Start a server on a socket that listens already: no other user can take the port first and be sent the token."""
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True, mode=0o700)  # the server does not make it
    child = ["--child", str(listener.fileno()), str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.prefect_server", *child, *arguments],
        stdin=subprocess.PIPE,  # its end is the parent's end
        stdout=sys.stderr,
        pass_fds=(listener.fileno(), *keep),
        env={**os.environ, SERVER_VARIABLE: token},
    )


def project_server(home: Home, port: int) -> Process:
    """The project's server, which holds a lock for its port as long as it lives.

    Raises:
        RatchetError: if the port is busy, or the server does not start.
    """
    token = token_of(home)
    with listen(port, "--prefect-port") as listener, lock_of(home, port).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start_guarded(listener, token, keep=(lock.fileno(),))
    wait_until_healthy(f"{api_url(port)}/health", process)
    return process


def lock_of(home: Home, port: int) -> Path:
    return folder(home) / f"{port}.lock"


def is_running(home: Home, port: int) -> bool:
    """Whether this project's own server has the port: another's must not be sent the token."""
    with lock_of(home, port).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def api_is_given() -> bool:
    """Whether Prefect's settings (environment, profile, prefect.toml) name a server, which is then left alone."""
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def use(port: int, token: str) -> None:
    """Let this process and its children speak to a server of ours."""
    from prefect.context import refresh_global_settings_context

    os.environ.update(client_environment(api_url(port), token))
    refresh_global_settings_context()


def ensure_api() -> None:
    """Have a Prefect API: the one that the settings name, or a temporary server that ends with this process, however it ends.

    Raises:
        RatchetError: if the server does not start.
    """
    if api_is_given():
        return
    token = new_token()
    with listen(0, "PREFECT_API_URL") as listener:
        port = listener.getsockname()[1]
        process = start_guarded(listener, token, "--temporary")
    # At exit and not sooner: until then Prefect's threads send their last events.
    atexit.register(stop, process)
    use(port, token)
    importlib.import_module("flows.finetune")  # which takes as long as the server does
    wait_until_healthy(f"{api_url(port)}/health", process)
