"""Records become requests in their order; what is sent twice is the same, and one that MLflow refuses holds up no other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from ratchet.components.registry.journal import Journal
from ratchet.components.registry.sending import send

OPEN = {"model": "m", "identity": "i", "run_id": "ours", "name": "m", "tags": {"t": "1"}, "params": {"p": 2}}
ONES, TWOS = [(1, {"loss": 1.0})], [(2, {"loss": 2.0})]


class Mlflow:
    """Notes the requests; ``refused`` values it refuses, and from ``down`` requests on it does not answer."""

    def __init__(self) -> None:
        self.requests: list[tuple[Any, ...]] = []
        self.refused: float | None = None
        self.down: int | None = None
        self.answers: dict[str, str | None] = {"open_run": "r1", "child": "c1", "cached_child": "c1"}

    def __getattr__(self, name: str) -> Any:
        def request(*values: Any, **_: Any) -> str | None:
            if self.down == len(self.requests):
                raise ConnectionError("refused")
            if name == "timed" and any(self.refused in figures.values() for _, _, figures in values[1]):
                raise MlflowException("too long", INVALID_PARAMETER_VALUE)
            self.requests.append((name, *values))
            return self.answers.get(name, "")

        return request


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    found = Journal(tmp_path / "journals", "one", tmp_path)
    found.append("open", at=10, **OPEN)
    found.append("start", at=11, stage="train")
    found.append("metrics", at=12, stage="train", points=ONES)
    found.append("metrics", at=13, stage="train", points=TWOS)
    found.append("end", at=14, stage="train", status="FINISHED")
    found.append("tags", at=15, stage=None, tags={"status": "promoted"})
    found.append("end", at=16, stage=None, status="FINISHED")
    return found


ALL = [
    ("open_run", "m", {"t": "1"}, "ours"),
    ("params", "r1", {"p": 2}),
    ("describe_experiment",),
    ("child", "r1", "train", 11),
    ("timed", "c1", [(12, 1, {"loss": 1.0}), (13, 2, {"loss": 2.0})]),
    ("close_run", "c1", "FINISHED", 14),
    ("tags", "r1", {"status": "promoted"}),
    ("close_children", "r1", "FINISHED", 16),
    ("close_run", "r1", "FINISHED", 16),
]


def sent(journal: Journal, mlflow: Mlflow, said: list[str] | None = None) -> tuple[int, list[tuple[str, ...]]]:
    named: list[tuple[str, ...]] = []
    trackers: Any = lambda _: mlflow  # noqa: E731
    return send(journal, trackers, lambda *ids: named.append(ids), (said if said is not None else []).append), named


def test_records_are_sent_in_order_with_the_times_of_the_journal_and_figures_together(journal: Journal) -> None:
    mlflow = Mlflow()
    assert sent(journal, mlflow) == (7, [("i", "ours", "r1")])
    assert mlflow.requests == ALL
    assert sent(journal, mlflow) == (0, [])


@pytest.mark.parametrize("answered", range(len(ALL)))
def test_faults_after_an_outage_it_continues_where_it_was(journal: Journal, answered: int) -> None:
    mlflow = Mlflow()
    mlflow.down = answered
    with pytest.raises(ConnectionError):
        sent(journal, mlflow)
    mlflow.down = None
    sent(journal, mlflow)
    assert unique(mlflow.requests) == ALL  # a record of two requests is sent as a whole again


def test_faults_a_sender_killed_before_it_noted_an_answer_sends_the_same_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = Mlflow()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "mark", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sent(journal, mlflow)
    sent(journal, mlflow)
    assert mlflow.requests == ALL[:3] + ALL


def test_a_refused_record_is_left_out_and_said_and_the_others_are_sent(journal: Journal) -> None:
    mlflow, said = Mlflow(), list[str]()
    mlflow.refused = 1.0
    assert sent(journal, mlflow, said)[0] == 7
    assert mlflow.requests == [*ALL[:4], ("timed", "c1", [(13, 2, {"loss": 2.0})]), *ALL[5:]]
    assert said == ["MLflow refused metrics of train, which are left out: INVALID_PARAMETER_VALUE: too long"] or said == [
        "MLflow refused metrics of train, which are left out: too long"
    ]


def test_a_finished_stage_is_told_in_a_few_requests_whatever_its_steps(journal: Journal) -> None:
    told = {"tags": {"t": "1"}, "params": {"p": 1}, "figures": {"seconds": 2.0}}
    mlflow = Mlflow()
    sent(journal, mlflow)
    del mlflow.requests[:]
    for stage, cached in (("train", False), ("warmup", True), ("data", False)):
        journal.append("stage", at=20, stage=stage, cached=cached, began=18, **told)
    sent(journal, mlflow)
    facts = ("facts", "c1", *told.values(), 20)
    assert mlflow.requests == [
        facts,  # of train, whose child followed its making and is closed
        ("cached_child", "r1", "warmup", {"t": "1"}, 18),
        facts,
        ("close_run", "c1", "FINISHED", 20),
        ("child", "r1", "data", 18),
        facts,
        ("close_run", "c1", "FINISHED", 20),
    ]


def test_a_stage_that_the_run_made_itself_before_it_was_killed_is_left_as_it_is(journal: Journal) -> None:
    mlflow = Mlflow()
    mlflow.answers["cached_child"] = None
    journal.append("stage", at=20, stage="warmup", cached=True, began=18, tags={}, params={}, figures={})
    sent(journal, mlflow)
    assert mlflow.requests[-1] == ("cached_child", "r1", "warmup", {}, 18)


def test_of_figures_that_may_have_been_recorded_mlflow_gets_what_it_lacks(journal: Journal) -> None:
    class HasTwos(Mlflow):
        def lacking(self, run: str, points: Sequence[tuple[int, int, dict[str, float]]]) -> list[Any]:
            self.requests.append(("lacking", run, points))
            return [(at, step, {} if step == 2 else values) for at, step, values in points]

    mlflow, threes = HasTwos(), (3, {"loss": 3.0})
    journal.append("lacking", at=17, stage="train", points=[*TWOS, threes])
    sent(journal, mlflow)
    assert mlflow.requests[len(ALL) :] == [
        ("lacking", "c1", [(17, 2, {"loss": 2.0}), (17, 3, {"loss": 3.0})]),
        ("timed", "c1", [(17, 2, {}), (17, 3, {"loss": 3.0})]),
    ]


def test_a_killed_run_is_closed_by_the_id_that_mlflow_knows(journal: Journal, tmp_path: Path) -> None:
    journal.append("killed", at=17, model="m", run_id="ours", reason="gone")
    mlflow = Mlflow()
    sent(journal, mlflow)
    assert mlflow.requests[-1] == ("close_killed", "r1", "gone", 17)
    alone, other = Journal(tmp_path / "journals", "other", tmp_path), Mlflow()  # its journal had been sent and deleted
    alone.append("killed", at=18, model="m", run_id="r9", reason="gone")
    sent(alone, other)
    assert other.requests == [("close_killed", "r9", "gone", 18)]


def unique(requests: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [request for number, request in enumerate(requests) if request not in requests[:number]]
