"""The progress of a run: one line that lives on a terminal, and lines at sane intervals in a log."""

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from ratchet.components.run.progress import Progress
from ratchet.flows.cli.views.progress import Display, due_after, line_of

DRAWN = """
import logging, sys, time
logging.basicConfig(format="%(message)s")  # a handler made before the line, which holds the terminal itself
from rich.console import Console
from ratchet.flows.cli.views.progress import Display
display = Display(Console(stderr=True, emoji=False))
with display.live():
    for step in range(20):
        display.progress("train", step, 20, "reward 0.5")
        time.sleep(0.05)
        if step == 10:
            logging.warning("a warning of a library")
            print("printed by user code")
    display.finished("train", False, 1.0)
print("the end", flush=True)
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(columns: int, **environment: str) -> str:
    """What a terminal of that width receives."""
    main, other = pty.openpty()
    known = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "CI", "TERM")}
    values = {**known, "COLUMNS": str(columns), "TERM": "xterm", **environment}
    process = subprocess.Popen([sys.executable, "-c", DRAWN], stdout=other, stderr=other, stdin=other, env=values)
    os.close(other)
    received = b""
    while True:
        try:
            chunk = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        received += chunk
        if not chunk:
            break
    os.close(main)
    assert process.wait(30) == 0
    return received.decode()


def screen(received: str) -> list[str]:
    """The lines that stay: of each, what was written after the last erasure."""
    erased = re.sub(r"[^\n]*\x1b\[2K", "", received.replace("\r\n", "\n"))
    return [line for line in CONTROL.sub("", erased).replace("\r", "").split("\n") if line]


def test_the_line_lives_and_nothing_is_written_into_it() -> None:
    received = on_a_terminal(100)
    assert received.count("stage 5 of 7: RL training") > 2  # drawn again and again, in one place
    assert re.search(r"\d+%, about 1 s left, \d+ of 20  \(reward 0\.5\)", CONTROL.sub("", received))
    assert "stage 5" not in received[received.index("✓") :]  # the line goes with its stage
    assert screen(received) == ["a warning of a library", "printed by user code", "✓ RL training        1 s", "the end"]


def test_a_narrow_terminal_cuts_the_line_off_and_does_not_break_it() -> None:
    received = on_a_terminal(30, NO_COLOR="1")
    drawn = [line for line in re.split(r"[\r\n]+", CONTROL.sub("", received)) if line.startswith("stage")]
    assert drawn and all(len(line) == 30 and line.endswith("…") for line in drawn)
    assert screen(received)[-2:] == ["✓ RL training        1 s", "the end"]


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}])
def test_colours_are_left_out_if_nobody_wants_them(environment: dict[str, str]) -> None:
    coloured = re.search(r"\x1b\[[0-9;]*3[0-7]m", on_a_terminal(100, **environment)) is not None
    assert coloured is (environment == {})


@pytest.fixture
def log() -> tuple[Callable[[float, str, int, int], None], Callable[[], list[str]]]:
    """A display that writes to a file, with a clock."""
    now, file = [0.0], io.StringIO()
    display = Display(Console(file=file, width=80))
    display.pace.clock = lambda: now[0]

    def step(seconds: float, stage: str, done: int, total: int) -> None:
        now[0] += seconds
        display.progress(stage, done, total, "note")

    return step, lambda: file.getvalue().splitlines()


def test_a_log_gets_a_line_per_stage_and_then_seldom(
    log: tuple[Callable[[float, str, int, int], None], Callable[[], list[str]]],
) -> None:
    step, lines = log
    step(0, "gold", 0, 1)
    for done in range(1001):
        step(1.0, "train", done, 1000)
    assert lines()[0] == "stage 2 of 7: gold, validated  (note)"
    assert lines()[1] == "stage 5 of 7: RL training, 0 of 1,000  (note)"
    assert lines()[2] == "stage 5 of 7: RL training, 3%, about 16 min 10 s left, 30 of 1,000  (note)"
    assert 10 < len(lines()) < 30


def test_the_time_between_two_lines_of_a_log_grows_with_the_stage() -> None:
    after = {seconds: due_after(Progress("train", 1, 2, "", 0.0, seconds)) for seconds in (1.0, 600.0, 1e6)}
    assert after == {1.0: 30.0, 600.0: 60.0, 1e6: 600.0}


def test_the_time_left_counts_down_between_two_steps_and_a_stage_that_nobody_is_told_of_has_no_number() -> None:
    step = Progress("train", 1, 3, "", 0.0, 60.0)
    assert line_of(step, 90.0) == "stage 5 of 7: RL training, 33%, about 1 min 30 s left, 1 of 3"
    assert line_of(step, 900.0).startswith("stage 5 of 7: RL training, 33%, about 1 s left")
    assert line_of(Progress("champion", 0, 1, "a\x1b[2J", 0.0, 0.0), 4.0) == "champion, since 4 s  (a\\u001b[2J)"
