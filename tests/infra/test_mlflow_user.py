"""The workers' user is created once; later its password is set."""

import runpy
from typing import Any

import mlflow.server
import pytest
from mlflow.exceptions import RestException

from tests.places import ROOT


class Client:
    """MLflow's logins as a dictionary."""

    users: dict[str, str]

    def __init__(self) -> None:
        self.users = {}

    def create_user(self, name: str, password: str) -> None:
        if len(password) < 12:
            raise RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "too short"})
        if name in self.users:
            raise RestException({"error_code": "RESOURCE_ALREADY_EXISTS", "message": "exists"})
        self.users[name] = password

    def update_user_password(self, name: str, password: str) -> None:
        self.users[name] = password


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(mlflow.server, "get_app_client", lambda name, tracking_uri: client)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("RATCHET_MLFLOW_USER", "ratchet")
    return client


def set_up(monkeypatch: pytest.MonkeyPatch, password: str) -> dict[str, Any]:
    monkeypatch.setenv("RATCHET_MLFLOW_PASSWORD", password)
    return runpy.run_path(str(ROOT / "infra" / "mlflow_user.py"), run_name="__main__")


def test_a_user_is_created_and_later_gets_another_password(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for password in ("a first password", "another password"):
        set_up(monkeypatch, password)
        assert client.users == {"ratchet": password}


def test_a_password_that_mlflow_refuses_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RestException, match="too short"):
        set_up(monkeypatch, "short")
