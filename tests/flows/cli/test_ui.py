"""``ratchet ui``: what it started is stopped whenever it ends, and a shell that evaluates ``--env`` sees a failure."""

import signal
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest

from ratchet.components.errors import RatchetError
from ratchet.components.storage.home import Home
from ratchet.flows.cli import supervision, terminated, ui
from ratchet.flows.servers import start as servers


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
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
