"""The guard around Prefect's application: who may ask, by which name, from which page."""

import os
import select
import signal
import subprocess
import sys
from types import ModuleType

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ratchet.flows.servers import prefect_server

NAMES = ["127.0.0.1", "localhost"]


async def open_to_all(scope: Scope, receive: Receive, send: Send) -> None:
    """Says yes to everything."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.close()
    else:
        await PlainTextResponse("yes")(scope, receive, send)


@pytest.fixture
def client() -> TestClient:
    return TestClient(prefect_server.guarded(open_to_all, NAMES), base_url="http://127.0.0.1:4200")


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST:9", "127.0.0.1"])
def test_its_own_names_are_answered_on_any_port(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:4200", "evil.example@127.0.0.1", "localhost.", ""])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:4201",
        "http://localhost:4200",
        "ftp://127.0.0.1:4200",
        "",
    ],
)
def test_another_origin_is_refused(client: TestClient, method: str, origin: str) -> None:
    reply = client.request(method, "/", headers={"Origin": origin})
    assert reply.status_code == 403
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("origin", ["http://127.0.0.1:4200", "https://127.0.0.1:4200"])  # https: a proxy in front ends TLS
def test_its_own_page_is_answered(client: TestClient, origin: str) -> None:
    assert client.post("/", headers={"Origin": origin}).status_code == 200


def test_a_second_origin_does_not_hide_behind_the_first(client: TestClient) -> None:
    origins = [("Origin", "http://127.0.0.1:4200"), ("Origin", "http://evil.example")]
    assert client.get("/", headers=origins).status_code == 403


@pytest.mark.parametrize(("header", "status"), [({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 400)])
def test_a_websocket_is_refused_likewise(client: TestClient, header: dict[str, str], status: int) -> None:
    own = {"Host": "127.0.0.1:4200"}
    with client.websocket_connect("/", headers=own) as socket, pytest.raises(WebSocketDisconnect):
        socket.receive_text()  # ours was accepted, and closed by the application
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/", headers={**own, **header}):
        pass
    assert refused.value.status_code == status


def test_no_page_may_frame_it(client: TestClient) -> None:
    headers = client.get("/").headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"


@pytest.mark.parametrize("auth", [None, "", "no-colon"])
def test_it_does_not_start_without_a_token(auth: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    if auth is not None:
        monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", auth)
    with pytest.raises(SystemExit, match="is not set"):
        prefect_server.main([])


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
def test_no_page_with_anothers_script_shares_the_origin(path: str) -> None:
    app = FastAPI()
    app.mount("/", FastAPI())  # as Prefect does; its pages must not take the place of the outer ones
    client = TestClient(app)
    assert client.get(path).status_code == 200
    prefect_server.add_routes(app)
    assert client.get(path).status_code == 404
    assert "Signing in" in client.get("/ratchet/sign-in").text


def test_a_server_that_an_operator_starts_sends_nothing_home(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    prefect = ModuleType("prefect.server.api.server")
    prefect.create_app = lambda final: seen.update(os.environ) or FastAPI()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, prefect.__name__, prefect)
    monkeypatch.setattr(os, "environ", {})
    prefect_server.application(NAMES, temporary=False)
    assert seen["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


SERVER = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("ended", flush=True), os._exit(0)))
from ratchet.flows.servers.prefect_server import end_with_parent
print("up", flush=True)
end_with_parent(int(sys.argv[1]))
"""
RUN = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {SERVER!r}, str(os.getpid())], stdin=subprocess.PIPE)
fork = os.fork()
if fork:
    print(fork, flush=True)
time.sleep(60)
"""


def test_a_server_ends_with_its_parent_though_a_fork_of_that_holds_the_pipe() -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        lines = {process.stdout.readline().strip(), process.stdout.readline().strip()}
        (fork,) = lines - {b"up"}
        process.kill()
        try:
            assert select.select([process.stdout], [], [], 20)[0], "the server lives on"
            assert process.stdout.readline() == b"ended\n"
        finally:
            os.kill(int(fork), signal.SIGKILL)
