"""What Prefect shows of a run; a server that is down, slow or in the way ends none."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from ratchet.components.records import Outcome
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.told import Told
from ratchet.components.stages.stage import Silent
from ratchet.flows import shown

AT = datetime(2026, 11, 27, 11, 8, tzinfo=UTC)
RUN, ARTIFACT = uuid4(), uuid4()
RESULT = RunResult(
    Status.REFUSED, verdict=Outcome.REJECT, version="2", run_id="3f2a", report="/home/ann/.ratchet/reports/3f2a.html"
)
TOLD = Told("It was not better.", "The gain is 0.", "Refused.", "Look at the report.")


class Display(Silent):
    """Shows nothing, and is drawn where it is asked to be."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []

    @contextmanager
    def live(self) -> Iterator[None]:
        yield

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        self.steps.append((stage, done))

    def finished(self, stage: str, cached: bool, seconds: float) -> None:
        self.steps.append((stage, -1))


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """Where a progress artifact was, from its creation on."""
    seen: list[tuple[float, str]] = []

    def create(percent: float, key: str, said: str) -> UUID:
        seen.append((percent, said))
        return ARTIFACT

    def move(artifact: UUID, percent: float, said: str) -> None:
        assert artifact == ARTIFACT
        seen.append((percent, said))

    monkeypatch.setattr(shown, "flow_run", SimpleNamespace(id=str(RUN), scheduled_start_time=AT))
    monkeypatch.setattr(shown, "SECONDS", 0.01)
    monkeypatch.setattr(shown, "create_progress_artifact", create)
    monkeypatch.setattr(shown, "update_progress_artifact", move)
    return seen


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(shown, "say", lines.append)
    return lines


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (None, "maths 2026-11-27 11:08"),
        (RESULT, "maths 2026-11-27 11:08 refused v2"),
        (RunResult(Status.REWARD_REFUSED), "maths 2026-11-27 11:08 reward refused"),
    ],
)
def test_a_flow_run_is_named_by_model_date_and_end(result: RunResult | None, name: str) -> None:
    assert shown.name_of("maths", AT, result) == name


def test_the_artifact_says_the_stage_of_how_many(moves: list[tuple[float, str]]) -> None:
    display = Display()
    progress = shown.Progress(display, "maths")
    with progress.live():
        progress.finished("data", True, 0.0)
        progress.progress("champion", 1, 2, "a stage without a number does not move it")
        progress.progress("train", 6, 24, "reward 0.5")
    assert moves[-1] == (pytest.approx(100 * 4.25 / 7), "stage 5 of 7, RL training: reward 0.5")
    assert display.steps == [("data", -1), ("champion", 1), ("train", 6)]


def test_outside_a_flow_run_there_is_no_artifact(moves: list[tuple[float, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "flow_run", SimpleNamespace(id=None))
    with shown.Progress(Display(), "maths").live():
        pass
    assert moves == []


@pytest.mark.usefixtures("moves")
def test_faults_a_server_that_hangs_holds_up_neither_a_step_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()
    monkeypatch.setattr(shown, "create_progress_artifact", lambda *_: back.wait(30))
    monkeypatch.setattr(shown, "SECONDS_TO_END", 0.1)
    progress, began = shown.Progress(Display(), "maths"), time.monotonic()
    with progress.live():
        progress.progress("train", 1, 2, "")
    back.set()
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("moves")
def test_faults_what_cannot_be_shown_is_said_once_and_ends_nothing(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise ConnectionError("refused by http://ann:hunter22@host")

    for name in ("create_progress_artifact", "create_markdown_artifact", "get_client"):
        monkeypatch.setattr(shown, name, down)
    progress = shown.Progress(Display(), "m")
    with progress.live():
        progress.finished("data", False, 1.0)
    shown.rename("m")
    shown.verdict("m", RESULT, TOLD, "sqlite://")
    refused = "ConnectionError: refused by http://***@host"
    assert said == [f"Prefect has no {what} of this run: {refused}" for what in ("progress", "name", "verdict")]


@pytest.mark.parametrize("uri", ["http://mlflow:5000/", "http://ann:hunter22@mlflow:5000"])
def test_the_verdict_leads_to_run_version_and_report_where_mlflow_is_a_server(uri: str) -> None:
    text = shown.markdown_of("my model", RESULT, TOLD, uri)
    assert "| MLflow run | [3f2a](http://mlflow:5000/#/runs/3f2a) |" in text
    assert "| version | [2](http://mlflow:5000/#/models/my%20model/versions/2) |" in text
    assert "(http://mlflow:5000/get-artifact?run_uuid=3f2a&path=report%2F3f2a.html) |" in text
    assert "| verdict | REJECT |" in text
    assert "champion before" not in text
    assert "hunter22" not in text


def test_without_a_server_the_verdict_names_them(said: list[str]) -> None:
    text = shown.markdown_of("m", RESULT, TOLD, "sqlite:////p/mlflow.db")
    assert "| MLflow run | 3f2a |" in text
    assert "| version | 2 |" in text
    assert f"| report | `{RESULT.report}` |" in text
