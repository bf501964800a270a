"""A real MLflow server behind a proxy that loses replies, or answers 503: whatever was created is created once."""

import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.registry.runs import Tracker
from ratchet.components.storage.files import model_weights, policy_digest
from ratchet.flows.servers.start import stop, wait_until_healthy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Proxy(ThreadingHTTPServer):
    """Forwards to a server. The next ``lose`` POSTs to a path that ends in ``path`` are carried out, and their replies lost;
    the next ``refuse`` are answered 503 and not carried out."""

    daemon_threads = True

    def __init__(self, server: int) -> None:
        super().__init__((HOST, 0), _Handler)
        self.server, self.path, self.lose, self.refuse = server, "", 0, 0


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        matches = self.command == "POST" and self.path.endswith(self.server.path) and self.server.path != ""
        if matches and self.server.refuse > 0:
            self.server.refuse -= 1
            self.send_error(503)
            return
        connection = http.client.HTTPConnection(HOST, self.server.server, timeout=60)
        connection.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() != "host"})
        reply = connection.getresponse()
        content = reply.read()
        if matches and self.server.lose > 0:
            self.server.lose -= 1
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_healthy(f"http://{HOST}:{port}/health", process)
    yield port
    stop(process)


@pytest.fixture(scope="module")
def proxy(server: int) -> Iterator[Proxy]:
    proxy = Proxy(server)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield proxy
    proxy.shutdown()


@pytest.fixture
def tracker(proxy: Proxy, tmp_path: Path) -> Tracker:
    return Tracker(f"http://{HOST}:{proxy.server_port}", "lost", tmp_path)


def model_directory(path: Path, content: bytes) -> tuple[Path, dict[str, str]]:
    path.mkdir()
    (path / "model.safetensors").write_bytes(content)
    return path, {"weights_sha256": model_weights(path), "policy_sha256": policy_digest(path)}


FAULTS = pytest.mark.parametrize(("fault", "times"), [("lose", 1), ("refuse", 2)])


@FAULTS
def test_a_run_is_opened_once(tracker: Tracker, proxy: Proxy, fault: str, times: int) -> None:
    proxy.path = "runs/create"
    setattr(proxy, fault, times)
    run_id = tracker.open_run(f"run-{fault}", {}, None)
    assert getattr(proxy, fault) == 0  # the fault did happen
    found = tracker.client.search_runs([tracker.experiment], f"attributes.run_name = 'run-{fault}'")
    assert [run.info.run_id for run in found] == [run_id]


@FAULTS
def test_a_version_is_registered_once(tracker: Tracker, proxy: Proxy, tmp_path: Path, fault: str, times: int) -> None:
    model, tags = model_directory(tmp_path / "model", fault.encode())
    run_id = tracker.open_run("parent", {}, None)
    proxy.path = "model-versions/create"
    setattr(proxy, fault, times)
    version = tracker.register(f"model-{fault}", run_id, model, {"max_new_tokens": 4}, tags)
    assert getattr(proxy, fault) == 0
    assert [v.version for v in tracker.client.search_model_versions(f"name = 'model-{fault}'")] in ([version], [int(version)])
    assert tracker.register(f"model-{fault}", run_id, model, {"max_new_tokens": 4}, tags) == version
    tracker.check_artifact(f"model-{fault}", version)


def test_mlflows_own_client_would_make_two(tracker: Tracker, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the above guards against; where this fails, MLflow has learned to do it itself."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    proxy.path, proxy.lose = "runs/create", 1
    tracker.client.create_run(tracker.experiment, run_name="twice")
    assert len(tracker.client.search_runs([tracker.experiment], "attributes.run_name = 'twice'")) == 2
