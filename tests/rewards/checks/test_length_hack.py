"""A custom reward that pays for length is refused before anything is trained against it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import Reward
from ratchet.components.rewards.build import build_reward
from ratchet.components.rewards.checks.check import RewardReport
from ratchet.components.rewards.checks.validation import Samples, Subject, validate_reward
from tests.rewards.checks.pools import drawing

ROWS = [{"prompt": f"2 + {n}?", "answer": f"#### {2 + n}"} for n in range(40)]
PAIRS = [{**row, "chosen": f"{2 + n}\n#### {2 + n}", "rejected": f"so {3 + n}\n#### {3 + n}"} for n, row in enumerate(ROWS)]
SAMPLES = Samples(
    [row for row in ROWS for _ in range(4)],
    [f"{'so ' * ((n + i) // 2 % 20)}#### {2 + n + i % 2}" for n in range(40) for i in range(4)],
)


def paid_by_length(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    """The reward: a point for every hundred characters."""
    return [Grade(len(completion) / 100, {}) for completion in completions]


def validated(waive: Mapping[str, str] | None = None) -> RewardReport:
    function = f"{__name__}:{paid_by_length.__name__}"
    settings = Reward.model_validate({"kind": "custom", "function": function, "validation": {"waive": dict(waive or {})}})
    reward = build_reward(settings, None, device=None)  # type: ignore[arg-type]
    return validate_reward(Subject("custom", reward, reward), PAIRS, drawing(SAMPLES), settings.validation)


def test_a_length_hack_is_refused_by_the_checks_that_see_it() -> None:
    report = validated()
    assert not report.passed
    assert {"length_correlation", "agreement", "hack_strings", "short_chosen_accuracy"} <= set(report.failed)
    (length,) = (check for check in report.checks if check.name == "length_correlation")
    assert length.value == 1.0


def test_a_length_hack_is_trained_against_only_where_every_failed_check_is_waived_by_name() -> None:
    names = validated().failed
    reasons = dict.fromkeys(names, "to see the sentinel stop it")
    assert not validated({"length_correlation": "one is not enough"}).passed
    assert validated(reasons).passed
    assert validated(reasons).waived == reasons
