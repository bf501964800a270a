"""A journal keeps its order, survives kill -9, and forgets nothing that MLflow does not have."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ratchet.components.errors import StoreError
from ratchet.components.registry import journal as module
from ratchet.components.registry.journal import BusyError, Journal, Sent, journals


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journals", "one", tmp_path)


def again(journal: Journal) -> Journal:
    """The same journal in another process."""
    return Journal(journal.file.parent, journal.name, journal.file.parent.parent)


def unsent(journal: Journal) -> list[tuple[int, str]]:
    return [(record.number, record.kind) for record, _ in journal.unsent()]


def mark(journal: Journal, number: int) -> None:
    """Note that MLflow has the first so many records."""
    journal.mark(Sent(number, next(end for record, end in again(journal).unsent() if record.number == number)))


def test_records_keep_their_order_their_time_and_their_values(journal: Journal) -> None:
    journal.append("metrics", at=1700, stage="train", points=[(1, {"loss": float("nan"), "é": 0.1})])
    journal.append("end", stage="train")
    (first, _), (second, _) = journal.unsent()
    assert (first.number, first.at, first.kind, second.number) == (1, 1700, "metrics", 2)
    ((step, values),) = first.values["points"]
    assert (step, values["é"], values["loss"] != values["loss"]) == (1, 0.1, True)


def test_only_the_owner_reads_it(journal: Journal) -> None:
    journal.append("a")
    assert [path.stat().st_mode & 0o777 for path in (journal.file, journal.file.parent)] == [0o600, 0o700]


def test_a_torn_last_line_is_dropped(journal: Journal) -> None:
    journal.append("a")
    with journal.file.open("ab") as file:
        file.write(b'{"number": 2, "at": 1, "ki')
    assert unsent(again(journal)) == [(1, "a")]
    again(journal).append("b")
    assert unsent(journal) == [(1, "a"), (2, "b")]


def test_what_was_sent_is_not_sent_again(journal: Journal) -> None:
    for kind in "abc":
        journal.append(kind)
    mark(journal, 2)
    assert unsent(again(journal)) == [(3, "c")]
    again(journal).append("d")
    assert unsent(journal) == [(3, "c"), (4, "d")]


def test_it_is_deleted_once_all_of_it_was_sent_and_begins_again(journal: Journal) -> None:
    journal.append("a")
    assert not journal.drop_if_sent()
    mark(journal, 1)
    assert journal.drop_if_sent()
    assert list(journal.file.parent.iterdir()) == []
    journal.append("b")
    assert unsent(again(journal)) == [(1, "b")]


@pytest.mark.parametrize("damage", [lambda text: text.replace('"number": 1', '"number": 7'), lambda text: "no JSON\n" + text])
def test_a_journal_that_was_changed_is_not_sent(journal: Journal, damage: "object") -> None:
    journal.append("a")
    journal.file.write_text(damage(journal.file.read_text()))  # type: ignore[operator]
    with pytest.raises(StoreError, match=r"record 1 of .*one\.jsonl is damaged"):
        unsent(again(journal))


def test_a_file_that_was_moved_away_takes_its_note_with_it(journal: Journal) -> None:
    for kind in "abc":
        journal.append(kind)
    mark(journal, 3)
    journal.file.unlink()
    assert unsent(again(journal)) == []
    new = again(journal)
    for kind in "defghi":  # grows beyond where the note pointed
        new.append(kind)
        assert not again(journal).drop_if_sent()
    assert unsent(again(journal)) == list(enumerate("defghi", 1))


def test_one_process_at_a_time_sends(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    busy = pytest.raises(BusyError, match=r"another process or thread is sending one\.jsonl")
    with journal.sending(), busy, again(journal).sending():
        pass
    with again(journal).sending():
        pass


@pytest.mark.parametrize("place", ["journal:written", "journal:dropping"])
def test_faults_a_process_killed_in_the_middle_loses_no_record(journal: Journal, place: str) -> None:
    journal.append("a")
    mark(journal, 1)
    call = "append('b')" if place == "journal:written" else "drop_if_sent()"
    code = (
        "from pathlib import Path; from ratchet.components.registry.journal import Journal\n"
        f"journal = Journal(Path({str(journal.file.parent)!r}), 'one', Path({str(journal.file.parent.parent)!r}))\n"
        f"journal.{call}"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "RATCHET_KILL_AT": place}, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    # Killed while it deleted: sent again from the start, which changes nothing in MLflow.
    expected = [(2, "b")] if place == "journal:written" else [(1, "a")]
    assert unsent(again(journal)) == expected
    again(journal).append("c")
    assert unsent(journal) == [*expected, (expected[-1][0] + 1, "c")]


def test_all_journals_of_a_project_are_found(journal: Journal, tmp_path: Path) -> None:
    assert journals(tmp_path / "journals", tmp_path) == []
    journal.append("a")
    assert [one.file for one in journals(tmp_path / "journals", tmp_path)] == [journal.file]
