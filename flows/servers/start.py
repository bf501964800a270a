"""Start loopback servers and wait until they answer.

Prefect's are our own ``prefect_server.py``: the project's, and a temporary one per run.
"""

import atexit
import fcntl
import http.client
import importlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ratchet.components.errors import RatchetError
from ratchet.components.storage.home import Home
from ratchet.components.text import visible
from ratchet.flows.servers.api_token import SERVER_VARIABLE, SIGN_IN_PATH, client_environment, folder, new_token, token_of
from ratchet.flows.settings import make_prefect_home

HOST, HIGHEST_PORT = "127.0.0.1", 65_535
PATIENCE_SECONDS = 120
POLL_SECONDS = 1

Process = subprocess.Popen[bytes]


def listen(port: int, option: str) -> socket.socket:
    """A socket that listens on a loopback port; 0 takes any free port.

    Raises:
        RatchetError: if there is no such port, or another program holds it, naming that and the option that changes it.
    """
    if not 0 <= port <= HIGHEST_PORT:
        raise RatchetError(f"there is no port {port}. Choose one from 1 to {HIGHEST_PORT} with {option}.")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        remedy = f"Choose another port with {option}, or stop that process."
        raise RatchetError(f"port {port} on {HOST} is busy, held by {holder_of(port)} ({error.strerror}). {remedy}") from error
    listener.listen()
    return listener


def require_free(port: int, option: str) -> None:
    """Reject a port that another program holds.

    Raises:
        RatchetError: naming the port and the option that changes it.
    """
    listen(port, option).close()


def holder_of(port: int) -> str:
    """Who listens on a port, as far as this user may see: arguments are left out, because they may contain secrets."""
    import psutil

    try:
        found = [
            one.pid for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr.port == port
        ]
        process = psutil.Process(next(pid for pid in found if pid is not None))
        return f"process {process.pid} ({process.name()}, in {visible(process.cwd())})"
    except (StopIteration, OSError, psutil.Error):
        return "a process of another user"


def start(module: str, arguments: Sequence[str], log: Path, **environment: str) -> Process:
    """Start ``python -m module arguments`` with extra environment variables; it ends with this process, however that ends.

    Args:
        log: a file of its owner's alone that gets what it prints, in place of what an earlier one printed.
    """
    python = [sys.executable, "-P", "-m"]  # -P: modules are not imported from the working directory
    with open(log, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as messages:
        return subprocess.Popen(
            [*python, "ratchet.flows.servers.supervisor", str(os.getpid()), *python, module, *arguments],
            stdin=subprocess.PIPE,  # it ends with this process
            stdout=messages,
            stderr=messages,
            env={**os.environ, **environment},
            start_new_session=True,  # a signal to our process group must not end the supervisor
        )


def wait_until_healthy(url: str, process: Process, messages: str = "above") -> None:
    """Wait for a server's health address.

    Args:
        messages: where what it prints is.

    Raises:
        RatchetError: if it ends or does not answer in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RatchetError(f"the server at {url} exited with code {process.returncode}. Its messages are {messages}.")
        if is_healthy(url):
            return
        time.sleep(0.1)
    process.terminate()
    raise RatchetError(f"{url} did not answer within {PATIENCE_SECONDS} s. Reduce the load on the machine and try again.")


def is_healthy(url: str) -> bool:
    """Whether an address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def silence(url: str) -> str | None:
    """Why nothing answers at an address; None if something does, even with an error or its own certificate."""
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
    """End a child: SIGTERM first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def api_url(port: int) -> str:
    return f"http://{HOST}:{port}/api"


def sign_in_url(port: int) -> str:
    return f"http://{HOST}:{port}{SIGN_IN_PATH}"


def start_guarded(listener: socket.socket, token: str, *arguments: str, keep: tuple[int, ...] = ()) -> Process:
    """Start a server on a socket that already listens, so that no other user can take the port and receive the token."""
    make_prefect_home()
    child = ["--child", str(listener.fileno()), str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ratchet.flows.servers.prefect_server", *child, *arguments],
        stdin=subprocess.PIPE,  # it ends with the parent
        stdout=sys.stderr,
        pass_fds=(listener.fileno(), *keep),
        env={**os.environ, SERVER_VARIABLE: token},
        start_new_session=True,  # Ctrl-C must not end it before its parent has told it how the run ended
    )


def project_server(home: Home, port: int) -> Process:
    """The project's server, which holds a lock for its port as long as it runs.

    Raises:
        RatchetError: if the port is busy, or the server does not start.
    """
    token = token_of(home)
    with listen(port, "--prefect-port") as listener, lock_of(home, port).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start_guarded(listener, token, keep=(lock.fileno(),))
    wait_until_healthy(f"{api_url(port)}/health", process)
    return process


@contextmanager
def shared_server(home: Home, port: int) -> Iterator[list[Process]]:
    """Have the project's server within the block: the one that another command runs, or our own, at the latest when that ends.

    Returns:
        Our own server, if there is one by now.

    Raises:
        RatchetError: if another program holds the port, or the server does not start.
    """
    ours = [] if is_running(home, port) else [project_server(home, port)]
    ended = threading.Event()
    heir = threading.Thread(target=_take_over, args=(home, port, ours, ended), daemon=True)
    heir.start()
    try:
        yield ours
    finally:
        ended.set()
        heir.join()
        for process in ours:
            stop(process)


def _take_over(home: Home, port: int, ours: list[Process], ended: threading.Event) -> None:
    while not ours and not ended.wait(POLL_SECONDS):
        with suppress(RatchetError):  # a third command took over, or some program has the port: look again
            if not is_running(home, port):
                ours.append(project_server(home, port))


def lock_of(home: Home, port: int) -> Path:
    return folder(home) / f"{port}.lock"


def is_running(home: Home, port: int) -> bool:
    """Whether this project's server has the port: no other server may receive the token."""
    with lock_of(home, port).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def api_is_given() -> bool:
    """Whether Prefect's settings (environment, profile, prefect.toml) name a server, which is then used as it is.

    Raises:
        RatchetError: if that server does not answer.
    """
    make_prefect_home()
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if url and (reason := silence(f"{url.rstrip('/')}/health")):
        raise RatchetError(
            f"PREFECT_API_URL names {url}, which does not respond ({reason}). Start it (ratchet ui or ratchet schedule, in a "
            "shell without that variable, for this project's own), or unset PREFECT_API_URL and PREFECT_API_AUTH_STRING."
        )
    return bool(url)


def named_api(home: Home, port: int) -> str | None:
    """The server that Prefect's settings name, if it is not this project's own on a port, which may have to be started.

    Raises:
        RatchetError: if that server does not answer.
    """
    make_prefect_home()
    from prefect.settings import PREFECT_API_URL

    url = (PREFECT_API_URL.value() or "").rstrip("/")
    if url == api_url(port) and (is_running(home, port) or silence(f"{url}/health")):
        return None
    return url if api_is_given() else None


def shell_environment(home: Home, port: int) -> dict[str, str]:
    """What a shell needs for the project's running server.

    Raises:
        RatchetError: if none has the port: another server there must not receive the token.
    """
    if not is_running(home, port):
        raise RatchetError(
            f"no Prefect server of this project runs on port {port}. Start ratchet schedule or ratchet ui, or name its port "
            "with --prefect-port."
        )
    return client_environment(api_url(port), token_of(home))


def use(port: int, token: str) -> None:
    """Let this process and its children use our server."""
    from prefect.context import refresh_global_settings_context

    os.environ.update(client_environment(api_url(port), token))
    refresh_global_settings_context()


def ensure_api() -> None:
    """Have a Prefect API: the one that the settings name, or a temporary server that ends with this process, however it ends.

    Raises:
        RatchetError: if the former does not answer, or the latter does not start.
    """
    if api_is_given():
        return
    token = new_token()
    with listen(0, "PREFECT_API_URL") as listener:
        port = listener.getsockname()[1]
        process = start_guarded(listener, token, "--temporary")
    # At exit, not sooner: until then Prefect's threads send their last events.
    atexit.register(stop, process)
    use(port, token)
    importlib.import_module("ratchet.flows.finetune")  # takes as long as the server
    wait_until_healthy(f"{api_url(port)}/health", process)
