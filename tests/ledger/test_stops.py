"""A request to stop reaches the process that acts for a run, and no later one."""

import itertools

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.ledger import claims, runs
from ratchet.components.ledger.claims import Claim, acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.stops import ask_to_stop, model_of, wait_for_end
from tests.ledger.fakes import FakeClock


@pytest.fixture
def clocked() -> Ledger:
    return Ledger("sqlite:///:memory:", FakeClock())


def begun(ledger: Ledger, identity: str = "identity", run_id: str = "abc123") -> Claim:
    claim = acquired(ledger, identity, "here", lambda *_: None, ledger.clock.time)
    ledger.begin_run(identity, "m", run_id)
    return claim


def test_the_holder_reads_the_request_when_it_renews_its_claim(ledger: Ledger) -> None:
    claim = begun(ledger)
    elsewhere = Ledger(ledger.url.render_as_string(hide_password=False))  # in another process, or on another machine
    request = ask_to_stop(elsewhere, "abc123", "ann on host")
    assert (request.run_id, request.model) == ("abc123", "m")
    assert claim.stop_asked_by is None
    claim.confirm()
    assert claim.stop_asked_by == "ann on host"


def test_a_run_that_another_process_resumed_does_not_stop_for_an_earlier_request(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begun(ledger)
    ask_to_stop(ledger, "abc123", "ann")
    first._release()
    monkeypatch.setattr(claims.os, "getpid", lambda: 1)
    second = begun(ledger)
    second.confirm()
    assert second.stop_asked_by is None
    ask_to_stop(ledger, "abc123", "ben")
    second.confirm()
    assert second.stop_asked_by == "ben"


def test_a_process_that_claims_its_run_again_still_stops(ledger: Ledger) -> None:
    """`ratchet run` looks what there is to do under a claim of its own, and then runs under another."""
    first = begun(ledger)
    ask_to_stop(ledger, "abc123", "ann")
    first._release()
    second = begun(ledger)
    second.confirm()
    assert (second.token, second.stop_asked_by) == (first.token + 1, "ann")


def test_waiting_ends_with_the_claim_and_says_how_the_run_ended(clocked: Ledger) -> None:
    claim = begun(clocked)
    request, polls = ask_to_stop(clocked, "abc123", "ann"), itertools.count(1)

    def sleep(seconds: float) -> None:
        clocked.clock.now += seconds  # type: ignore[attr-defined]
        claim.confirm()
        if next(polls) == 400:  # longer than a claim lives without a renewal
            clocked.break_run("identity", "stopped")
            claim._release()

    clocked.clock.sleep = sleep  # type: ignore[method-assign]
    assert wait_for_end(clocked, request, clocked.clock.time) == "stopped"


def test_the_end_that_is_said_is_that_of_the_newest_run_whatever_clocks_say(
    clocked: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = itertools.count(28, -1)
    monkeypatch.setattr(runs, "now", lambda: f"2026-01-{next(days):02}")
    begun(clocked)._release()
    clocked.finish_run("identity", {"status": "refused"})
    claim = begun(clocked, run_id="def")
    request = ask_to_stop(clocked, "def", "ann")
    clocked.break_run("identity", "stopped")
    claim._release()
    assert wait_for_end(clocked, request, clocked.clock.time) == "stopped"


def test_faults_waiting_for_a_process_that_died_elsewhere_ends(clocked: Ledger) -> None:
    begun(clocked)
    request, began = ask_to_stop(clocked, "abc123", "ann"), clocked.clock.time()
    with pytest.raises(RecipeError, match="did not renew its claim for 300 s, so it is dead"):
        wait_for_end(clocked, request, clocked.clock.time)
    assert 300 <= clocked.clock.time() - began <= 302


def test_faults_a_run_that_is_about_to_be_resumed_cannot_be_asked_yet(ledger: Ledger) -> None:
    begun(ledger)
    ledger.break_run("identity", "killed")
    with pytest.raises(RecipeError, match=r"is killed, and process \d+ on .* is about to resume it\. Ask again"):
        ask_to_stop(ledger, "abc123", "ann")


def test_a_run_is_named_by_the_beginning_of_its_id_if_that_is_clear(ledger: Ledger) -> None:
    begun(ledger)
    begun(ledger, "other", "abd456")
    assert ask_to_stop(ledger, "abd", "ann").run_id == "abd456"
    assert model_of(ledger, "abd") == "m"
    with pytest.raises(RecipeError, match="2 runs have an id that begins with 'ab'"):
        ask_to_stop(ledger, "ab", "ann")
    with pytest.raises(RecipeError, match="2 runs have an id that begins with 'ab'"):
        model_of(ledger, "ab")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("abc1234", "no runs"),
        ("%", "is not the id"),
        ("", "is not the id"),
        ("a' OR 1", "is not the id"),
        ("abc_23", "no runs"),
    ],
)
def test_faults_a_name_of_no_run(ledger: Ledger, name: str, cause: str) -> None:
    begun(ledger)
    with pytest.raises(RecipeError, match=rf"{cause}.*ratchet status"):
        ask_to_stop(ledger, name, "ann")


def test_faults_nobody_acts_for_the_run(ledger: Ledger) -> None:
    claim = begun(ledger)
    claim._release()
    with pytest.raises(RecipeError, match="run abc123 of m is not in progress: its status is running"):
        ask_to_stop(ledger, "abc123", "ann")


def test_faults_the_run_has_ended_and_a_later_one_of_its_identity_has_not(ledger: Ledger) -> None:
    begun(ledger)
    ledger.finish_run("identity", {"status": "refused"})
    begun(ledger, run_id="def")
    with pytest.raises(RecipeError, match="abc123 of m is not in progress: its status is refused"):
        ask_to_stop(ledger, "abc123", "ann")
    assert ask_to_stop(ledger, "def", "ann").run_id == "def"
