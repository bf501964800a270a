"""Events on the champion: sent where a Prefect server hears them, and nowhere else."""

from typing import Any

import pytest

from ratchet.flows import events


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    sent: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(events, "emit_event", lambda event, resource, payload: sent.append((event, resource, payload)))
    return sent


def test_nothing_is_sent_where_no_server_listens(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    events.emit("rollback", "m", "run", version="1")
    assert sent == []


def test_an_event_names_the_model_and_what_happened(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    events.emit("rollback", "m", "run", version="1", previous="2")
    ((event, resource, payload),) = sent
    assert event == "ratchet.rollback"
    assert resource["prefect.resource.id"] == "ratchet.model.m"
    assert payload == {"run_id": "run", "version": "1", "previous": "2"}
