"""Our Prefect servers (``flows/servers/prefect_server.py``): the project's own, and a temporary one for a run."""

import atexit
import fcntl
import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from ratchet.components.errors import RatchetError
from ratchet.components.home import Home
from ratchet.flows.servers.api_token import SERVER_VARIABLE, SIGN_IN_PATH, client_environment, folder, new_token, token_of
from ratchet.flows.servers.start import HOST, Process, listen, silence, stop, wait_until_healthy
from ratchet.flows.settings import make_prefect_home


def api_url(port: int) -> str:
    return f"http://{HOST}:{port}/api"


def sign_in_url(port: int) -> str:
    return f"http://{HOST}:{port}{SIGN_IN_PATH}"


def start_guarded(listener: socket.socket, token: str, *arguments: str, keep: tuple[int, ...] = ()) -> Process:
    """Start a server on a socket that listens already: no other user can take the port first and be sent the token."""
    make_prefect_home()
    child = ["--child", str(listener.fileno()), str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ratchet.flows.servers.prefect_server", *child, *arguments],
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
    """Whether Prefect's settings (environment, profile, prefect.toml) name a server, which is then left alone.

    Raises:
        RatchetError: if that does not answer.
    """
    make_prefect_home()
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if url and (reason := silence(f"{url.rstrip('/')}/health")):
        raise RatchetError(
            f"PREFECT_API_URL names {url}, which does not answer ({reason}). Start it (ratchet ui or ratchet serve, in a shell "
            "without that variable, for this project's own), or unset PREFECT_API_URL and PREFECT_API_AUTH_STRING."
        )
    return bool(url)


def shell_environment(home: Home, port: int) -> dict[str, str]:
    """What a shell needs for the project's running server.

    Raises:
        RatchetError: if none has the port: who else has it must not be sent the token.
    """
    if not is_running(home, port):
        raise RatchetError(
            f"no Prefect server of this project runs on port {port}. Start ratchet serve or ratchet ui, or name its port "
            "with --prefect-port."
        )
    return client_environment(api_url(port), token_of(home))


def use(port: int, token: str) -> None:
    """Let this process and its children speak to a server of ours."""
    from prefect.context import refresh_global_settings_context

    os.environ.update(client_environment(api_url(port), token))
    refresh_global_settings_context()


def ensure_api() -> None:
    """Have a Prefect API: the one that the settings name, or a temporary server that ends with this process, however it ends.

    Raises:
        RatchetError: if the one does not answer, or the other does not start.
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
    importlib.import_module("ratchet.flows.finetune")  # which takes as long as the server does
    wait_until_healthy(f"{api_url(port)}/health", process)
