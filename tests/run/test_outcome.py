"""A status and what depends on it; the shape of ``run --json``."""

from ratchet.components.records import Outcome
from ratchet.components.run.outcome import PRESENTATION, STATUS_OF_VERDICT, RunResult, Status

CODES = {
    "promoted": 0, "unchanged": 0, "finished": 0, "error": 1, "refused": 3, "reward_refused": 4, "invalid": 5, "stopped": 6,
}  # fmt: skip


def test_exit_codes_are_the_contract() -> None:
    assert {status.value: status.exit_code for status in Status} == CODES


def test_every_status_and_every_verdict_has_its_row() -> None:
    assert set(PRESENTATION) == set(Status)
    assert set(STATUS_OF_VERDICT) == set(Outcome)


def test_only_the_verdict_promote_is_a_promotion() -> None:
    assert [outcome for outcome in Outcome if STATUS_OF_VERDICT[outcome] is Status.PROMOTED] == [Outcome.PROMOTE]


def test_only_success_looks_good() -> None:
    assert [status for status in Status if status.tone == "good"] == [Status.PROMOTED]
    assert {status for status in Status if status.tone == "neutral"} == {Status.UNCHANGED, Status.FINISHED}


def test_json_has_the_keys_of_the_contract_in_their_order() -> None:
    stage = {"name": "data", "key": "k", "cached": True, "seconds": 0.1}
    found = RunResult(Status.REFUSED, Outcome.REJECT, "2", "1", "md5", "run", "r.html", [stage], reasons=["not better"])
    assert list(found.as_json().items()) == [
        ("status", "refused"), ("verdict", "REJECT"), ("version", "2"), ("previous", "1"), ("dataset", "md5"),
        ("run_id", "run"), ("report", "r.html"), ("stages", [stage]),
    ]  # fmt: skip
    assert type(found.as_json()["status"]) is str


def test_json_names_failed_checks_a_plan_and_an_error_only_where_there_are_some() -> None:
    assert RunResult(Status.ERROR, error="disk").as_json()["error"] == "disk"
    assert RunResult(Status.REWARD_REFUSED, failed_checks=["range"]).as_json()["failed_checks"] == ["range"]
    assert RunResult(Status.FINISHED, gate={"fold": None}).as_json()["gate"] == {"fold": None}
    assert not {"error", "failed_checks", "gate"} & set(RunResult(Status.PROMOTED).as_json())
