"""A user's function in its own process: what it may return, what is a fault of the call, and that nothing outlives it.

Every function that forks has a limit of 20 processes or fewer, and ends by itself within a minute.
"""

import gc
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from ratchet.components.errors import RecipeError, RewardError
from ratchet.components.graders.faults import FaultError, FaultKind, Retrying
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.worker import function as module
from ratchet.components.graders.worker.function import Worker
from ratchet.components.recipe import Failures
from tests.graders.worker.conftest import Make

HEAD = "import os, signal, subprocess, sys, threading, time\n"
SCORES = "return [1.0 for _ in completions]"


def function(body: str) -> str:
    return f"{HEAD}def f(prompts, completions, rows):\n    {body}\n"


def ask(worker: Worker, completions: Sequence[str] = ("a",)) -> list[Grade]:
    return worker(["p"] * len(completions), completions, [{"answer": "42"}] * len(completions))


def fault(worker: Worker, completions: Sequence[str] = ("a",)) -> FaultError:
    with pytest.raises(FaultError) as raised:
        ask(worker, completions)
    return raised.value


def gone(process: int) -> bool:
    for _ in range(200):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_function_reads_prompts_completions_and_rows_and_its_numbers_are_grades(worker: Make) -> None:
    body = "return [len(c) + len(p) + int(r['answer']) for p, c, r in zip(prompts, completions, rows)]"
    made = worker(function(body))
    assert ask(made, ["a", "bcd"]) == [Grade(44.0), Grade(46.0)]


def test_a_module_is_imported_once_and_keeps_its_state(worker: Make) -> None:
    made = worker(f"{HEAD}n = []\ndef f(prompts, completions, rows):\n    n.append(os.getpid()); return [len(n)]\n")
    assert [ask(made)[0].score for _ in range(3)] == [1.0, 2.0, 3.0]


def test_a_function_is_found_by_the_path_of_its_file_and_may_be_async(worker: Make, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "helper.py").write_text("ONE = 1\n", encoding="utf-8")
    code = "from helper import ONE\nasync def g(prompts, completions, rows):\n    return [ONE]\n"
    (tmp_path / "own" / "json.py").write_text(code, encoding="utf-8")  # the name of a module that others need
    assert ask(worker("", "own/json.py:g")) == [Grade(1.0)]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            "raise ConnectionError('no https://me:hunter2@judge')",
            "raised",
            r"no https://\*\*\*@judge \(line 3",
        ),
        ("sys.exit(0)", "exit", r"SystemExit: 0"),
        ("os._exit(0)", "exit", "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crash", "SIGSEGV"),
        ("os.kill(os.getpid(), 40)", "crash", "killed by signal 40"),  # a real-time signal
        ("return [len('x' * 2**30)]", "memory", "MemoryError"),
        ("return 'a'", "protocol", "returned a str for 1"),
        ("return 1.0", "protocol", "returned a float for 1"),
        ("return [1.0, 1.0]", "protocol", "more than 1 results for 1"),
        ("return []", "protocol", "0 results for 1"),
        ("print('x' * 2**17); " + SCORES, "output", r"64 KiB .*limits\.output_kb"),
        ("os.write(1, b'x' * 2**17); " + SCORES, "output", r"64 KiB .*limits\.output_kb"),
        ("open('big', 'wb').write(bytes(2**21))", "raised", "OSError: .*File too large"),
    ],
)
def test_faults_a_call_that_fails_is_a_fault_of_its_kind(worker: Make, body: str, kind: FaultKind, message: str) -> None:
    found = fault(worker(function(body)))
    assert found.kind == kind
    assert re.search(message, str(found))


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "10**400", "'1'", "[1]", "{'points': 1}", "object()"])
def test_faults_what_is_no_grade_is_a_fault_of_that_completion_alone(worker: Make, value: str) -> None:
    made = worker(function(f"return [{value} if c == '?' else 1 for c in completions]"))
    first, second, third = ask(made, ["a", "?", "b"])
    assert (first, third) == (Grade(1.0), Grade(1.0))
    assert (second.score, second.fault) == (None, "protocol")
    assert "returned" in second.reason


def test_faults_a_call_that_hangs_is_ended_in_time(worker: Make) -> None:
    made, began = worker(function("time.sleep(60)"), seconds=0.5), time.monotonic()
    made.start()
    found = fault(made)
    assert (found.kind, time.monotonic() - began < 20) == ("timeout", True)


def test_faults_memory_that_no_limit_of_one_process_sees_is_counted(worker: Make) -> None:
    shared = "import mmap; m = mmap.mmap(-1, 2**30)\n    for i in range(0, 2**30, 4096): m[i] = 1\n    " + SCORES
    assert fault(worker(function(shared))).kind == "memory"


def test_faults_a_function_that_forks_without_end_is_ended_with_all_that_it_forked(worker: Make, tmp_path: Path) -> None:
    body = "open('group', 'w').write(str(os.getpid()))\n    for _ in range(40):\n        os.fork() or time.sleep(60)"
    made = worker(function(body), processes=10)
    assert fault(made).kind == "processes"
    group = int((tmp_path / "group").read_text())
    assert not [p for p in psutil.process_iter() if _group(p.pid) == group and p.status() != psutil.STATUS_ZOMBIE]


def _group(process: int) -> int:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return -1


LEAVES = """
import os, time
os.fork() and os._exit(0)
os.setsid()
open("left.new", "w").write(str(os.getpid()))
os.rename("left.new", "left")
time.sleep(60)
"""


def test_faults_processes_that_left_the_session_end_with_the_function(worker: Make, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(LEAVES, encoding="utf-8")
    wait = "while not os.path.exists('left'): time.sleep(0.01)"
    made = worker(function(f"subprocess.run([sys.executable, 'leaves.py'])\n    {wait}\n    {SCORES}"))
    assert ask(made) == [Grade(1.0)]
    made.close()
    assert gone(int((tmp_path / "left").read_text()))


def test_a_forked_process_does_not_answer_in_its_parents_name(worker: Make) -> None:
    made = worker(function("return [2.0 if os.fork() else 3.0 for _ in completions]"))
    assert [ask(made) for _ in range(3)] == [[Grade(2.0)]] * 3


def test_faults_threads_that_are_left_behind_are_bounded(worker: Make) -> None:
    made = worker(function("threading.Thread(target=time.sleep, args=(30,)).start(); " + SCORES), processes=2)
    assert [ask(made), ask(made)] == [[Grade(1.0)]] * 2
    assert fault(made).kind == "processes"


def test_what_a_function_prints_is_shown_on_stderr_redacted_and_cut(worker: Make, capfd: pytest.CaptureFixture[str]) -> None:
    body = "print('see https://me:hunter2@judge'); os.system('echo sub'); print('x' * 9000); return [1.0]"
    ask(worker(function(body)))
    out, errors = capfd.readouterr()
    assert out == ""
    assert "mine:f: see https://***@judge\nmine:f: sub\nmine:f: xxx" in errors
    assert "(cut)" in errors
    assert len(errors) < 2_500


def test_after_a_death_only_the_guilty_completion_is_missing(worker: Make) -> None:
    made = worker(function("'?' in completions and os._exit(0); " + SCORES))
    reward = Retrying(made, "mine:f", Failures(pause=0.0))
    assert [grade.score for grade in ask(reward, ["a", "?", "b"])] == [1.0, None, 1.0]  # type: ignore[arg-type]
    assert reward.faults == {"exit": 1}


def test_a_process_that_ended_is_forgotten_once_the_next_one_is_there(worker: Make) -> None:
    made = worker(function("'?' in completions and os._exit(0); " + SCORES))
    ask(made)
    first = weakref.ref(made._process)
    assert fault(made, ["?"]).kind == "exit"
    ask(made)
    gc.collect()
    assert first() is None


def test_credentials_are_not_in_the_environment_and_named_variables_are(worker: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "JUDGE_URL", "JUDGE_KEY"):
        monkeypatch.setenv(name, "set")
    names = "('MLFLOW_TRACKING_PASSWORD', 'JUDGE_URL', 'JUDGE_KEY', 'PATH')"
    made = worker(function(f"return [sum(2**i for i, n in enumerate({names}) if n in os.environ)]"), environment=("JUDGE_KEY",))
    assert ask(made) == [Grade(4.0 + 8.0)]


@pytest.mark.parametrize(
    "target", ["mine", "mine:absent", "no_such_module:f", "mine:pi", ":f", ":", "", ".relative:f", "no.py:f"]
)
def test_a_path_that_names_no_function_is_refused_with_the_form_to_write(worker: Make, target: str) -> None:
    with pytest.raises(RecipeError, match=r"module:function, or path/to/file\.py:function"):
        worker("pi = 3", target).start()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:", r"SyntaxError.*mine\.py, line 1.*Correct the file\."),
        ("1 / 0", r"ZeroDivisionError.*line 1 of .*mine\.py.*Correct the module\."),
        ("import no_such_module", r"no_such_module.*line 1 of .*mine\.py.*Install the module"),
    ],
    ids=["syntax", "runtime", "import"],
)
def test_faults_a_module_that_does_not_import_is_refused_by_name_and_remedy(worker: Make, code: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"mine:f.*{message}"):
        worker(code).start()


@pytest.mark.parametrize("code", ["sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), 11)"])
def test_faults_a_module_that_ends_its_process_is_an_error_of_the_reward(worker: Make, code: str) -> None:
    with pytest.raises(RewardError, match=r"mine:f.*__main__"):
        worker(HEAD + code).start()


def test_faults_a_module_that_hangs_is_ended_in_time(worker: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_TO_LOAD", 1.0)
    with pytest.raises(RewardError, match="mine:f' cannot be imported: it took longer than 1 s"):
        worker(HEAD + "time.sleep(30)").start()


def test_what_imports_take_does_not_count_as_the_calls_memory(worker: Make) -> None:
    made = worker(f"{HEAD}held = bytearray(os.urandom(1)) * (200 * 2**20)\n{function(SCORES)}", memory_mb=64)
    assert [ask(made), ask(made)] == [[Grade(1.0)]] * 2


def test_faults_a_wrong_signature_is_an_error_that_shows_it(worker: Make) -> None:
    with pytest.raises(RewardError, match=r"f\(sample\) is a function of no known protocol.*f\(prompts, completions, rows\)"):
        worker("def f(sample): return 1").start()


def test_ctrl_c_while_a_function_runs_leaves_no_answer_for_the_next_call(worker: Make, tmp_path: Path) -> None:
    body = (
        "open('pid', 'w').write(str(os.getpid())); time.sleep(20 * (completions[0] == '?????')); return [len(completions[0])]"
    )
    made = worker(function(body))
    made.start()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(made, ["?????"])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert gone(int((tmp_path / "pid").read_text()))
    assert ask(made, ["ab"]) == [Grade(2.0)]


def test_faults_everything_ends_with_a_pipeline_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(function("open('pid', 'w').write(str(os.getpid())); time.sleep(60)"), encoding="utf-8")
    program = """
from ratchet.components.graders.outside import reward_worker
from ratchet.components.recipe import Reward
reward_worker("mine:f", Reward(limits={"seconds": 50}))(["p"], ["c"], [{}])
"""
    pipeline = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    try:
        for _ in range(600):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                break
            time.sleep(0.05)
    finally:
        pipeline.kill()
        pipeline.wait()
    assert gone(int((tmp_path / "pid").read_text()))
