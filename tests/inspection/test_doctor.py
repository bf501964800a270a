"""What `ratchet doctor` finds: against a server of the test's own on the loopback, and with faults made by hand."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.code.checkout import code_state
from ratchet.components.code.constraints import installed_constraints
from ratchet.components.inspection import doctor
from ratchet.components.inspection.doctor import Answer, Finding, ask_mlflow, ask_prefect, examined
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.storage.home import Home
from tests.ledger.fakes import count_use
from tests.provenance.repository import git, new_repository


class Handler(BaseHTTPRequestHandler):
    """Answers as the server says; keeps the Authorization headers."""

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        server.logins.append(self.headers.get("Authorization"))
        self.send_response(server.status)
        if server.location:
            self.send_header("Location", server.location)
        self.end_headers()
        self.wfile.write(server.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.server.date or super().date_time_string(timestamp)  # type: ignore[attr-defined,no-any-return]

    def log_message(self, format: str, *args: object) -> None: ...


class Server(HTTPServer):
    status, body, date, location = 200, b"{}", "", ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.logins: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()


def found(home: Home, name: str) -> Finding:
    return next(one for one in examined(home) if one.name == name)


def test_a_project_without_servers_is_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "RATCHET_LEDGER_URL"):
        monkeypatch.delenv(variable, raising=False)
    home = Home(tmp_path, tmp_path / "state")
    assert [one for one in examined(home) if not one.ok and not one.name.startswith("disk")] == []
    assert not home.state.exists()  # nothing was made


def test_what_a_version_lacks_to_be_reproduced_is_a_warning_and_nothing_has_to_be_done(tmp_path: Path) -> None:
    bare, whole = tmp_path / "bare", new_repository(tmp_path / "whole")
    bare.mkdir()
    (whole / "constraints.txt").write_text("numpy==0.1\n", encoding="utf-8")
    (whole / "new.py").write_text("", encoding="utf-8")
    said = [found(Home(project, project / ".ratchet"), "reproduction") for project in (bare, whole)]
    assert [(one.state, one.ok) for one in said] == [("warning", True)] * 2
    assert "git names no commit of this project; there is no constraints.txt" in said[0].said
    assert said[0].remedy == "Before a run: `git init`, `ratchet lock`, commit."
    assert "not committed: constraints.txt, new.py; constraints.txt has other versions of numpy" in said[1].said
    assert said[1].remedy == "Before a run: `ratchet lock`, commit."


RECIPE = """
name: m
data: {source: {kind: jsonl, path: rows.jsonl}}
task: {prompt: "{{item.text}}", answer: "{{item.date}}"}
graders: {right: {file: "graders.py:grade"}}
gold: {grader: right}
gate: {rules: {}}
"""


def test_a_library_that_a_grader_imports_and_the_lock_lacks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, library = new_repository(tmp_path / "whole"), tmp_path / "libraries" / "odd_name-1.0.dist-info"
    library.mkdir(parents=True)
    (library / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-name\nVersion: 1.0\n", encoding="utf-8")
    (library / "top_level.txt").write_text("unidecode\n", encoding="utf-8")
    lock = installed_constraints()
    monkeypatch.syspath_prepend(library.parent)
    monkeypatch.chdir(project)
    (project / "ratchet.yaml").write_text(RECIPE, encoding="utf-8")
    (project / "graders.py").write_text("import json\nimport helper\n\n\ndef grade(sample, item): ...\n", encoding="utf-8")
    (project / "helper.py").write_text("def late():\n    import numpy, unidecode\n", encoding="utf-8")
    (project / "constraints.txt").write_text(lock, encoding="utf-8")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "two")
    one = found(Home(project, project / ".ratchet"), "reproduction")
    assert one.state == "warning"
    assert "could not be reproduced: constraints.txt lacks odd-name, which the recipe's functions import" in one.said
    assert one.remedy == "Before a run: `ratchet lock`, commit."
    (library / "direct_url.json").write_text("{}", encoding="utf-8")
    local = found(Home(project, project / ".ratchet"), "reproduction")
    assert "came from no index" in local.said
    assert local.remedy == "A version that needs them is reproduced with --environment current."


def test_a_changed_table_is_no_matter_if_the_recipe_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = new_repository(tmp_path / "whole")
    monkeypatch.chdir(project)
    texts = {"constraints.txt": installed_constraints(), "graders.py": "def grade(sample, item): ...\n"}
    for name, text in {**texts, "rows.jsonl": "{}\n", "towns.csv": "Oslo\n", "ratchet.yaml": RECIPE}.items():
        (project / name).write_text(text, encoding="utf-8")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "two")
    for name in ("rows.jsonl", "towns.csv"):
        (project / name).write_text("changed", encoding="utf-8")
    said = found(Home(project, project / ".ratchet"), "reproduction").said
    assert "could not be reproduced: not committed: towns.csv, which no key of the recipe names" in said
    named = RECIPE.replace('"graders.py:grade"', '"graders.py:grade", files: [towns.csv]')
    (project / "ratchet.yaml").write_text(named, encoding="utf-8")
    git(project, "commit", "--quiet", "-m", "three", "ratchet.yaml")
    code_state.cache_clear()
    assert "can be reproduced" in found(Home(project, project / ".ratchet"), "reproduction").said


def test_a_committed_project_can_be_reproduced(tmp_path: Path) -> None:
    project = new_repository(tmp_path / "whole")
    (project / "constraints.txt").write_text(installed_constraints(), encoding="utf-8")
    git(project, "commit", "--quiet", "-am", "two")
    assert "can be reproduced" in found(Home(project, project / ".ratchet"), "reproduction").said


def test_a_full_disk_and_a_missing_torch_have_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda _: 10**8)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    home = Home(tmp_path, tmp_path)
    assert "ratchet gc" in found(home, "disk: state").remedy
    assert "ratchet-rl[train]" in found(home, "torch").remedy


def test_a_damaged_ledger_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATCHET_LEDGER_URL", raising=False)
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 100)
    assert "damaged" in found(Home(tmp_path, tmp_path), "ledger").remedy


@pytest.mark.parametrize(
    ("status", "said", "remedy"),
    [(200, "answers", ""), (401, "refuses the login (401)", "MLFLOW_TRACKING_USERNAME"), (500, "answers 500", "log")],
)
def test_mlflow_with_its_login(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str, remedy: str
) -> None:
    server.status = status
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    one = found(Home(tmp_path, tmp_path), "MLflow")
    assert said in one.said
    assert remedy in one.remedy
    assert server.logins[0] == "Basic YW5uOnNlY3JldA=="  # base64 of ann:secret


def test_a_prefect_server_of_another_version(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{server.url}/api")
    server.body = b'"1.0.0"'
    assert "the same version on both" in found(Home(tmp_path, tmp_path), "Prefect").remedy
    server.body = f'"{version("prefect")}"'.encode()
    assert found(Home(tmp_path, tmp_path), "Prefect").ok


def test_a_server_that_is_gone_is_said_at_once() -> None:
    answer = ask_prefect({"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert answer is not None
    assert (answer.status, "refused" in answer.body) == (0, True)
    assert ask_prefect({}) is None
    assert ask_mlflow("sqlite:///x.db") is None


def test_the_login_is_not_sent_to_the_host_of_a_redirect(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.status, server.location = 302, f"{other.url}/login"
        ask_prefect({"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": "ann:secret"})
        other.shutdown()
    assert server.logins == ["Basic YW5uOnNlY3JldA=="]
    assert other.logins == [None]


def test_what_is_no_server_of_http_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"SSH-2.0-server\r\n\r\n"), daemon=True).start()
        answer = ask_prefect({"PREFECT_API_URL": f"http://127.0.0.1:{listener.getsockname()[1]}"})
    assert answer is not None
    assert answer.status == 0
    assert Answer(200, "", "yesterday").skew is None


def test_a_clock_that_differs(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    assert found(Home(tmp_path, tmp_path), "clock").ok
    server.date = "Fri, 01 Jan 2021 00:00:00 GMT"
    one = found(Home(tmp_path, tmp_path), "clock")
    assert "behind this one" in one.said
    assert "NTP" in one.remedy
    assert Answer(200, "").skew is None


def test_a_remote_whose_plugin_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    remote = far\n['remote \"far\"']\n    url = s3://bucket/dvc\n")
    assert found(Home(tmp_path, tmp_path), "DVC remote").ok
    monkeypatch.setitem(doctor.PLUGINS, "s3", "no_such_module")
    assert "ratchet-rl[server]" in found(Home(tmp_path, tmp_path), "DVC remote").remedy


def test_recipes_that_were_judged_on_the_same_sealed_items_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATCHET_LEDGER_URL", raising=False)
    home = Home(tmp_path, tmp_path / ".ratchet")
    ledger = Ledger(home.ledger)
    for model, items in (("old", "a b"), ("other", "x y")):
        ledger.begin_run(f"i-{model}", model, f"r-{model}")
        count_use(ledger, model, f"fold of {model}", "c", "i", "rules", items)
    assert [one.name for one in examined(home) if one.name == "sealed items"] == []
    ledger.begin_run("i-new", "new", "r-new")
    count_use(ledger, "new", "fold of new", "c", "i", "rules", "b c")  # the dataset grew
    shared = found(home, "sealed items")
    assert shared.ok and shared.said.startswith("new, old were judged on the same sealed items")


def test_what_doctor_does_after_an_answer_is_not_taken_for_a_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=60)

    answer = Answer(200, "", format_datetime(datetime.now(UTC), usegmt=True))
    monkeypatch.setattr(doctor, "datetime", Later)
    assert abs(answer.skew or 99) < 10
