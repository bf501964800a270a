"""The section ``schedule``: one rule, in words that are checked before anything runs."""

import pytest
from pydantic import ValidationError

from ratchet.components.recipe import Schedule, seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("15m", 900), ("6h", 21600), ("1d", 86400), ("30s", 30)])
def test_intervals(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["0m", "m", "15", "-1h", "1.5h"])
def test_what_is_not_an_interval_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="15m"):
        Schedule(every=text)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"cron": "0 2 * *"}, "five fields"),
        ({"rrule": "WEEKLY"}, "RRULE"),
        ({"rrule": "FREQ=DAILY;COUNT=3"}, "COUNT"),
        ({"rrule": "FREQ=MINUTELY;INTERVAL=15"}, "too often for an RRULE; write every, such as every: 15m"),
        ({"rrule": "RRULE:freq=secondly"}, "too often"),
        ({"timezone": "Mars/Olympus"}, "not a time zone"),
        ({"timezone": "../etc/passwd"}, "not a time zone"),
        ({"cron": "0 2 * * *", "every": "6h"}, "cron and every are given"),
        ({"every": "1d", "timezone": "Europe/Vienna"}, "every is counted in UTC.*Europe/Vienna; remove it, or .* cron"),
    ],
)
def test_a_rule_that_is_not_one_is_refused(rules: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Schedule(**rules)  # type: ignore[arg-type]
