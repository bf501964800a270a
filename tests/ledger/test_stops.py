"""A request to stop reaches the process that acts for a run, and no later one."""

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.ledger.claims import Claim, acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.stops import ask_to_stop, is_held


def begun(ledger: Ledger, identity: str = "identity", run_id: str = "abc123") -> Claim:
    claim = acquired(ledger, identity, "here", lambda *_: None)
    ledger.begin_run(identity, "m", run_id)
    return claim


def test_the_holder_reads_the_request_when_it_renews_its_claim(ledger: Ledger) -> None:
    claim = begun(ledger)
    request = ask_to_stop(Ledger(str(ledger.url)), "abc123", "ann on host")  # another process, or another machine
    assert (request.run_id, request.model) == ("abc123", "m")
    assert claim.stop_asked_by is None
    claim.confirm()
    assert claim.stop_asked_by == "ann on host"


def test_a_run_that_was_resumed_does_not_stop_for_an_earlier_request(ledger: Ledger) -> None:
    first = begun(ledger)
    request = ask_to_stop(ledger, "abc123", "ann")
    assert is_held(ledger, request)
    first._release()
    assert not is_held(ledger, request)
    second = begun(ledger)
    second.confirm()
    assert second.stop_asked_by is None
    ask_to_stop(ledger, "abc123", "ben")
    second.confirm()
    assert second.stop_asked_by == "ben"


def test_a_run_is_named_by_the_beginning_of_its_id_if_that_is_clear(ledger: Ledger) -> None:
    begun(ledger)
    begun(ledger, "other", "abd456")
    assert ask_to_stop(ledger, "abd", "ann").run_id == "abd456"
    with pytest.raises(RecipeError, match="2 runs have an id that begins with 'ab'"):
        ask_to_stop(ledger, "ab", "ann")


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
