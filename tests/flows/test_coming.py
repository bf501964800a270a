"""The next slot is that of a schedule which lives, and of the recipe at hand."""

from datetime import UTC, datetime
from pathlib import Path

from ratchet.components.inspection.overview import Slot
from ratchet.components.recipe import Schedule, load_recipe
from ratchet.components.storage.home import Home
from ratchet.flows.coming import coming, sole_schedule
from tests.places import MICRO

NOW = datetime(2026, 11, 27, 11, 30, tzinfo=UTC)


def test_a_schedule_is_shown_while_its_process_lives(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / ".ratchet")
    assert coming(home, None, NOW) == []
    with sole_schedule(home, "night", Schedule(cron="30 2 * * *", timezone="Europe/Vienna")):
        shown = Slot("night", "2026-11-28T01:30:00+00:00", "cron 30 2 * * * (Europe/Vienna)", True)
        assert coming(home, None, NOW) == [shown]
    assert coming(home, None, NOW) == []


def test_a_recipe_with_a_schedule_that_nothing_serves_is_said_to_have_one(tmp_path: Path) -> None:
    home, recipe = Home(tmp_path, tmp_path / ".ratchet"), load_recipe(MICRO, ["schedule.every=6h"])
    assert coming(home, recipe, NOW) == [Slot("micro", "2026-11-27T12:00:00+00:00", "every 6h (UTC)", False)]
    with sole_schedule(home, "micro", Schedule(every="1h")):  # by an option, which the recipe does not know
        assert [(slot.rule, slot.served) for slot in coming(home, recipe, NOW)] == [("every 1h (UTC)", True)]
    assert coming(home, load_recipe(MICRO), NOW) == []


def test_a_rule_that_has_ended_has_no_slot(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / ".ratchet")
    ended = load_recipe(MICRO, ["schedule.rrule=FREQ=DAILY;UNTIL=20200101T000000Z"])
    assert [slot.at for slot in coming(home, ended, NOW)] == [None]
