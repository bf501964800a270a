"""The first lines of what a function prints are shown with its name, and the others counted."""

from collections import Counter

import pytest

from ratchet.components.graders.worker import printed
from ratchet.components.graders.worker.printed import MOST, Printed


@pytest.fixture(autouse=True)
def nothing_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printed, "_shown", Counter())
    monkeypatch.setattr(printed, "_failed", set())


def test_the_first_lines_are_shown_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    prints = Printed("graders.py:grade")
    for number in range(MOST + 5):
        prints.show(f"call {number}\n\x1b[2J\n".encode(), False)
    prints.end()
    out, errors = capsys.readouterr()
    lines = errors.splitlines()
    assert (out, len(lines)) == ("", MOST + 1)
    assert lines[:2] == ["graders.py:grade: call 0", "graders.py:grade: \\u001b[2J"]
    assert lines[-1] == f"graders.py:grade: ... and {MOST + 10} more lines that it printed"


def test_another_worker_of_the_same_function_has_no_first_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Printed("graders.py:grade").show(b"line\n" * MOST, False)
    capsys.readouterr()
    again, other = Printed("graders.py:grade"), Printed("graders.py:other")
    again.show(b"line\n", False)
    other.show(b"line", False)
    other.show(b"\n", False)
    again.end()
    again.end()
    other.end()
    assert capsys.readouterr().err.splitlines() == [
        "graders.py:other: line",
        "graders.py:grade: ... and 1 more line that it printed",
    ]


def test_what_is_too_long_to_be_shown_counts_as_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    prints = Printed("f")
    prints.show(b"x" * 5_000 + b"\ny\nz\n", False)
    prints.end()
    first, last = capsys.readouterr().err.splitlines()
    assert first.endswith("... (cut)") and last == "f: ... and 2 more lines that it printed"


def test_of_the_first_call_that_fails_the_last_lines_are_shown_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    prints = Printed("f")
    prints.show(b"line\n" * MOST, False)
    capsys.readouterr()
    for _ in range(2):
        prints.show(b"x" * 5_000 + b"\n" * MOST + b"Fatal Python error", True)
    assert capsys.readouterr().err.splitlines()[-1] == "f: Fatal Python error"
    assert prints.more == 1 + (MOST + 1)  # one of the first, all of the second
