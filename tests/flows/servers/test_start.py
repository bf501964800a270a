"""Which Prefect server a command speaks to: one that answers, and this project's own for its token."""

import fcntl
import http.server
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from ratchet.components.errors import RatchetError
from ratchet.components.storage.home import Home
from ratchet.flows.servers import start as servers
from ratchet.flows.servers.api_token import token_of


@pytest.fixture(autouse=True)
def prefect_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "not" / "made" / "yet"))
    return tmp_path / "not" / "made" / "yet"


@pytest.fixture
def port() -> Iterator[int]:
    """A server that refuses whatever it is asked."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_named_server_that_answers_is_used(port: int) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        assert servers.api_is_given()


def test_a_named_server_that_is_down_is_said_to_be() -> None:
    with servers.listen(0, "") as listener:
        port = listener.getsockname()[1]
    said = rf"names http://127.0.0.1:{port}/api, which .*refused.* unset PREFECT_API_URL"
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}), pytest.raises(RatchetError, match=said):
        servers.ensure_api()


@pytest.mark.parametrize("url", ["no-url", "http://127.0.0.1:99999/api", "http://no-such-host.invalid/api"])
def test_an_address_that_leads_nowhere_has_a_reason(url: str) -> None:
    assert servers.silence(url)


def test_the_token_is_for_the_projects_own_server_only(tmp_path: Path, port: int) -> None:
    home = Home(tmp_path, tmp_path / ".ratchet")
    with pytest.raises(RatchetError, match=f"no Prefect server of this project runs on port {port}"):
        servers.shell_environment(home, port)
    with servers.lock_of(home, port).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the server's process does
        assert servers.shell_environment(home, port) == {
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_API_AUTH_STRING": token_of(home),
        }


def test_a_new_projects_first_import_of_prefect_warns_of_nothing(prefect_home: Path) -> None:
    code = "from ratchet.flows.servers.start import api_is_given; print(api_is_given())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, "home directory" in done.stderr) == ("False\n", False)
    assert stat.S_IMODE(prefect_home.stat().st_mode) == 0o700


def test_faults_a_busy_port_names_its_holder(port: int) -> None:
    said = rf"port {port} .* is busy, held by process {os.getpid()} \(.*, in {Path.cwd()}\).*--prefect-port"
    with pytest.raises(RatchetError, match=said):
        servers.listen(port, "--prefect-port")


class Running:
    """The project's server as commands see it: whether one runs, and which of them started one."""

    def __init__(self, elsewhere: bool) -> None:
        self.elsewhere, self.started, self.stopped = elsewhere, threading.Event(), Mock()

    def project_server(self, home: Home, port: int) -> str:
        self.started.set()
        return "ours"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    found = Running(elsewhere=True)
    monkeypatch.setattr(servers, "is_running", lambda home, port: found.elsewhere)
    monkeypatch.setattr(servers, "project_server", found.project_server)
    monkeypatch.setattr(servers, "stop", found.stopped)
    monkeypatch.setattr(servers, "POLL_SECONDS", 0.01)
    return found


def test_faults_the_server_of_another_command_is_used_and_left_running(running: Running, tmp_path: Path) -> None:
    with servers.shared_server(Home(tmp_path, tmp_path), 4200) as ours:
        assert ours == []
    assert not running.started.is_set()
    running.stopped.assert_not_called()


def test_faults_a_server_is_taken_over_when_the_command_that_ran_it_ends(running: Running, tmp_path: Path) -> None:
    with servers.shared_server(Home(tmp_path, tmp_path), 4200):
        running.elsewhere = False
        assert running.started.wait(10)
    running.stopped.assert_called_once_with("ours")


def test_without_a_running_server_there_is_our_own(running: Running, tmp_path: Path) -> None:
    running.elsewhere = False
    with servers.shared_server(Home(tmp_path, tmp_path), 4200) as ours:
        assert ours == ["ours"]
    running.stopped.assert_called_once_with("ours")
