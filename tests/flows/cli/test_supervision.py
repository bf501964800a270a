"""A command whose work is done in a child process: what the child says is what the command says, and silence is an error."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from ratchet.flows.cli import supervision

pytestmark = pytest.mark.timeout(60)

PROGRAM = """
import atexit, json, os, signal, subprocess, sys, time
from ratchet.flows.cli import supervision
supervision.SECONDS_TO_END = float(os.environ.get("SECONDS_TO_END", "60"))
def work():
{body}
    supervision.emit('{{"total": 1}}')
    supervision.conclude()
supervision.begin()
try:
    supervision.continue_in_child()
    work()
except SystemExit as end:
    supervision.end(end)
    raise
"""
COUNTS_SIGNALS = """
received = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: received.append(number))
print("ready")
deadline = time.monotonic() + 30
while not received and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.3)
supervision.emit(json.dumps(received))
supervision.conclude(128 + received[0])
"""


def command(body: str) -> list[str]:
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return [sys.executable, "-c", PROGRAM.format(body=indented), "--json"]


def run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(body), capture_output=True, text=True, timeout=60, check=False)


def started(body: str) -> subprocess.Popen[str]:
    """The command in a session of its own, whose child has said that it is ready."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command(body), stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    "print_it",
    [
        "print('noise')",
        "print('noise', file=sys.__stdout__)",
        "os.write(1, b'noise')",
        "subprocess.run(['echo', 'noise'])",
        "os.system('echo noise')",
    ],
)
def test_stdout_holds_the_result_alone(print_it: str) -> None:
    done = run(print_it)
    assert (done.returncode, done.stdout) == (0, '{"total": 1}\n')
    assert "noise" in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-"])
@pytest.mark.parametrize(
    ("body", "code", "key"),
    [("print('noise', file=sys.stderr); os.write(1, b'noise')", 0, "total"), ("os._exit(0)", 1, "status")],
)
def test_stdout_holds_one_object_where_the_caller_closed_stderr(body: str, code: int, key: str, closed: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command(body)]
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert key in json.loads(done.stdout)


@pytest.mark.parametrize("code", [0, 3, 6])
def test_the_exit_code_is_the_childs(code: int) -> None:
    done = run(f"supervision.emit('[]')\nsupervision.conclude({code})")
    assert (done.returncode, done.stdout) == (code, "[]\n")


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os._exit(0)", "ended with exit code 0"),
        ("os._exit(3)", "ended with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.kill(os.getpid(), 40)", "was killed by signal 40"),
        ("supervision.emit('{}'); os._exit(0)", "ended with exit code 0"),
        ("supervision.emit('{}'); sys.exit(0)", "ended with exit code 0"),
        ("sys.exit(3)", "ended with exit code 3"),  # which is not a verdict of the gate
        ("sys.exit(256)", "ended with exit code 0"),
    ],
)
def test_a_child_that_leaves_no_result_is_an_error(end: str, how: str) -> None:
    done = run(end)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["status"] == "error"
    assert f"{how} and left no result" in found["error"]
    assert f"error: {found['error']}" in done.stderr


def test_a_child_that_the_watchdog_ended_is_said_to_have_hung() -> None:
    done = run("os._exit(75)")
    assert done.returncode == 1
    assert "a phase of training hung" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"\xff",
        b'{"code": 0',
        b"[" * 100_000,
        b"null",
        b"[0]",
        b"{}",
        b'{"code": 0, "more": 1}',
        b'{"code": null}',
        b'{"code": true}',
        b'{"code": "0"}',
        b'{"code": 256}',
        b'{"code": -1}',
        b'{"code": 0, "output": null}',
        b'{"code": 0, "output": {}}',
        b'{"code": 1, "error": 1}',
    ],
    ids=lambda left: left[:30],
)
def test_what_is_no_ending_is_none(left: bytes) -> None:
    assert supervision._left(left) is None


def test_an_ending_is_read_as_it_was_left() -> None:
    ending = supervision.Ending(3, "{}", "refused")
    assert supervision._left(json.dumps(asdict(ending)).encode()) == ending


@pytest.mark.parametrize("result", ["'[1]'", "b'{}'", "None"])
def test_code_that_replaces_what_writes_the_result_is_an_error(result: str) -> None:
    done = run(f"supervision.json.dumps = lambda *_, **__: {result}")
    assert done.returncode == 1
    assert "left no result" in json.loads(done.stdout)["error"]


def test_an_error_is_an_object_too() -> None:
    done = run("supervision.fail('no: postgresql://me:secret@host', 2)")
    assert (done.returncode, json.loads(done.stdout)["error"]) == (2, "no: postgresql://***@host")


def test_what_happens_after_the_result_does_not_change_it() -> None:
    done = run("atexit.register(os._exit, 7)")
    assert (done.returncode, done.stdout) == (0, '{"total": 1}\n')


@pytest.mark.parametrize(
    "leave_running",
    ["number = subprocess.Popen(['sleep', '60']).pid", "number = os.fork()\nif number == 0: time.sleep(60); os._exit(0)"],
    ids=["program", "fork"],
)
def test_what_the_code_leaves_running_is_not_waited_for(leave_running: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as errors:
        done = subprocess.run(command(f"{leave_running}\nprint(number)"), stdout=out, stderr=errors, timeout=30, check=False)
    os.kill(int((tmp_path / "err").read_text()), signal.SIGKILL)
    assert (done.returncode, (tmp_path / "out").read_text()) == (0, '{"total": 1}\n')


def test_programs_that_the_code_starts_inherit_nothing_of_this() -> None:
    here = "[os.get_inheritable(supervision._role.file), supervision.DESCRIPTORS in os.environ]"
    assert json.loads(run(f"supervision.emit(json.dumps({here}))\nsupervision.conclude()").stdout) == [False, False]


def test_a_file_that_the_caller_opened_stays_open() -> None:
    read, write = os.pipe()
    os.write(write, b"from the caller")
    body = f"print(os.read({read}, 100).decode())"
    done = subprocess.run(command(body), pass_fds=(read,), capture_output=True, text=True, timeout=60, check=False)
    os.close(read)
    os.close(write)
    assert "from the caller" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_reaches_the_child_once(number: signal.Signals) -> None:
    process = started(COUNTS_SIGNALS)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)) == (128 + number, [number])


def test_a_second_signal_interrupts_no_cleaning_up() -> None:
    body = "signal.signal(signal.SIGTERM, terminated)\ntry:\n    print('ready'); time.sleep(60)\n"
    process = started(f"from ratchet.flows.cli import terminated\n{body}finally:\n    time.sleep(0.5); print('cleaned up')")
    os.killpg(process.pid, signal.SIGTERM)  # to the child too, which may get it again from its parent
    time.sleep(0.1)
    process.terminate()
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "cleaned up" in errors
    assert json.loads(out)["error"].startswith("terminated;")


def test_a_child_that_dies_of_the_signal_was_terminated() -> None:
    process = started("print('ready'); time.sleep(60)")
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "run the same command again" in json.loads(out)["error"]


def ctrl_c(process: subprocess.Popen[str], times: int = 1) -> tuple[dict[str, object], str]:
    """What a terminal does: the signal to the whole process group; the JSON and stderr of the command."""
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    out, errors = process.communicate(timeout=40)
    assert process.returncode == 128 + signal.SIGINT
    return json.loads(out), errors


STUBBORN = "signal.signal(signal.SIGINT, signal.SIG_IGN); print('ready'); time.sleep(60)"


def test_faults_ctrl_c_ends_a_child_that_does_not_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDS_TO_END", "0.3")
    result, errors = ctrl_c(started(STUBBORN))
    assert str(result["error"]).startswith("interrupted;")
    assert errors == ""  # `main` prints the line


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    result, _ = ctrl_c(started(STUBBORN), times=2)
    assert str(result["error"]).startswith("interrupted;")


def test_a_child_that_exits_with_0_on_the_signal_was_terminated() -> None:
    process = started("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('ready'); time.sleep(60)")
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads(out)["error"].startswith("terminated;")


def test_what_exits_after_the_command_failed_does_not_change_it() -> None:
    done = run("try: supervision.fail('no', 2)\nfinally: sys.exit(0)")
    assert (done.returncode, json.loads(done.stdout)["error"]) == (2, "no")


def test_the_child_ends_with_a_parent_that_is_killed() -> None:
    process = started("print('ready'); time.sleep(60)")
    begun = time.monotonic()
    process.kill()
    process.communicate(timeout=30)  # at the end of the pipe that the child holds too
    assert time.monotonic() - begun < 20
