"""``ratchet ui``: what it started is stopped whenever it ends."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from ratchet.components.home import Home
from ratchet.flows.cli import ui
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
