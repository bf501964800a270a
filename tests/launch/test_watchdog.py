"""What ends a phase that hangs."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.components.errors import StalledError
from ratchet.components.launch.watchdog import SIGNAL, STALLED, Watchdog

LIMIT = 0.2  # seconds


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    return tmp_path / "stalls" / "run.txt"


@pytest.fixture
def watchdog(stacks: Path) -> Iterator[Watchdog]:
    watchdog = Watchdog(LIMIT / 3600, stacks, grace=LIMIT, leave=lambda status: pytest.fail("the error was enough"))
    yield watchdog
    watchdog.close()


def wait_for_ever() -> None:
    threading.Event().wait(20)


def test_a_phase_that_waits_ends_with_its_name_and_the_stacks_of_all_threads(watchdog: Watchdog, stacks: Path) -> None:
    release = threading.Event()
    other = threading.Thread(target=release.wait, name="other")
    other.start()
    began = time.monotonic()
    said = r"phase reward .* limits.phase_hours = .*same command resumes"
    with pytest.raises(StalledError, match=said), watchdog.phase("reward"):
        wait_for_ever()
    release.set()
    assert time.monotonic() - began < 10
    written = stacks.read_text()
    assert "phase reward" in written
    assert "in wait_for_ever" in written
    assert written.count("hread 0x") >= 3  # this one, the other, the watchdog's


def test_phases_that_end_in_time_are_left_alone(watchdog: Watchdog, stacks: Path) -> None:
    for _ in range(4):
        with watchdog.phase("update"):
            time.sleep(LIMIT / 2)
    time.sleep(2 * LIMIT)  # between two phases nothing is limited
    assert not stacks.exists()


def test_a_signal_that_comes_late_does_nothing(watchdog: Watchdog) -> None:
    with watchdog.phase("update"):
        signal.raise_signal(SIGNAL)
    signal.raise_signal(SIGNAL)


def test_a_process_in_which_no_error_arrives_is_ended(stacks: Path) -> None:
    left = threading.Event()
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        left.set()

    def hang() -> None:  # not in the main thread: no signal reaches it
        with watchdog.phase("save"):
            left.wait(20)

    watchdog = Watchdog(LIMIT / 3600, stacks, grace=LIMIT, leave=leave)
    thread = threading.Thread(target=hang)
    thread.start()
    thread.join(20)
    watchdog.close()
    assert statuses == [STALLED]
    assert "in hang" in stacks.read_text()


def test_a_disk_that_takes_no_stacks_does_not_keep_the_phase(capfd: pytest.CaptureFixture[str]) -> None:
    watchdog = Watchdog(LIMIT / 3600, Path("/dev/null/stalls"), grace=LIMIT)
    with pytest.raises(StalledError), watchdog.phase("save"):
        wait_for_ever()
    watchdog.close()
    assert "cannot write /dev/null/stalls" in capfd.readouterr().err


def test_without_a_limit_nothing_watches(stacks: Path) -> None:
    before = threading.active_count()
    with Watchdog(None, stacks).phase("rollout"):
        assert threading.active_count() == before


def test_the_handler_before_is_put_back(stacks: Path) -> None:
    before = signal.getsignal(SIGNAL)
    watchdog = Watchdog(1.0, stacks)
    with watchdog.phase("rollout"):
        assert signal.getsignal(SIGNAL) != before
    watchdog.close()
    assert signal.getsignal(SIGNAL) == before
