"""``ratchet ui``: what it started is stopped whenever it ends, and a shell that evaluates ``--env`` sees a failure."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from ratchet.components.errors import RatchetError
from ratchet.components.storage.home import Home
from ratchet.flows.cli import supervision, terminated, ui
from ratchet.flows.servers import start as servers


@pytest.fixture(autouse=True)
def no_server_named() -> Iterator[None]:
    """Prefect's harness, once a test of this process has started it, names its server for the whole session."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    return Home(tmp_path, tmp_path / ".ratchet")


def test_mlflow_is_stopped_even_while_it_starts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    prefect, mlflow, stop = Mock(), Mock(), Mock()
    monkeypatch.setattr(servers, "project_server", Mock(return_value=prefect))
    monkeypatch.setattr(servers, "require_free", Mock())
    monkeypatch.setattr(servers, "start", Mock(return_value=mlflow))
    monkeypatch.setattr(servers, "wait_until_healthy", Mock(side_effect=SystemExit(143)))  # as SIGTERM does
    monkeypatch.setattr(servers, "stop", stop)
    with pytest.raises(SystemExit):
        ui.serve_pages(home, 5000, 4200, browser=False)
    assert [call.args[0] for call in stop.call_args_list] == [mlflow, prefect]


def test_the_end_of_a_server_is_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Mock(**{"poll.return_value": 1})
    monkeypatch.setattr(servers, "is_running", lambda *_: True)
    for name, value in {"require_free": None, "start": mlflow, "wait_until_healthy": None, "stop": None}.items():
        monkeypatch.setattr(servers, name, Mock(return_value=value))
    with pytest.raises(RatchetError, match=r"a server ended\. What MLflow said is in .*mlflow\.log"):
        ui.serve_pages(home, 5000, 4200, browser=False)


def evaluated(line: str) -> int:
    """The exit code of ``eval "$(...)" && true`` in a shell that the command printed this to."""
    return subprocess.run(["sh", "-c", 'eval "$1" && true', "sh", line], check=False, timeout=20).returncode


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and none of its settings in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setattr("ratchet.flows.settings.apply", Mock())
    return tmp_path


def test_eval_of_env_fails_without_a_server(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RatchetError, match="no Prefect server of this project runs on port 4200"):
        ui.print_environment(4200)
    assert evaluated(capsys.readouterr().out) != 0


def test_eval_of_env_fails_with_a_token_that_others_can_read(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "is_running", lambda *_: True)
    token = project / ".ratchet" / "server" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(f"ann:{'x' * 40}", encoding="utf-8")
    token.chmod(0o644)
    with pytest.raises(RatchetError, match="other users can read"):
        ui.print_environment(4200)
    assert evaluated(capsys.readouterr().out) != 0


def test_a_signal_ends_it_with_what_became_of_the_servers(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervision, "_role", supervision.Role())
    monkeypatch.setattr(supervision, "_ending", supervision.Ending())
    monkeypatch.setattr(ui, "serve_pages", lambda *_, **__: terminated(signal.SIGTERM, None))
    with pytest.raises(SystemExit) as end:
        ui.ui(5000, 4200, env=False, browser=False)
    assert end.value.code == 143
    said = "terminated; the servers that it had started have ended, and `ratchet ui` starts them again"
    assert capsys.readouterr().err == f"error: {said}\n"


def test_the_page_of_a_server_that_is_named_is_printed(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    monkeypatch.setattr(servers, "shared_server", Mock(side_effect=AssertionError))
    monkeypatch.setattr(servers, "silence", lambda _: None)
    with temporary_settings({PREFECT_API_URL: "http://prefect.example/api"}):
        ui.serve_pages(home, 5000, 4200, browser=False)
        assert "Prefect: http://prefect.example\n" in capsys.readouterr().err
        assert servers.named_api(home, 4200) == "http://prefect.example/api"
    with temporary_settings({PREFECT_API_URL: servers.api_url(4200)}):
        assert servers.named_api(home, 4200) == servers.api_url(4200)  # another's, which answers there
        monkeypatch.setattr(servers, "silence", lambda _: "refused")
        assert servers.named_api(home, 4200) is None  # ours, which is not up yet


def test_env_names_the_server_that_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "silence", lambda _: None)
    with temporary_settings({PREFECT_API_URL: "http://prefect.example/api"}):
        ui.print_environment(4200)
    assert capsys.readouterr().out == "export PREFECT_API_URL=http://prefect.example/api\n"
