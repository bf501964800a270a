"""The retry policy, and what a task does around its step."""

from typing import Any

import pytest
from prefect.states import Completed
from sqlalchemy.exc import OperationalError

from ratchet.components.errors import ClaimLostError, DataError
from ratchet.flows import tasks
from ratchet.flows.tasks import RETRIED, worth_retrying


class Failed:
    """A state whose result raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [ConnectionError("down"), OSError("busy"), OperationalError("", None, Exception())])
def test_what_may_pass_is_retried(error: Exception) -> None:
    assert worth_retrying(None, None, Failed(error))


@pytest.mark.parametrize("error", [DataError("wrong"), ClaimLostError("lost"), TypeError("a bug"), AssertionError()])
def test_what_a_person_must_fix_is_not_retried(error: Exception) -> None:
    assert not worth_retrying(None, None, Failed(error))


def test_a_task_that_succeeded_is_not_retried() -> None:
    assert not worth_retrying(None, None, Completed(data=1))


def test_the_last_row_of_the_policy_fits_every_error() -> None:
    assert RETRIED[-1][:2] == (Exception, False)


NAMES = {
    "prepare_data": "prepare data",
    "warm_up": "warm up policy",
    "fetch_champion": "fetch champion",
    "validate_reward": "validate reward",
    "train": "train policy",
    "evaluate": "evaluate",
    "register": "register challenger",
    "gate": "gate",
    "await_approval": "await approval",
    "move_champion": "promote",
    "publish": "publish",
}


def test_tasks_have_the_names_that_prefects_ui_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, dict[str, Any]] = {}

    def fake(**options: Any) -> Any:
        return lambda function: made.setdefault(function.__name__, options)

    monkeypatch.setattr(tasks, "task", fake)
    for step, name in NAMES.items():
        tasks.as_task(name, getattr(tasks.steps, step))
        assert getattr(tasks, step).__doc__ == getattr(tasks.steps, step).__doc__
    assert {step: options["name"] for step, options in made.items()} == NAMES
    assert all(options["retries"] == 2 and not options["persist_result"] for options in made.values())
