"""A web page in the user's own browser commands none of the servers that our commands start; those who hold the token do."""

import base64
import contextlib
import http.client
import json
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.commands import environment, wait_for
from tests.places import ROOT

from .doors import Door, children, listening_port, new_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EVIL_ORIGIN = {"Origin": "http://evil.example"}
EVIL_HOST = {"Host": "evil.example"}  # what a browser sends once evil.example was made to resolve to 127.0.0.1
FLOW_RUN = {"name": "from a page", "flow_id": "00000000-0000-0000-0000-000000000000", "state": {"type": "SCHEDULED"}}


def ask(port: int, method: str, path: str, headers: dict[str, str], body: object = None) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one request, sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read().decode()


def basic(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}


def with_csrf(door: Door) -> dict[str, str]:
    """All that Prefect's own client sends with a change."""
    client = "11111111-1111-1111-1111-111111111111"
    status, _, body = ask(door.port, "GET", f"/api/csrf-token?client={client}", basic(door.token))
    assert status == 200
    csrf = {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": json.loads(body)["token"]}
    return {**basic(door.token), **csrf, "Content-Type": "application/json"}


@pytest.mark.parametrize("page", [EVIL_ORIGIN, EVIL_HOST, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}], ids=str)
@pytest.mark.parametrize("path", ["/", "/ui-settings", "/api/health", "/api/admin/settings", "/ratchet/sign-in"])
def test_a_page_reads_nothing(door: Door, page: dict[str, str], path: str) -> None:
    status, headers, _ = ask(door.port, "GET", path, {**page, **basic(door.token)})
    assert 400 <= status < 500
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_no_page_with_anothers_script_shares_the_origin(door: Door, path: str) -> None:
    assert ask(door.port, "GET", path, basic(door.token))[0] == 404


@pytest.mark.parametrize("page", [EVIL_ORIGIN, EVIL_HOST], ids=str)
def test_a_page_changes_nothing_not_even_with_the_token(door: Door, page: dict[str, str]) -> None:
    flow = {"name": "from-a-page"}
    status, headers, _ = ask(door.port, "POST", "/api/flows/", {**with_csrf(door), **page}, flow)
    assert 400 <= status < 500
    assert "access-control-allow-origin" not in headers
    assert ask(door.port, "GET", "/api/flows/name/from-a-page", basic(door.token))[0] == 404


def test_a_page_is_refused_by_the_preflight(door: Door) -> None:
    asked = {**EVIL_ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    status, headers, _ = ask(door.port, "OPTIONS", "/api/flow_runs/", asked)
    assert 400 <= status < 500
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])  # text/plain needs no preflight
def test_nobody_starts_a_run_without_token_or_csrf_token(door: Door, kind: str) -> None:
    asked = {"Content-Type": kind}
    assert ask(door.port, "POST", "/api/flow_runs/", asked, FLOW_RUN)[0] in {401, 403}
    assert ask(door.port, "POST", "/api/flow_runs/", {**asked, **basic(door.token)}, FLOW_RUN)[0] == 403
    csrf = {name: value for name, value in with_csrf(door).items() if name != "Authorization"}
    assert ask(door.port, "POST", "/api/flow_runs/", {**csrf, **asked}, FLOW_RUN)[0] == 401


def test_whoever_holds_both_starts_one(door: Door) -> None:
    status, _, flow = ask(door.port, "POST", "/api/flows/", with_csrf(door), {"name": "ours"})
    assert status in {200, 201}
    run = {**FLOW_RUN, "flow_id": json.loads(flow)["id"]}
    assert ask(door.port, "POST", "/api/flow_runs/", with_csrf(door), run)[0] == 201


@pytest.mark.parametrize("page", [EVIL_ORIGIN, EVIL_HOST], ids=str)
@pytest.mark.parametrize("path", ["/api/events/in", "/api/events/out", "/api/logs/out"])
def test_a_page_opens_no_websocket(door: Door, page: dict[str, str], path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(door, path, page):
        pass
    assert refused.value.response.status_code in {400, 403}


def test_a_websocket_asks_for_the_token(door: Door) -> None:
    for token, answer in ((door.token, "auth_success"), ("ratchet:guessed", None)):
        with opened(door, "/api/events/out", {}) as opening:
            opening.send(json.dumps({"type": "auth", "token": token}))
            if answer is None:
                with pytest.raises(Exception, match="1008"):
                    opening.recv(10)
            else:
                assert json.loads(opening.recv(10))["type"] == answer


def opened(door: Door, path: str, headers: dict[str, str]) -> Any:
    """A websocket to a server under the Host that a page would send."""
    host = headers.get("Host", f"127.0.0.1:{door.port}")
    others = {name: value for name, value in headers.items() if name != "Host"}
    raw = socket.create_connection(("127.0.0.1", door.port), timeout=30)
    return connect(f"ws://{host}{path}", sock=raw, subprotocols=[Subprotocol("prefect")], additional_headers=others)


def test_the_token_is_in_no_arguments_and_in_nothing_printed(door: Door) -> None:
    forms = [door.token, door.token.split(":")[1], base64.b64encode(door.token.encode()).decode()]
    arguments = [" ".join(process.cmdline()) for process in children(door.process)]
    assert [form for form in forms for text in (*arguments, door.printed) if form in text] == []


def test_the_tokens_of_two_servers_differ(doors: dict[str, Door]) -> None:
    assert len({door.token for door in doors.values()}) == 3


@pytest.mark.parametrize("name", ["serve", "ui"])
def test_the_token_is_kept_for_its_owner_only(doors: dict[str, Door], name: str) -> None:
    path = doors[name].project / ".ratchet" / "server" / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8") == doors[name].token


def test_ui_signs_the_browser_in_by_a_file_of_its_owners(doors: dict[str, Door]) -> None:
    door = doors["ui"]
    link = door.project / ".ratchet" / "server" / "sign-in.html"
    assert link.as_uri() in door.printed
    assert stat.S_IMODE(link.stat().st_mode) == 0o600
    found = re.search(rf"url=http://127\.0\.0\.1:{door.port}(/\S+)#([^\"]+)", link.read_text(encoding="utf-8"))
    assert found is not None
    status, _, page = ask(door.port, "GET", found[1], {})
    assert status == 200
    assert 'localStorage.setItem("prefect-password", credentials)' in page  # the name under which Prefect's UI looks
    assert ask(door.port, "GET", "/api/admin/version", {"Authorization": f"Basic {found[2]}"})[0] == 200


def test_ui_asks_the_address_that_it_came_from(doors: dict[str, Door]) -> None:
    settings = json.loads(ask(doors["ui"].port, "GET", "/ui-settings", {})[2])
    assert (settings["api_url"], settings["csrf_enabled"], settings["auth"]) == ("/api", True, "BASIC")


@pytest.mark.parametrize("page", [EVIL_ORIGIN, EVIL_HOST], ids=str)
def test_a_page_makes_no_experiment_in_mlflow(doors: dict[str, Door], page: dict[str, str]) -> None:
    port, path = doors["ui"].mlflow_port, "/api/2.0/mlflow/experiments/create"
    assert port is not None
    asked = {"Content-Type": "application/json", **page}
    status, headers, _ = ask(port, "POST", path, asked, {"name": "from a page"})
    assert 400 <= status < 500
    assert "access-control-allow-origin" not in headers
    found = ask(port, "GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=from%20a%20page", {})
    assert found[0] == 404


def test_ui_does_not_send_the_token_to_a_strangers_server(doors: dict[str, Door]) -> None:
    """Of another project here; it could be another user's."""
    other = new_project(doors["ui"].project.parent / "other")
    command = [sys.executable, "-m", "ratchet", "ui", "--prefect-port", str(doors["serve"].port), "--port", "0"]
    done = subprocess.run(command, cwd=other, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert "is busy" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_temporary_server_ends_with_its_run(number: signal.Signals, database: Path, tmp_path: Path) -> None:
    """SIGKILL leaves no time to end it; its standard input ends."""
    project = new_project(tmp_path / "project", database)
    code = "import time; from ratchet.flows import cli; from ratchet.flows.cli import run\n"
    code += "from ratchet.flows.servers import start\n"
    code += "run.run_until = lambda *_: (start.ensure_api(), print('up', flush=True), time.sleep(60))\ncli.main()"
    process = subprocess.Popen([sys.executable, "-c", code, "run"], cwd=project, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    (server,) = children(process)
    assert listening_port(process)
    process.send_signal(number)
    assert process.wait(120) == (-number if number == signal.SIGKILL else 128 + number)
    with contextlib.suppress(psutil.NoSuchProcess):
        server.wait(60)
    assert not server.is_running()
    wait_for(lambda: not psutil.pid_exists(server.pid))


def test_prefects_own_temporary_server_is_off(tmp_path: Path) -> None:
    code = "from ratchet.flows.finetune import finetune; finetune('no-such-recipe.yaml')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert "No Prefect API URL provided" in done.stderr


# ``prefect`` in a shell that took ``ratchet ui --env``: client and server fit each other.


def shell(door: Door, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script whose first line asks the project for its server."""
    ratchet = f"'{sys.executable}' -m ratchet ui --env --prefect-port {door.port}"
    script = f'cd "{door.project}" && eval "$({ratchet})" && cd "{folder}" && {script}'
    return subprocess.run(["sh", "-c", script], env=environment(), capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def deployed(doors: dict[str, Door]) -> Door:
    """``prefect.yaml`` deployed as infra/README.md says, from the checkout, which it leaves as it was."""
    pool = "prefect work-pool create ratchet --type process"
    done = shell(doors["ui"], f"{pool} && prefect --no-prompt deploy --name nightly", ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return doors["ui"]


@pytest.mark.parametrize(
    ("command", "shows"),
    [("deployment ls", "finetune/nightly"), ("work-pool ls", "ratchet"), ("flow-run ls", "Flow Runs")],
)
def test_prefect_lists_what_was_deployed(deployed: Door, command: str, shows: str) -> None:
    done = shell(deployed, f"prefect {command}", deployed.project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shows in done.stdout


def test_prefect_lists_what_a_schedule_serves(doors: dict[str, Door]) -> None:
    """The line of docs/servers.md, while ``ratchet schedule`` runs and no ``ratchet ui``."""
    door = doors["serve"]
    done = shell(door, "prefect deployment ls && prefect work-pool ls && prefect flow-run ls", door.project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finetune/micro" in done.stdout
    assert "Flow Runs" in done.stdout


def test_ui_prints_two_addresses_and_nothing_else(doors: dict[str, Door]) -> None:
    door = doors["ui"]
    mlflow, prefect, *more = door.printed.splitlines()
    turned_away = ("completing handshake", "Invalid token")  # callers that other tests send
    assert [line for line in more if not any(words in line for words in turned_away)] == []
    assert mlflow == f"MLflow:  http://127.0.0.1:{door.mlflow_port}"
    assert prefect.startswith("Prefect: file://")


def test_env_prints_one_line_for_a_shell_and_nothing_else(doors: dict[str, Door]) -> None:
    door = doors["ui"]
    command = [sys.executable, "-m", "ratchet", "ui", "--env", "--prefect-port", str(door.port)]
    done = subprocess.run(command, cwd=door.project, env=environment(), capture_output=True, text=True, check=True, timeout=240)
    url = f"http://127.0.0.1:{door.port}/api"
    assert done.stdout == f"export PREFECT_API_URL={url} PREFECT_API_AUTH_STRING={door.token}\n"
