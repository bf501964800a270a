"""Runs of these tests measure no processors."""

from contextlib import nullcontext

import pytest

from ratchet.components.run import record


@pytest.fixture(autouse=True)
def no_system_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "system_metrics", lambda _: nullcontext())
