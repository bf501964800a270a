"""A function that fails is tried again, counted by kind, and missing; it is never a zero."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ratchet.components.errors import RewardError
from ratchet.components.graders.faults import FaultError, Retrying
from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import Failures


class Flaky:
    """A service that is down for its first calls, and always fails on certain completions."""

    def __init__(self, down: int = 0, poison: str = "?") -> None:
        self.down, self.poison, self.calls = down, poison, 0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        self.calls += 1
        if self.calls <= self.down or self.poison in completions:
            raise ConnectionError("service unavailable")
        return [Grade(1.0, {}) for _ in completions]


def retrying(function: Any, **settings: Any) -> Retrying:
    return Retrying(function, "my verifier", Failures(**{"pause": 0.0, **settings}))


def totals(reward: Retrying, completions: Sequence[str]) -> list[float | None]:
    return [grade.score for grade in reward(["p"] * len(completions), completions, [{}] * len(completions))]


def test_a_service_that_comes_back_costs_retries_and_nothing_else() -> None:
    reward = retrying(service := Flaky(down=2))
    assert totals(reward, ["a", "b"]) == [1.0, 1.0]
    assert (service.calls, reward.failed) == (3, 0)


def test_one_completion_that_always_fails_is_missing_and_its_neighbours_are_scored() -> None:
    reward = retrying(Flaky())
    assert totals(reward, ["a", "?", "b"]) == [1.0, None, 1.0]
    assert reward.failed == 1


def test_above_the_rate_the_run_stops_and_says_why() -> None:
    # 1% of at least 200 completions is 2: the third failure is one too many.
    reward = retrying(Flaky(poison="x"), max_rate=0.01)
    with pytest.raises(RewardError, match=r"my verifier failed on 3 of 9 .*service unavailable.*reward\.failures\.max_rate"):
        totals(reward, ["a"] + ["x"] * 8)


@pytest.mark.parametrize("completions", [3, 9])
def test_a_higher_rate_is_not_advised_where_no_call_succeeds(completions: int) -> None:
    with pytest.raises(RewardError, match=r"service unavailable\. Fix it: no call has succeeded\.$"):
        totals(retrying(Flaky(poison="x"), max_rate=0.01), ["x"] * completions)


def test_the_rate_is_of_all_completions_so_far() -> None:
    reward = retrying(Flaky(), max_rate=0.01)
    for _ in range(4):
        totals(reward, ["a"] * 99 + ["?"])
    assert (reward.failed, reward.judged) == (4, 400)


def test_a_broken_protocol_is_not_asked_again() -> None:
    asked = []

    def broken(*_: Any) -> list[Grade]:
        asked.append(1)
        raise RewardError("wrong count")

    reward = retrying(broken)
    with pytest.raises(RewardError, match="wrong count"):
        totals(reward, ["a"])
    assert len(asked) == 1


def test_faults_are_counted_by_kind_and_named_in_the_message() -> None:
    def function(prompts: Any, completions: Sequence[str], rows: Any) -> list[Grade]:
        return [Grade(None, {}, fault="protocol", reason="a str") if text == "?" else Grade(1.0) for text in completions]

    reward = retrying(function, max_rate=0.01)
    assert [grade.fault for grade in reward(["p"] * 3, ["a", "?", "?"], [{}] * 3)] == [None, "protocol", "protocol"]
    assert reward.faults == {"protocol": 2}
    with pytest.raises(RewardError, match=r"failed on 3 of 4 completions \(3 protocol\); the last error was protocol: a str"):
        totals(reward, ["?"])


def test_faults_that_would_only_happen_again_are_not_retried_but_tried_one_by_one() -> None:
    batches: list[int] = []

    def dies(prompts: Any, completions: Sequence[str], rows: Any) -> list[Grade]:
        batches.append(len(completions))
        if "?" in completions:
            raise FaultError("exit", "exit code 0")
        return [Grade(1.0)] * len(completions)

    reward = retrying(dies)
    assert totals(reward, ["a", "?", "b"]) == [1.0, None, 1.0]
    assert (batches, reward.faults) == ([3, 1, 1, 1], {"exit": 1})


def test_a_function_that_has_failed_on_everything_stops_the_run() -> None:
    with pytest.raises(RewardError, match=r"failed on 2 of 2 completions \(2 raised\).*service unavailable"):
        totals(retrying(Flaky(), max_rate=1.0), ["?", "?"])


def test_a_secret_in_an_exception_is_not_in_the_message() -> None:
    def leaks(*_: Any) -> list[Grade]:
        raise ConnectionError("GET https://me:hunter2@judge/v1?token=hunter2 failed; Authorization: Bearer hunter2")

    with pytest.raises(RewardError, match="Authorization") as raised:
        totals(retrying(leaks), ["a"])
    assert "hunter2" not in str(raised.value)
