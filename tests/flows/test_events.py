"""Events on models: sent where a Prefect server hears them, and nowhere else; and with them the notifications of the recipe."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from ratchet.components.errors import ClaimLostError, DataError
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.notices.notice import OCCASION_OF, Notice, approval, decision
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.recipe.notify import Occasion
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.failures import failures
from ratchet.components.run.told import Told
from ratchet.components.storage.home import Home
from ratchet.flows import events, notifications
from tests.places import MICRO, ROOT
from tests.run.receiver import receiver

NOTICE = Notice("rolled_back", "m", Told("Version 1 is champion.", "", "", ""), "run", version="1", previous="2", by="ann")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    sent: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(events, "emit_event", lambda event, resource, payload: sent.append((event, resource, payload)))
    return sent


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(notifications, "say", said.append)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return said


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / ".ratchet")


def told(*receivers: str) -> Recipe:
    return load_recipe(MICRO, [f"notify=[{', '.join(receivers)}]"])


def test_nothing_is_sent_where_no_server_listens(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    events.emit(NOTICE)
    assert sent == []


def test_an_event_names_the_model_and_has_the_payload_of_a_webhook(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    events.emit(NOTICE)
    ((event, resource, payload),) = sent
    assert event == "ratchet.rolled_back"
    assert resource["prefect.resource.id"] == "ratchet.model.m"
    assert payload == NOTICE.as_json()


def test_every_event_and_every_key_of_its_payload_is_documented() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    assert [name for name in get_args(Occasion) if f"`ratchet.{name}`" not in text] == []
    assert [key for key in NOTICE.as_json() if f"`{key}`" not in text] == []
    assert {name for name in OCCASION_OF.values() if name} <= set(get_args(Occasion))


def test_a_receiver_is_told_what_it_wants_and_nothing_else(sent: list[Any]) -> None:
    with receiver() as first, receiver() as second:
        recipe = told(f"{{to: '{first.url}', on: [rolled_back]}}", f"{{to: '{second.url}'}}")
        notifications.tell_all(NOTICE, recipe)
        notifications.tell_all(None, recipe)
    assert (len(first.received), len(second.received)) == (1, 0)


def test_a_receiver_that_is_down_is_reported_and_the_others_are_told(sent: list[Any], said: list[str]) -> None:
    with receiver() as hook:
        recipe = told("{to: env:NO_SUCH_VARIABLE, on: [rolled_back]}", f"{{to: '{hook.url}', on: [rolled_back]}}")
        notifications.tell_all(NOTICE, recipe)
    assert len(hook.received) == 1
    assert len(said) == 1
    assert said[0].startswith("could not notify env:NO_SUCH_VARIABLE that m: rolled back version 1: the environment variable")


def test_a_failure_is_told_and_raised(home: Home, sent: list[Any], said: list[str]) -> None:
    with receiver() as hook:
        with pytest.raises(DataError), notifications.told_once(home, told(f"{{to: '{hook.url}'}}")):
            raise DataError("no rows. Add some.")
        assert b'"type": "ratchet.failed"' in hook.received[0][1]


def test_an_error_after_the_end_was_told_is_not_told_too(home: Home, sent: list[Any]) -> None:
    with receiver() as hook:
        telling = notifications.told_once(home, told(f"{{to: '{hook.url}'}}"))
        telling.__enter__()(Notice("promoted", "m", NOTICE.told))
        assert not telling.__exit__(DataError, DataError("the disk is full. Free space."), None)
        assert [b'"type": "ratchet.promoted"' in body for _, body in hook.received] == [True]


def test_a_run_that_another_process_continues_did_not_fail(home: Home, sent: list[Any]) -> None:
    with receiver() as hook:
        with pytest.raises(ClaimLostError), notifications.told_once(home, told(f"{{to: '{hook.url}'}}")):
            raise ClaimLostError("another process took over.")
        assert hook.received == []
        assert list(failures(home)) == []


def test_a_failure_is_kept_until_a_run_of_the_model_ends_without_one(home: Home, sent: list[Any]) -> None:
    recipe = told()
    for text in ("there is no file a.jsonl.", "there is no file b.jsonl."):
        with pytest.raises(DataError), notifications.told_once(home, recipe):
            raise DataError(text)
    with notifications.told_once(home, recipe):  # its slot had no turn: nothing ended
        pass
    (kept,) = failures(home)
    assert (kept.model, kept.said) == (recipe.name, "there is no file b.jsonl.")
    with notifications.told_once(home, recipe) as tell:
        tell(None)
    assert list(failures(home)) == []


def test_decisions_say_who_decided_and_what() -> None:
    row = Promotion(2, "1", "2", "w", "rollback", None, "too long", "r1", "then", person="ann")
    found = decision("rolled_back", "m", row)
    assert (found.version, found.previous, found.by, found.reason) == ("1", "2", "ann", "too long")
    assert found.told.verdict == "ann decided: rolled back."
    assert (found.as_json()["by"], "By: ann" in found.text) == ("ann", True)
    assert decision("rolled_back", "m", replace(row, person=None)).told.verdict == "A person decided: rolled back."
    assert found.told.sentence == "Version 1 is champion in place of version 2, without the gate."
    assert approval("m", "r1", Verdict(Outcome.PROMOTE, [], "c", "i"), "ann").by == "ann"


def test_a_standstill_is_told_once(home: Home, sent: list[Any], said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of long ago that finished; no promotion: the time counts from the first run's beginning."""
    ledger = Ledger(home.ledger)
    monkeypatch.setattr("ratchet.components.ledger.runs.now", lambda: "2026-01-01T00:00:00+00:00")
    ledger.begin_run("i", "micro", "r1")
    ledger.finish_run("i", {"status": "refused", "stages": []})
    with receiver() as hook:
        entry = f"{{to: '{hook.url}', on: [stale], hours_without_run: 48, hours_without_promotion: 1e9}}"
        for _ in range(2):
            notifications.standstills_told(home, ledger, told(entry))
        assert len(hook.received) == 1
        assert b"No process has finished a run of micro since 2026-01-01T00:00:00+00:00." in hook.received[0][1]
        ledger.begin_run("j", "micro", "r2")
        monkeypatch.setattr("ratchet.components.ledger.runs.now", lambda: "2026-01-03T00:00:00+00:00")
        ledger.finish_run("j", {"status": "refused", "stages": []})
        hook.answers = [404]  # it is told the next time
        for _ in range(3):
            notifications.standstills_told(home, ledger, told(entry))
        assert len(hook.received) == 3


@pytest.mark.slow
def test_a_block_of_prefects_is_notified(prefect_harness: None, said: list[str]) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    with receiver() as hook:
        block: Any = CustomWebhookNotificationBlock(name="team", url=hook.url, json_data={"said": "{{subject}}: {{body}}"})
        block.save("team", overwrite=True)
        entry = "{to: block:custom-webhook/team, on: [rolled_back]}"
        notifications.tell_all(NOTICE, told(entry))
        assert said == []
        assert b"m: rolled back version 1: Version 1 is champion." in hook.received[0][1]
    notifications.tell_all(NOTICE, told("{to: block:custom-webhook/absent, on: [rolled_back]}"))
    assert len(said) == 1
