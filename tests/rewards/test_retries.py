"""A reward that fails is tried again, counted, and missing; it is never a zero."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ratchet.components.errors import RewardError
from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import Failures
from ratchet.components.rewards.retries import Retrying


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
    reward = retrying(Flaky(down=2))
    assert totals(reward, ["a", "b"]) == [1.0, 1.0]
    assert (reward.retried, reward.failed) == (2, 0)


def test_one_completion_that_always_fails_is_missing_and_its_neighbours_are_scored() -> None:
    reward = retrying(Flaky())
    assert totals(reward, ["a", "?", "b"]) == [1.0, None, 1.0]
    assert reward.failed == 1


def test_above_the_rate_the_run_stops_and_says_why() -> None:
    # 1% of at least 200 completions is 2: the third failure is one too many.
    reward = retrying(Flaky(poison="x"), max_rate=0.01)
    with pytest.raises(RewardError, match=r"my verifier failed on 3 of 9 .*service unavailable.*reward\.failures\.max_rate"):
        totals(reward, ["x"] * 9)


def test_the_rate_is_of_all_completions_so_far() -> None:
    reward = retrying(Flaky(), max_rate=0.01)
    for _ in range(4):
        totals(reward, ["a"] * 99 + ["?"])
    assert (reward.failed, reward.judged) == (4, 400)


def test_a_broken_protocol_is_not_asked_again() -> None:
    def broken(*_: Any) -> list[Grade]:
        raise RewardError("wrong count")

    reward = retrying(broken)
    with pytest.raises(RewardError, match="wrong count"):
        totals(reward, ["a"])
    assert reward.retried == 0


def test_a_function_that_would_end_the_run_is_not_asked_again_and_is_named() -> None:
    def leaves(*_: Any) -> list[Grade]:
        raise SystemExit(0)

    reward = retrying(leaves)
    with pytest.raises(RewardError, match=r"my verifier raised SystemExit\(0\).*Return a Grade"):
        totals(reward, ["a"])
    assert reward.retried == 0


def test_what_a_function_yields_is_made_under_the_guard() -> None:
    def lazy(prompts: Sequence[str], completions: Sequence[str], rows: object) -> Any:
        for completion in completions:
            if completion == "?":
                raise ConnectionError("service unavailable")
            yield Grade(1.0, {})

    assert totals(retrying(lazy), ["a", "?"]) == [1.0, None]


class Leaves(dict[str, float]):
    """Parts that end the process when they are read."""

    def keys(self) -> Any:
        raise SystemExit(0)

    __iter__ = items = keys  # type: ignore[assignment]


class Number(float):
    """A total that ends the process when it is read."""

    def __abs__(self) -> float:
        raise SystemExit(0)


def test_parts_that_exit_when_they_are_read_are_an_error_of_the_function() -> None:
    with pytest.raises(RewardError, match=r"my verifier raised SystemExit\(0\)"):
        totals(retrying(lambda *_: [Grade(1.0, Leaves(a=1.0))]), ["a"])


def test_a_score_is_of_built_in_types_alone() -> None:
    (grade,) = retrying(lambda *_: [Grade(Number(0.5), {"a": Number(2.0), "b": True})])(["p"], ["c"], [{}])
    assert grade == Grade(0.5, {"a": 2.0, "b": True})
    assert (type(grade.score), type(grade.parts), type(grade.parts["a"])) == (float, dict, float)


@pytest.mark.parametrize("returned", [1.0, Grade(1.0, None)])  # type: ignore[arg-type]
def test_what_is_no_score_is_an_error_at_once(returned: Any) -> None:
    reward = retrying(lambda *_: [returned])
    with pytest.raises(RewardError, match="Return a Grade with a dict"):
        totals(reward, ["a"])
    assert reward.retried == 0
